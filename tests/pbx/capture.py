"""Record what a real Asterisk sends, byte for byte: the models of the simulator and of the protocol's tests.

``python -m tests.pbx.capture [--to FOLDER] [scenario ...]`` plays every scenario below against each
provisioned Asterisk and writes ``tests/captures/<22|16>/<scenario>.ami`` (all bytes that Asterisk sent in
that session, banner and login included) and ``<scenario>.sent.ami`` (the actions that were sent, the login's
key blanked). One session for each scenario.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ami_integration.ami import recording
from tests.pbx import provision
from tests.pbx.asterisk import Asterisk, Telephones
from tests.pbx.recorder import Recorder, Wire, save
from tests.polling import wait_until

__all__ = ["CAPTURES", "SCENARIOS", "Recorder", "Wire", "channel_of", "originate", "record"]

CAPTURES = Path(__file__).parent.parent / "captures"


class Scene(Recorder):
    """The session of one scenario.

    Attributes:
        telephones: those of the recorded Asterisk.
    """

    def __init__(self, asterisk: Asterisk, telephones: Telephones, role: str) -> None:
        super().__init__(asterisk, role)
        self.telephones = telephones


def originate(session: Recorder, channel: str, exten: str, **more: str) -> None:
    session.action(
        "Originate", Channel=channel, Context="office", Exten=exten, Priority="1",
        CallerID="Ada <1001>", Async="true", **more,
    )  # fmt: skip


def channel_of(session: Recorder, exten: str) -> str:
    """The first Local channel (its ;1 end) that was made for an extension of the telephones."""
    return session.wait(rf"Channel: (Local/{exten}@phones-\w+;1)\r\n")[1].decode()


def bridged(session: Recorder, **more: str) -> None:
    """Telephone 1001 calls 2002, who answers."""
    originate(session, "Local/1001@phones", "2002", **more)
    session.wait("Event: BridgeEnter\r\n", 2)


def held(session: Recorder) -> str:
    """Telephone 1001 is called and left waiting; returns its channel."""
    originate(session, "Local/1001@phones", "hold")
    session.wait("Event: OriginateResponse\r\n")
    return channel_of(session, "1001")


def hang_up(session: Recorder, channel: str, *then: str, **more: str) -> None:
    """Hang up, and wait for these events and until nobody is left."""
    session.action("Hangup", Channel=channel, **more)
    for event in then:
        session.wait(f"Event: {event}\r\n")
    session.everyone_hung_up()


def until_dialled(session: Recorder, exten: str) -> None:
    """Telephone 1001 calls one who doesn't answer: through a Local channel, so that there are two DialEnd."""
    originate(session, "Local/1001@phones", exten)
    session.wait("Event: DialEnd\r\n", 2)
    session.everyone_hung_up()


def until_responded(session: Recorder, channel: str, **more: str) -> None:
    """Somebody who doesn't answer is called for 2002."""
    originate(session, channel, "2002", **more)
    session.wait("Event: OriginateResponse\r\n")
    session.everyone_hung_up()


def telephone_calls(session: Scene, caller: str, number: str) -> str:
    """A PJSIP telephone dials a number; returns its channel in the recorded Asterisk."""
    exchange = f"127.0.0.1:{session.asterisk.sip_port}"
    with closing(Recorder(session.telephones, events="off")) as there:
        there.response(
            "Originate", Channel=f"PJSIP/exchange/sip:{number}@{exchange}", Async="true",
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
    session.listed("CoreShowChannels", "CoreShowChannelsComplete")
    bridged(session)
    session.listed("CoreShowChannels", "CoreShowChannelsComplete")
    session.listed("Status", "StatusComplete")
    hang_up(session, channel_of(session, "1001"))


def queue_status(session: Recorder) -> None:
    session.listed("QueueStatus", "QueueStatusComplete")
    session.listed("QueueSummary", "QueueSummaryComplete")
    session.listed("QueueStatus", "QueueStatusComplete", Queue="nosuchqueue")


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
    bridged(session, Variable="SHOP=Berlin")
    session.wait("Event: OriginateResponse\r\n")
    hang_up(session, channel_of(session, "1001"), Cause="16")


def call_busy(session: Recorder) -> None:
    until_dialled(session, "busy")


def call_unanswered(session: Recorder) -> None:
    """It rings, and is not answered within a second."""
    until_dialled(session, "ring")


def originate_busy(session: Recorder) -> None:
    until_responded(session, "Local/busy@phones")


def originate_unanswered(session: Recorder) -> None:
    until_responded(session, "Local/ring@phones", Timeout="500")


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
    hang_up(session, channel_of(session, "1001"))


def queue_call(session: Recorder) -> None:
    """1001 enters the queue, its member answers, 1001 hangs up."""
    originate(session, "Local/1001@phones", "queue")
    session.wait("Event: AgentConnect\r\n")
    session.wait("Event: BridgeEnter\r\n", 2)
    session.listed("QueueStatus", "QueueStatusComplete", Queue="support")
    hang_up(session, channel_of(session, "1001"), "AgentComplete")


def queue_unanswered(session: Recorder) -> None:
    """Nobody answers; the queue gives the caller back after two seconds."""
    originate(session, "Local/1001@phones", "sales")
    session.wait("Event: QueueCallerLeave\r\n")
    session.everyone_hung_up()


def queue_abandoned(session: Recorder) -> None:
    """The caller hangs up while waiting."""
    originate(session, "Local/1001@phones", "sales")
    session.wait("Event: AgentCalled\r\n")
    session.listed("QueueStatus", "QueueStatusComplete", Queue="sales")
    hang_up(session, channel_of(session, "1001"), "QueueCallerAbandon")


def conference(session: Recorder) -> None:
    """Two telephones join, one is muted, both leave."""
    originate(session, "Local/1001@phones", "conference")
    session.wait("Event: ConfbridgeJoin\r\n")
    originate(session, "Local/1002@phones", "conference")
    session.wait("Event: ConfbridgeJoin\r\n", 2)
    session.listed("ConfbridgeList", "ConfbridgeListComplete", Conference="1000")
    session.response("ConfbridgeMute", Conference="1000", Channel=channel_of(session, "1002"))
    session.action("Hangup", Channel=channel_of(session, "1002"))
    session.wait("Event: ConfbridgeLeave\r\n")
    hang_up(session, channel_of(session, "1001"), "ConfbridgeEnd")


def user_event(session: Recorder) -> None:
    """By an action, with names and bytes as they come; then by the dialplan."""
    session.action("UserEvent", UserEvent="Amiweb", Colour="blue", **{"Key(0)/Sub": "a: b", "Näme": "Jürgen"})
    session.wait("Event: UserEvent\r\n")
    originate(session, "Local/1001@phones", "userevent")
    session.wait("Event: UserEvent\r\n", 2)
    session.everyone_hung_up()


def hold(session: Recorder) -> None:
    """1001 calls 2002; 2002 puts 1001 on hold to ask somebody, whose number doesn't exist, and comes back."""
    bridged(session)
    session.response("Atxfer", Channel=channel_of(session, "2002"), Exten="999", Context="office")
    session.wait("Event: Hold\r\n")
    session.wait("Event: Unhold\r\n")
    hang_up(session, channel_of(session, "1001"))


def transfer_blind(session: Recorder) -> None:
    """1001 calls 2002, who is replaced by 2003 (Redirect of the caller)."""
    bridged(session)
    session.response(
        "Redirect", Channel=channel_of(session, "1001"), Context="office", Exten="2003", Priority="1"
    )
    session.wait("Event: BridgeEnter\r\n", 4)
    hang_up(session, channel_of(session, "1001"))


def park(session: Recorder) -> None:
    channel = held(session)
    session.response("Park", Channel=channel, Timeout="60000")
    session.wait("Event: ParkedCall\r\n")
    session.listed("ParkedCalls", "ParkedCallsComplete")
    hang_up(session, channel)


def variables(session: Recorder) -> None:
    channel = held(session)
    session.response("Setvar", Channel=channel, Variable="NOTE", Value="a,b: c\\d")
    session.response("Getvar", Channel=channel, Variable="NOTE")
    session.response("Getvar", Channel="Local/nobody", Variable="NOTE")
    hang_up(session, channel)


def database(session: Recorder) -> None:
    session.response("DBPut", Family="amiweb", Key="colour", Val="blue")
    session.listed("DBGet", "DBGetComplete", Family="amiweb", Key="colour")
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


def pjsip_call_answered(session: Scene) -> None:
    """Telephone 1001 dials 2002, who answers; 1001 hangs up. Both are SIP telephones."""
    caller = telephone_calls(session, "1001", "2002")
    session.wait("Event: BridgeEnter\r\n", 2)
    session.listed("CoreShowChannels", "CoreShowChannelsComplete")
    hang_up(session, caller, Cause="16")


def pjsip_call_busy(session: Scene) -> None:
    telephone_calls(session, "1001", "2902")
    session.wait("Event: DialEnd\r\n")
    session.everyone_hung_up()


def pjsip_call_unanswered(session: Scene) -> None:
    telephone_calls(session, "1001", "2802")
    session.wait("Event: DialEnd\r\n")
    session.everyone_hung_up()


def pjsip_call_hold(session: Scene) -> None:
    """2702 answers, presses hold, and comes back after a second."""
    caller = telephone_calls(session, "1001", "2702")
    session.wait("Event: Hold\r\n")
    session.wait("Event: Unhold\r\n")
    hang_up(session, caller, Cause="16")


def pjsip_originate(session: Scene) -> None:
    """Click to call: 1001's telephone rings first, then 2002's."""
    session.action(
        "Originate", Channel="PJSIP/1001", Context="desk", Exten="2002", Priority="1",
        CallerID="Ada <1001>", Async="true",
    )  # fmt: skip
    session.wait("Event: BridgeEnter\r\n", 2)
    caller = session.wait(r"Channel: (PJSIP/1001-\w+)\r\n")[1].decode()
    hang_up(session, caller, Cause="16")


def pjsip_queue_call(session: Scene) -> None:
    """1001 dials the queue, whose member 2001 answers; 1001 hangs up."""
    session.response("QueueAdd", Queue="desk", Interface="PJSIP/2001", MemberName="Anna")
    caller = telephone_calls(session, "1001", "6000")
    session.wait("Event: AgentConnect\r\n")
    session.wait("Event: BridgeEnter\r\n", 2)
    hang_up(session, caller, "AgentComplete", Cause="16")
    session.response("QueueRemove", Queue="desk", Interface="PJSIP/2001")


def pjsip_endpoint(session: Scene) -> None:
    session.listed("PJSIPShowEndpoint", "EndpointDetailComplete", Endpoint="1001")


Scenario = Callable[[Scene], None]
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


def leave_nobody(asterisk: Asterisk) -> None:
    """A call that a scenario has left isn't the next one's."""
    asterisk.cli("channel request hangup all")
    wait_until(
        lambda: "0 active channels" in asterisk.cli("core show channels count"),
        seconds=15,
        what="no channels",
    )


def record(asterisk: Asterisk, telephones: Telephones, name: str) -> tuple[bytes, bytes]:
    """Play one scenario in a session of its own; returns (received, sent)."""
    with closing(Scene(asterisk, telephones, ROLES.get(name, "admin"))) as session:
        SCENARIOS[name](session)
        if name == "shutdown":
            asterisk.stop()
        session.drain()
    if asterisk.running:
        leave_nobody(asterisk)
    # The client's own parser stays out of captures; what it masks in its recordings is masked here, too.
    secrets = [secret.encode() for _, secret in asterisk.users.values()]
    received = recording.mask(session.received, secrets)
    return received, recording.mask(session.sent, secrets, sent=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.pbx.capture", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--to", type=Path, default=CAPTURES, metavar="FOLDER", help="instead of %(default)s")
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help="all by default")
    options = parser.parse_args(arguments)
    for suite in provision.SUITES.values():
        folder = options.to / suite.asterisk
        with Telephones(suite.name) as telephones, Asterisk(suite.name, telephones=telephones) as asterisk:
            for name in options.scenarios or SCENARIOS:
                received, sent = record(asterisk, telephones, name)
                save(folder / f"{name}.ami", received)
                (folder / f"{name}.sent.ami").write_bytes(sent)
            (folder / "version").write_text(f"{asterisk.version}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
