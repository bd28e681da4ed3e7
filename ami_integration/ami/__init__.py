"""A client of the Asterisk Manager Interface (AMI), in plain Python and usable alone.

`AMIClient` blocks, `AsyncAMIClient` is for asyncio, `ReconnectingClient` listens for as long as you like, and
`Protocol` is the machine beneath them, without I/O. Nothing here knows of Django.
"""

from ami_integration.ami.aio import AsyncAMIClient, Subscription
from ami_integration.ami.blocking import AMIClient
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
)
from ami_integration.ami.messages import (
    MAX_ACTION_ID,
    MAX_HEADERS,
    MAX_LINE,
    Action,
    Event,
    Message,
    Reply,
    Response,
    new_action_id,
    quote_variable,
    unescape,
)
from ami_integration.ami.protocol import CLOSED, NEED_DATA, Anomalies, Banner, Protocol
from ami_integration.ami.reconnecting import (
    Backoff,
    Connected,
    ConnectFailed,
    Gap,
    ReconnectingClient,
    Resumed,
)
from ami_integration.ami.ssh import SSH
from ami_integration.ami.transports import TCP, TLS, Timeouts, fetch_certificate

__all__ = [
    "CLOSED",
    "MAX_ACTION_ID",
    "MAX_HEADERS",
    "MAX_LINE",
    "NEED_DATA",
    "SSH",
    "TCP",
    "TLS",
    "AMIClient",
    "AMIError",
    "Action",
    "ActionTimeout",
    "Anomalies",
    "AsyncAMIClient",
    "Backoff",
    "Banner",
    "Certificate",
    "ConnectError",
    "ConnectFailed",
    "ConnectRefused",
    "ConnectTimeout",
    "Connected",
    "ConnectionLost",
    "Event",
    "Gap",
    "InvalidAction",
    "LoginError",
    "LoginFailed",
    "LoginTimeout",
    "Message",
    "MessageTooLarge",
    "NameNotResolved",
    "NoBanner",
    "NotAMI",
    "Protocol",
    "ReconnectingClient",
    "Reply",
    "Response",
    "Resumed",
    "SSHFailed",
    "Subscription",
    "TLSFailed",
    "Timeouts",
    "fetch_certificate",
    "new_action_id",
    "quote_variable",
    "unescape",
]
