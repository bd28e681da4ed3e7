"""Record what a real Asterisk sends, byte for byte: the models of the simulator and of the protocol's tests.

``python -m tests.pbx.capture [scenario ...]`` plays every scenario below against each provisioned Asterisk
and writes ``tests/captures/<22|16>/<scenario>.ami`` (all bytes that Asterisk sent in that session, banner
and login included) and ``<scenario>.sent.ami`` (the actions that were sent, the login's key blanked). One
session for each scenario.

The recorder knows nothing of our own client or parser, so that neither can hide its mistakes in a capture.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ami_integration.ami import recording
from tests.pbx import provision
from tests.pbx.asterisk import Asterisk, Telephones

CAPTURES = Path(__file__).parent.parent / "captures"
TIMEOUT = 20.0
# A capture ends when Asterisk has been silent for this long after the scenario's last step.
QUIET = 0.4


class Wire:
    """A bare connection to AMI, not logged in: `received` and `sent` are all its bytes."""

    def __init__(self, asterisk: Asterisk) -> None:
        self.received = b""
        self.sent = b""
        self.socket = socket.create_connection((asterisk.host, asterisk.port), timeout=TIMEOUT)
        self.wait("\r\n")

    def send(self, data: bytes) -> None:
        self.sent += data
        self.socket.sendall(data)

    def wait(self, pattern: str, count: int = 1) -> re.Match[bytes]:
        """Read until `pattern` was received `count` times in the session; returns the last of the matches."""
        deadline = time.monotonic() + TIMEOUT
        while len(found := list(re.finditer(pattern.encode(), self.received))) < count:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError(f"the session ended before {pattern!r} came")
            self.received += data
        return found[count - 1]

    def drain(self, quiet: float = QUIET) -> bool:
        """Read until Asterisk has been silent for that many seconds, or has closed (then True)."""
        self.socket.settimeout(quiet)
        try:
            while data := self.socket.recv(65536):
                self.received += data
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.socket.close()


class Recorder(Wire):
    """One AMI session, logged in."""

    def __init__(self, asterisk: Asterisk, role: str = "admin", events: str = "on") -> None:
        super().__init__(asterisk)
        self.asterisk = asterisk
        self.telephones: Telephones | None = None
        self._actions = 0
        username, secret = asterisk.users[role]
        self.action("Challenge", AuthType="MD5")
        challenge = self.wait(r"Challenge: (\d+)\r\n")[1]
        key = hashlib.md5(challenge + secret.encode(), usedforsecurity=False).hexdigest()
        self.action("Login", Username=username, AuthType="MD5", Key=key, Events=events)
        self.wait("Message: Authentication accepted\r\n")

    def action(self, name: str, **headers: str) -> str:
        """Send an action and return its ActionID."""
        self._actions += 1
        action_id = f"amiweb-{self._actions}"
        pairs = [("Action", name), ("ActionID", action_id), *headers.items()]
        self.send("".join(f"{key}: {value}\r\n" for key, value in pairs).encode() + b"\r\n")
        return action_id

    def response(self, name: str, **headers: str) -> bytes:
        """Send an action, wait for its response (or the first message of its list), and return that."""
        action_id = self.action(name, **headers)
        return self.wait(rf"Response: [^\r\n]*\r\nActionID: {action_id}(?s:.*?)\r\n\r\n")[0]

    def everyone_hung_up(self) -> None:
        """Wait until as many channels were hung up as were made."""
        self.wait("Event: Hangup\r\n", len(re.findall(rb"Event: Newchannel\r\n", self.received)))


def originate(session: Recorder, channel: str, exten: str, **more: str) -> None:
    session.action(
        "Originate", Channel=channel, Context="office", Exten=exten, Priority="1",
        CallerID="Ada <1001>", Async="true", **more,
    )  # fmt: skip


def channel_of(session: Recorder, exten: str) -> str:
    """The first Local channel (its ;1 end) that was made for an extension of the telephones."""
    return session.wait(rf"Channel: (Local/{exten}@phones-\w+;1)\r\n")[1].decode()


def telephone_calls(session: Recorder, caller: str, number: str) -> str:
    """A PJSIP telephone dials a number; returns its channel in the recorded Asterisk."""
    telephones, exchange = session.telephones, session.asterisk
    assert telephones is not None
    with closing(Recorder(telephones, events="off")) as there:
        there.response(
            "Originate", Channel=f"PJSIP/exchange/sip:{number}@127.0.0.1:{exchange.sip_port}", Async="true",
            CallerID=f"Ada <{caller}>", Application="Wait", Data="3600",
        )  # fmt: skip
    return session.wait(rf"Channel: (PJSIP/{caller}-\w+)\r\n")[1].decode()


def login(session: Recorder) -> None:
    session.wait("Event: FullyBooted\r\n")
    session.response("Ping")
    session.action("Logoff")


def login_again(session: Recorder) -> None:
    session.response("Login", Username="admin", Secret="not even looked at")


def wrong_action(session: Recorder) -> None:
    """What the parser says: no such action, a lone blank line, no Action header, a line and a message too
    long.
    """
    session.response("NoSuchAction")
    session.send(b"\r\n")
    session.wait("Missing action in request", 1)
    session.send(b"ActionID: amiweb-x\r\nFoo: bar\r\n\r\n")
    session.wait("Missing action in request", 2)
    session.send(b"Action: Ping\r\nActionID: amiweb-long\r\nX: " + b"x" * 1100 + b"\r\n\r\n")
    session.wait("line too long")
    session.send(b"Action: Ping\r\nActionID: amiweb-many\r\n" + b"X: y\r\n" * 127 + b"\r\n")
    session.wait("Too many lines")


def events_mask(session: Recorder) -> None:
    for mask in ("off", "call,system", "on", "nonsense"):
        session.response("Events", EventMask=mask)


def list_commands(session: Recorder) -> None:
    session.response("ListCommands")


def command_originate(session: Recorder) -> None:
    session.response("Command", Command="manager show command Originate")


def command_version(session: Recorder) -> None:
    session.response("Command", Command="core show version")


def command_channels(session: Recorder) -> None:
    session.response("Command", Command="core show channels")


def command_error(session: Recorder) -> None:
    session.response("Command", Command="no such command")
    session.response("Command", Command="core show")


def core_status(session: Recorder) -> None:
    session.response("CoreStatus")


def core_settings(session: Recorder) -> None:
    session.response("CoreSettings")


def core_show_channels(session: Recorder) -> None:
    """Empty first, then with a call between two telephones."""
    session.action("CoreShowChannels")
    session.wait("Event: CoreShowChannelsComplete\r\n")
    originate(session, "Local/1001@phones", "2002")
    session.wait("Event: BridgeEnter\r\n", 2)
    session.action("CoreShowChannels")
    session.wait("Event: CoreShowChannelsComplete\r\n", 2)
    session.action("Status")
    session.wait("Event: StatusComplete\r\n")
    session.action("Hangup", Channel=channel_of(session, "1001"))
    session.everyone_hung_up()


def queue_status(session: Recorder) -> None:
    session.action("QueueStatus")
    session.wait("Event: QueueStatusComplete\r\n")
    session.action("QueueSummary")
    session.wait("Event: QueueSummaryComplete\r\n")
    session.action("QueueStatus", Queue="nosuchqueue")
    session.wait("Event: QueueStatusComplete\r\n", 2)


def queue_members(session: Recorder) -> None:
    """A member is added, paused, unpaused and removed."""
    interface = "Local/2003@phones/n"
    session.response("QueueAdd", Queue="support", Interface=interface, MemberName="Emil", Penalty="1")
    session.response("QueuePause", Queue="support", Interface=interface, Paused="true", Reason="lunch")
    session.response("QueuePause", Queue="support", Interface=interface, Paused="false")
    session.response("QueueRemove", Queue="support", Interface=interface)
    session.response("QueueRemove", Queue="support", Interface=interface)


def call_answered(session: Recorder) -> None:
    """Telephone 1001 calls 2002, who answers; a moment later 1001 hangs up."""
    originate(session, "Local/1001@phones", "2002", Variable="SHOP=Berlin")
    session.wait("Event: BridgeEnter\r\n", 2)
    session.wait("Event: OriginateResponse\r\n")
    session.action("Hangup", Channel=channel_of(session, "1001"), Cause="16")
    session.everyone_hung_up()


def call_busy(session: Recorder) -> None:
    """Telephone 1001 calls one that is busy."""
    originate(session, "Local/1001@phones", "busy")
    session.wait("Event: DialEnd\r\n", 2)
    session.everyone_hung_up()


def call_unanswered(session: Recorder) -> None:
    """Telephone 1001 calls one that rings and is not answered within a second."""
    originate(session, "Local/1001@phones", "ring")
    session.wait("Event: DialEnd\r\n", 2)
    session.everyone_hung_up()


def originate_busy(session: Recorder) -> None:
    originate(session, "Local/busy@phones", "2002")
    session.wait("Event: OriginateResponse\r\n")
    session.everyone_hung_up()


def originate_unanswered(session: Recorder) -> None:
    originate(session, "Local/ring@phones", "2002", Timeout="500")
    session.wait("Event: OriginateResponse\r\n")
    session.everyone_hung_up()


def originate_no_such_channel(session: Recorder) -> None:
    session.response("Originate", Channel="NoSuchTech/1001", Context="office", Exten="2002", Priority="1")
    session.response("Originate", Channel="Local/1001@phones", Async="true")
    originate(session, "NoSuchTech/1001", "2002")
    session.wait("Event: OriginateResponse\r\n")


def originate_synchronous(session: Recorder) -> None:
    """Without Async the session is deaf until somebody answers."""
    session.response(
        "Originate", Channel="Local/1001@phones", Application="Wait", Data="3600", CallerID="Ada <1001>"
    )
    session.action("Hangup", Channel=channel_of(session, "1001"))
    session.everyone_hung_up()


def queue_call(session: Recorder) -> None:
    """1001 enters the queue, its member answers, 1001 hangs up."""
    originate(session, "Local/1001@phones", "queue")
    session.wait("Event: AgentConnect\r\n")
    session.wait("Event: BridgeEnter\r\n", 2)
    session.action("QueueStatus", Queue="support")
    session.wait("Event: QueueStatusComplete\r\n")
    session.action("Hangup", Channel=channel_of(session, "1001"))
    session.wait("Event: AgentComplete\r\n")
    session.everyone_hung_up()


def queue_unanswered(session: Recorder) -> None:
    """Nobody answers; the queue gives the caller back after two seconds."""
    originate(session, "Local/1001@phones", "sales")
    session.wait("Event: QueueCallerLeave\r\n")
    session.everyone_hung_up()


def queue_abandoned(session: Recorder) -> None:
    """The caller hangs up while waiting."""
    originate(session, "Local/1001@phones", "sales")
    session.wait("Event: AgentCalled\r\n")
    session.action("QueueStatus", Queue="sales")
    session.wait("Event: QueueStatusComplete\r\n")
    session.action("Hangup", Channel=channel_of(session, "1001"))
    session.wait("Event: QueueCallerAbandon\r\n")
    session.everyone_hung_up()


def conference(session: Recorder) -> None:
    """Two telephones join, one is muted, both leave."""
    originate(session, "Local/1001@phones", "conference")
    session.wait("Event: ConfbridgeJoin\r\n")
    originate(session, "Local/1002@phones", "conference")
    session.wait("Event: ConfbridgeJoin\r\n", 2)
    session.action("ConfbridgeList", Conference="1000")
    session.wait("Event: ConfbridgeListComplete\r\n")
    session.response("ConfbridgeMute", Conference="1000", Channel=channel_of(session, "1002"))
    session.action("Hangup", Channel=channel_of(session, "1002"))
    session.wait("Event: ConfbridgeLeave\r\n")
    session.action("Hangup", Channel=channel_of(session, "1001"))
    session.wait("Event: ConfbridgeEnd\r\n")
    session.everyone_hung_up()


def user_event(session: Recorder) -> None:
    """By an action, with names and bytes as they come; then by the dialplan."""
    session.action("UserEvent", UserEvent="Amiweb", Colour="blue", **{"Key(0)/Sub": "a: b", "Näme": "Jürgen"})
    session.wait("Event: UserEvent\r\n")
    originate(session, "Local/1001@phones", "userevent")
    session.wait("Event: UserEvent\r\n", 2)
    session.everyone_hung_up()


def hold(session: Recorder) -> None:
    """1001 calls 2002; 2002 puts 1001 on hold to ask somebody, whose number doesn't exist, and comes back."""
    originate(session, "Local/1001@phones", "2002")
    session.wait("Event: BridgeEnter\r\n", 2)
    session.response("Atxfer", Channel=channel_of(session, "2002"), Exten="999", Context="office")
    session.wait("Event: Hold\r\n")
    session.wait("Event: Unhold\r\n")
    session.action("Hangup", Channel=channel_of(session, "1001"))
    session.everyone_hung_up()


def transfer_blind(session: Recorder) -> None:
    """1001 calls 2002, who is replaced by 2003 (Redirect of the caller)."""
    originate(session, "Local/1001@phones", "2002")
    session.wait("Event: BridgeEnter\r\n", 2)
    session.response(
        "Redirect", Channel=channel_of(session, "1001"), Context="office", Exten="2003", Priority="1"
    )
    session.wait("Event: BridgeEnter\r\n", 4)
    session.action("Hangup", Channel=channel_of(session, "1001"))
    session.everyone_hung_up()


def park(session: Recorder) -> None:
    originate(session, "Local/1001@phones", "hold")
    session.wait("Event: OriginateResponse\r\n")
    session.response("Park", Channel=channel_of(session, "1001"), Timeout="60000")
    session.wait("Event: ParkedCall\r\n")
    session.action("ParkedCalls")
    session.wait("Event: ParkedCallsComplete\r\n")
    session.action("Hangup", Channel=channel_of(session, "1001"))
    session.everyone_hung_up()


def variables(session: Recorder) -> None:
    originate(session, "Local/1001@phones", "hold")
    session.wait("Event: OriginateResponse\r\n")
    channel = channel_of(session, "1001")
    session.response("Setvar", Channel=channel, Variable="NOTE", Value="a,b: c\\d")
    session.response("Getvar", Channel=channel, Variable="NOTE")
    session.response("Getvar", Channel="Local/nobody", Variable="NOTE")
    session.action("Hangup", Channel=channel)
    session.everyone_hung_up()


def database(session: Recorder) -> None:
    session.response("DBPut", Family="amiweb", Key="colour", Val="blue")
    session.action("DBGet", Family="amiweb", Key="colour")
    session.wait("Event: DBGetComplete\r\n")
    session.response("DBDel", Family="amiweb", Key="colour")
    session.response("DBGet", Family="amiweb", Key="colour")


def errors_of_pjsip(session: Recorder) -> None:
    """Errors that end in a bare LF, or come after the list has begun."""
    session.response("PJSIPShowEndpoint", Endpoint="nobody")
    session.response("PJSIPShowResourceLists")
    session.response("PJSIPShowContacts")


def permission_denied(session: Recorder) -> None:
    session.response("CoreSettings")
    session.response("ListCommands")
    session.response("Originate", Channel="Local/1001@phones", Context="office", Exten="2002", Priority="1")
    session.response("Command", Command="core show version")


def shutdown(session: Recorder) -> None:
    """What a session sees when Asterisk is stopped: played last."""
    session.response("Ping")


def pjsip_call_answered(session: Recorder) -> None:
    """Telephone 1001 dials 2002, who answers; 1001 hangs up. Both are SIP telephones."""
    caller = telephone_calls(session, "1001", "2002")
    session.wait("Event: BridgeEnter\r\n", 2)
    session.action("CoreShowChannels")
    session.wait("Event: CoreShowChannelsComplete\r\n")
    session.action("Hangup", Channel=caller, Cause="16")
    session.everyone_hung_up()


def pjsip_call_busy(session: Recorder) -> None:
    telephone_calls(session, "1001", "2902")
    session.wait("Event: DialEnd\r\n")
    session.everyone_hung_up()


def pjsip_call_unanswered(session: Recorder) -> None:
    telephone_calls(session, "1001", "2802")
    session.wait("Event: DialEnd\r\n")
    session.everyone_hung_up()


def pjsip_call_hold(session: Recorder) -> None:
    """2702 answers, presses hold, and comes back after a second."""
    caller = telephone_calls(session, "1001", "2702")
    session.wait("Event: Hold\r\n")
    session.wait("Event: Unhold\r\n")
    session.action("Hangup", Channel=caller, Cause="16")
    session.everyone_hung_up()


def pjsip_originate(session: Recorder) -> None:
    """Click to call: 1001's telephone rings first, then 2002's."""
    session.action(
        "Originate", Channel="PJSIP/1001", Context="desk", Exten="2002", Priority="1",
        CallerID="Ada <1001>", Async="true",
    )  # fmt: skip
    session.wait("Event: BridgeEnter\r\n", 2)
    caller = session.wait(r"Channel: (PJSIP/1001-\w+)\r\n")[1].decode()
    session.action("Hangup", Channel=caller, Cause="16")
    session.everyone_hung_up()


def pjsip_queue_call(session: Recorder) -> None:
    """1001 dials the queue, whose member 2001 answers; 1001 hangs up."""
    session.response("QueueAdd", Queue="desk", Interface="PJSIP/2001", MemberName="Anna")
    caller = telephone_calls(session, "1001", "6000")
    session.wait("Event: AgentConnect\r\n")
    session.wait("Event: BridgeEnter\r\n", 2)
    session.action("Hangup", Channel=caller, Cause="16")
    session.wait("Event: AgentComplete\r\n")
    session.everyone_hung_up()
    session.response("QueueRemove", Queue="desk", Interface="PJSIP/2001")


def pjsip_endpoint(session: Recorder) -> None:
    session.action("PJSIPShowEndpoint", Endpoint="1001")
    session.wait("Event: EndpointDetailComplete\r\n")


Scenario = Callable[[Recorder], None]
SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        login, login_again, wrong_action, events_mask, list_commands, command_originate, command_version,
        command_channels, command_error, core_status, core_settings, core_show_channels, queue_status,
        queue_members, call_answered, call_busy, call_unanswered, originate_busy, originate_unanswered,
        originate_no_such_channel, originate_synchronous, queue_call, queue_unanswered, queue_abandoned,
        conference, user_event, hold, transfer_blind, park, variables, database, errors_of_pjsip,
        permission_denied, pjsip_call_answered, pjsip_call_busy, pjsip_call_unanswered, pjsip_call_hold,
        pjsip_originate, pjsip_queue_call, pjsip_endpoint, shutdown,
    )
}  # fmt: skip
ROLES = {"permission_denied": "readonly"}


def record(asterisk: Asterisk, telephones: Telephones, name: str) -> tuple[bytes, bytes]:
    """Play one scenario in a session of its own; returns (received, sent)."""
    with closing(Recorder(asterisk, ROLES.get(name, "admin"))) as session:
        session.telephones = telephones
        SCENARIOS[name](session)
        if name == "shutdown":
            asterisk.stop()
        session.drain()
    # The client's own parser stays out of captures; what it masks in its recordings is masked here, too.
    secrets = [secret.encode() for _, secret in asterisk.users.values()]
    received = recording.mask(session.received, secrets)
    return received, recording.mask(session.sent, secrets, sent=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.pbx.capture", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help="all by default")
    names = parser.parse_args(arguments).scenarios or list(SCENARIOS)
    for suite in provision.SUITES.values():
        folder = CAPTURES / suite.asterisk
        folder.mkdir(parents=True, exist_ok=True)
        with Telephones(suite.name) as telephones, Asterisk(suite.name, telephones=telephones) as asterisk:
            (folder / "version").write_text(f"{asterisk.version}\n")
            for name in names:
                received, sent = record(asterisk, telephones, name)
                (folder / f"{name}.ami").write_bytes(received)
                (folder / f"{name}.sent.ami").write_bytes(sent)
                print(f"{asterisk.version} {name}: {len(received)} bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
