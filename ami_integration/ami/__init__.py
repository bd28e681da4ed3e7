"""A client of the Asterisk Manager Interface (AMI), in plain Python and usable alone.

`AMIClient` blocks, `AsyncAMIClient` is for asyncio, `ReconnectingClient` listens for as long as you like, and
`Protocol` is the machine beneath them, without I/O. Nothing here knows of Django.
"""

from ami_integration.ami.action import (
    MAX_ACTION_ID,
    MAX_HEADERS,
    MAX_LINE,
    Action,
    new_action_id,
    quote_variable,
)
from ami_integration.ami.aio import AsyncAMIClient, Subscription
from ami_integration.ami.blocking import AMIClient, BlockingSubscription
from ami_integration.ami.certificate import Certificate
from ami_integration.ami.errors import (
    ActionTimeout,
    AMIError,
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    ConnectTimeout,
    InvalidAction,
    LoginError,
    LoginFailed,
    LoginTimeout,
    MessageTooLarge,
    NameNotResolved,
    NoBanner,
    NotAMI,
    SSHFailed,
    TLSFailed,
    Unanswered,
)
from ami_integration.ami.filters import EventFilter
from ami_integration.ami.lag import Lag
from ami_integration.ami.messages import Event, Message, Reply, Response, unescape
from ami_integration.ami.originate import REASONS, Originated, Origination, Outcome
from ami_integration.ami.protocol import CLOSED, NEED_DATA, Anomalies, Banner, Protocol
from ami_integration.ami.reconnecting import (
    Backoff,
    Connected,
    ConnectFailed,
    FailureKind,
    Gap,
    ReconnectingClient,
    Resumed,
    failure_kind,
)
from ami_integration.ami.ssh import SSH
from ami_integration.ami.subscriptions import EventQueue
from ami_integration.ami.transports import TCP, TLS, Timeouts, fetch_certificate

__all__ = [
    "AMIClient",
    "AMIError",
    "Action",
    "ActionTimeout",
    "Anomalies",
    "AsyncAMIClient",
    "Backoff",
    "Banner",
    "BlockingSubscription",
    "CLOSED",
    "Certificate",
    "ConnectError",
    "ConnectFailed",
    "ConnectRefused",
    "ConnectTimeout",
    "Connected",
    "ConnectionLost",
    "Event",
    "EventFilter",
    "EventQueue",
    "FailureKind",
    "Gap",
    "InvalidAction",
    "Lag",
    "LoginError",
    "LoginFailed",
    "LoginTimeout",
    "MAX_ACTION_ID",
    "MAX_HEADERS",
    "MAX_LINE",
    "Message",
    "MessageTooLarge",
    "NEED_DATA",
    "NameNotResolved",
    "NoBanner",
    "NotAMI",
    "Originated",
    "Origination",
    "Outcome",
    "Protocol",
    "REASONS",
    "ReconnectingClient",
    "Reply",
    "Response",
    "Resumed",
    "SSH",
    "SSHFailed",
    "Subscription",
    "TCP",
    "TLS",
    "TLSFailed",
    "Timeouts",
    "Unanswered",
    "failure_kind",
    "fetch_certificate",
    "new_action_id",
    "quote_variable",
    "unescape",
]
