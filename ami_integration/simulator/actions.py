"""
The actions that the simulator offers, answered as Asterisk 22 answers them
(tests/simulator/captures/22*/exchanges).

A handler gets the session and the request and writes the reply through the session. One that takes its time
(a failed login, an Originate that isn't asynchronous) simply awaits: its session does nothing else
meanwhile, as on the real one.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ami_integration.simulator import cli, originating
from ami_integration.simulator.catalogue import DESCRIPTIONS, Description
from ami_integration.simulator.telephony import UNKNOWN
from ami_integration.simulator.version import ASTERISK_VERSION
from ami_integration.simulator.wire import EventClass, Header, encode, privilege_text

if TYPE_CHECKING:
    from ami_integration.simulator.office import Queue
    from ami_integration.simulator.requests import Request
    from ami_integration.simulator.session import Session

Handler = Callable[["Session", "Request"], Awaitable[None]]

MAX_PUBLIC_UNIQUEID = 149
# Applications that run programs of the machine: with them, an Originate needs class system besides.
_NEEDS_SYSTEM = ("agi", "deadagi", "eagi", "eval", "exec", "externalivr", "mixmonitor", "system", "trysystem")
_TRUE = {"yes", "true", "y", "t", "1", "on"}


class SessionClosed(Exception):
    """The session is over once what was written has gone out; the rest of its input counts for nothing."""


@dataclass(frozen=True)
class Action:
    """One action: its page in the catalogue, and what answers it."""

    description: Description
    run: Handler

    @property
    def classes(self) -> EventClass:
        """The write classes of which an account needs one."""
        return self.description.classes


async def ping(session: Session, request: Request) -> None:
    session.respond(
        request, "Success", headers=[("Ping", "Pong"), ("Timestamp", f"{session.pbx.clock():.6f}")]
    )


async def challenge(session: Session, request: Request) -> None:
    if request.get("AuthType").lower() == "md5":
        session.respond(request, "Success", headers=[("Challenge", session.make_challenge())])
    else:
        session.respond_error(request, "Must specify AuthType")


async def login(session: Session, request: Request) -> None:
    await asyncio.sleep(session.pbx.faults.slow_login)
    if session.account is not None:
        session.respond(request, "Success", "Already authenticated")
    elif session.log_in(request):
        session.respond(request, "Success", "Authentication accepted")
        session.begin(request)
    else:
        await asyncio.sleep(session.pbx.limits.login_failed_pause)
        session.respond_error(request, "Authentication failed")
        raise SessionClosed


async def logoff(session: Session, request: Request) -> None:
    session.respond(request, "Goodbye", "Thanks for all the fish.")
    raise SessionClosed


async def events(session: Session, request: Request) -> None:
    if session.set_mask(request.get("EventMask")):
        session.respond(request, "Success", headers=[("Events", "On" if session.mask else "Off")])
    else:
        session.respond_error(request, "Invalid event mask")


async def list_commands(session: Session, request: Request) -> None:
    offered = [action for action in ACTIONS.values() if session.may_run(action)]
    offered.sort(key=lambda action: action.description.name.lower())
    lines: list[Header] = [
        (action.description.name, f"{action.description.synopsis}  (Priv: {privilege_text(action.classes)})")
        for action in offered
    ]
    session.respond(request, "Success", headers=lines)


async def command(session: Session, request: Request) -> None:
    line = request.get("Command")
    if not line:
        session.respond_error(request, "No command provided")
    elif cli.is_blacklisted(line):
        session.respond_error(request, "Command blacklisted")
    else:
        output = cli.run(session.pbx.office, line)
        if session.pbx.faults.old_command:
            session.answer(request, old_command(request, output.lines))
            return
        session.respond(
            request,
            "Success" if output.success else "Error",
            "Command output follows",
            [("Output", text) for text in output.lines],
        )


def old_command(request: Request, lines: list[str]) -> bytes:
    """As Asterisk 13 and older: no blank line between headers and output, and an end of its own."""
    head = [("Response", "Follows"), ("Privilege", "Command"), ("ActionID", request.action_id)]
    text = encode([(name, value) for name, value in head if value]).removesuffix(b"\r\n")
    output = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    return text + output + b"--END COMMAND--\r\n\r\n"


async def core_settings(session: Session, request: Request) -> None:
    session.respond(
        request,
        "Success",
        headers=[
            ("AMIversion", session.pbx.ami_version),
            ("AsteriskVersion", ASTERISK_VERSION),
            ("SystemName", "simulated"),
            ("CoreMaxCalls", "0"),
            ("CoreMaxLoadAvg", "0.000000"),
            ("CoreRunUser", ""),
            ("CoreRunGroup", ""),
            ("CoreMaxFilehandles", "0"),
            ("CoreRealTimeEnabled", "No"),
            ("CoreCDRenabled", "Yes"),
            ("CoreHTTPenabled", "No"),
            ("SoundsSearchCustomDir", "No"),
        ],
    )


async def core_status(session: Session, request: Request) -> None:
    office = session.pbx.office
    started = time.gmtime(office.started)
    date, clock = time.strftime("%Y-%m-%d", started), time.strftime("%H:%M:%S", started)
    session.respond(
        request,
        "Success",
        headers=[
            ("CoreStartupDate", date),
            ("CoreStartupTime", clock),
            ("CoreReloadDate", date),
            ("CoreReloadTime", clock),
            ("CoreCurrentCalls", str(len(office.switch.channels))),
            ("CoreProcessedCalls", str(office.switch.calls_processed)),
        ],
    )


async def core_show_channels(session: Session, request: Request) -> None:
    office = session.pbx.office
    items: list[tuple[str, list[Header]]] = []
    for channel in office.switch.channels.values():
        tail: list[Header] = [
            ("Application", channel.application),
            ("ApplicationData", channel.application_data),
            ("Duration", cli.duration(office.time - channel.created)),
            ("BridgeId", channel.bridge.uniqueid if channel.bridge else ""),
        ]
        items.append(("CoreShowChannel", [*channel.snapshot(), *tail]))
    session.respond_list(request, "Channels will follow", items, "CoreShowChannelsComplete")


async def queue_status(session: Session, request: Request) -> None:
    wanted_queue, wanted_member = request.get("Queue"), request.get("Member")
    items: list[tuple[str, list[Header]]] = []
    # Asterisk keeps queues and members in hash tables; the captures have them in the reverse of their order.
    for queue in reversed(session.pbx.office.queues.values()):
        if not wanted_queue or wanted_queue.lower() == queue.name:
            items += _queue_items(session, queue, wanted_member)
    session.respond_list(
        request, "Queue status will follow", items, "QueueStatusComplete", action_id_last=True
    )


def _queue_items(session: Session, queue: Queue, wanted_member: str) -> list[tuple[str, list[Header]]]:
    office = session.pbx.office
    about: Header = ("Queue", queue.name)
    params: list[Header] = [
        about,
        ("Max", "0"),
        ("Strategy", queue.strategy),
        ("Calls", str(len(queue.callers))),
        ("Holdtime", str(queue.hold_time)),
        ("TalkTime", str(queue.talk_time)),
        ("Completed", str(queue.completed)),
        ("Abandoned", str(queue.abandoned)),
        ("ServiceLevel", "0"),
        ("ServicelevelPerf", "0.0"),
        ("ServicelevelPerf2", "0.0"),
        ("Weight", "0"),
    ]
    items = [("QueueParams", params)]
    for member in reversed(queue.members):
        device = member.phone.device
        if not wanted_member or wanted_member == device:
            names: list[Header] = [about, ("Name", member.phone.name), ("Location", device)]
            items.append(("QueueMember", [*names, *office.member_headers(member), ("Wrapuptime", "0")]))
    for position, waiting in enumerate(queue.callers, 1):
        channel = waiting.channel
        entry: list[Header] = [
            about,
            ("Position", str(position)),
            ("Channel", channel.name),
            ("Uniqueid", channel.uniqueid),
            ("CallerIDNum", channel.caller[0]),
            ("CallerIDName", channel.caller[1]),
            ("ConnectedLineNum", channel.connected[0]),
            ("ConnectedLineName", channel.connected[1]),
            ("Wait", str(int(office.time - waiting.since))),
            ("Priority", "0"),
        ]
        items.append(("QueueEntry", entry))
    return items


async def hang_up(session: Session, request: Request) -> None:
    name, cause_text = request.get("Channel"), request.get("Cause")
    if not name:
        session.respond_error(request, "No channel specified")
        return
    cause = int(cause_text) if cause_text.isascii() and cause_text.isdigit() and int(cause_text) <= 127 else 0
    channels = session.pbx.office.switch.channels
    if name.startswith("/") and name.endswith("/") and len(name) > 1:
        try:
            pattern = re.compile(name[1:-1])
        except re.error:
            session.respond_error(request, f"Regex compile failed on: {name}")
            return
        chosen = [channel for channel in channels.values() if pattern.search(channel.name)]
        items: list[tuple[str, list[Header]]] = [
            ("ChannelHungup", [("Channel", channel.name)]) for channel in chosen
        ]
        session.respond_list(
            request, "Channels hung up will follow", items, "ChannelsHungupListComplete", action_id_last=True
        )
    elif name in channels:
        chosen = [channels[name]]
        session.respond(request, "Success", "Channel Hungup")
    else:
        session.respond_error(request, "No such channel")
        return
    for channel in chosen:
        channel.owner.hang_up_requested(channel, cause)


# -- Originate -----------------------------------------------------------------------------------


async def originate(session: Session, request: Request) -> None:
    try:
        wanted = _read_originate(session, request)
    except ValueError as error:
        session.respond_error(request, str(error))
        return
    office = session.pbx.office
    if request.get("Async").lower() in _TRUE:
        wanted.done = originating.tell_outcome(office, request.action_id)
        originating.originate(office, wanted)
        session.respond(request, "Success", "Originate successfully queued")
        return
    answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def settle(done: originating.Originate, success: bool, reason: int) -> None:
        if not answered.done():
            answered.set_result(success)

    wanted.done = settle
    originating.originate(office, wanted)
    if await answered:
        session.respond(request, "Success", "Originate successfully queued")
    else:
        session.respond_error(request, "Originate failed")


def _read_originate(session: Session, request: Request) -> originating.Originate:
    """The request as an Originate. Raises ValueError with Asterisk's sentence."""
    channel, application = request.get("Channel"), request.get("Application")
    context, exten, priority_text = request.get("Context"), request.get("Exten"), request.get("Priority")
    timeout_text = request.get("Timeout")
    if not channel:
        raise ValueError("Channel not specified")
    priority = 0
    if priority_text and priority_text != "n":
        if not priority_text.isascii() or not priority_text.isdigit():
            raise ValueError("Invalid priority")
        priority = int(priority_text)
    milliseconds = re.match(r"\s*(-?[0-9]+)", timeout_text or "30000")
    if milliseconds is None:
        raise ValueError("Invalid timeout")
    timeout = int(milliseconds.group(1)) / 1000
    if "/" not in channel:
        raise ValueError("Invalid channel")
    for name in ("ChannelId", "OtherChannelId"):
        if len(request.get(name).encode("utf-8", "surrogateescape")) > MAX_PUBLIC_UNIQUEID:
            raise ValueError(f"Uniqueid length exceeds maximum of {MAX_PUBLIC_UNIQUEID}\n")
    if application:
        may = session.account is not None and bool(session.account.write & EventClass.SYSTEM)
        if not may and application.lower() in _NEEDS_SYSTEM:
            raise ValueError(
                "Originate with certain 'Application' arguments requires the additional System privilege, "
                "which you do not have."
            )
    elif not (exten and context and priority):
        raise ValueError("Originate with 'Exten' requires 'Context' and 'Priority'")
    elif not session.pbx.office.extension_exists(context, exten):
        raise ValueError("Extension does not exist.")
    return originating.Originate(
        channel=channel,
        context=context,
        exten=exten,
        priority=priority or 1,
        application=application,
        data=request.get("Data"),
        timeout=timeout if timeout > 0 else 30.0,
        caller=read_caller_id(request.get("CallerID")),
        account=request.get("Account"),
        variables=read_variables(request.getall("Variable")),
        channel_id=request.get("ChannelId"),
        other_channel_id=request.get("OtherChannelId"),
    )


def read_caller_id(text: str) -> tuple[str, str] | None:
    """Number and name of ``Name <number>``, of a number alone, or None."""
    if not text:
        return None
    match = re.fullmatch(r'\s*"?(.*?)"?\s*<([^<>]*)>\s*', text)
    if match:
        return match.group(2), match.group(1) or UNKNOWN
    if re.fullmatch(r"[0-9*#+(). -]+", text):
        return text.strip(), UNKNOWN
    return UNKNOWN, text.strip()


def read_variables(values: list[str]) -> list[Header]:
    """The variables of all ``Variable`` headers, in the order of Asterisk's setting them: the last first."""
    found: list[Header] = []
    for value in values:
        for part in split_arguments(value)[:64]:
            name, equals, text = part.partition("=")
            if equals:
                found.append((name, text))
    return found[::-1]


def split_arguments(text: str) -> list[str]:
    """Split at commas outside quotes, parentheses, brackets; takes out quotes and backslashes (app.c)."""
    parts, current, quoted, escaped, depth = [], "", False, False, 0
    for letter in text:
        if escaped:
            current += letter
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted and depth == 0:
            parts.append(current)
            current = ""
        else:
            if not quoted:
                depth = max(0, depth + (letter in "([") - (letter in ")]"))
            current += letter
    return [*parts, current]


_HANDLERS: dict[str, Handler] = {
    "Challenge": challenge,
    "Command": command,
    "CoreSettings": core_settings,
    "CoreShowChannels": core_show_channels,
    "CoreStatus": core_status,
    "Events": events,
    "Hangup": hang_up,
    "ListCommands": list_commands,
    "Login": login,
    "Logoff": logoff,
    "Originate": originate,
    "Ping": ping,
    "QueueStatus": queue_status,
}

ACTIONS = {page.name.lower(): Action(page, _HANDLERS[page.name]) for page in DESCRIPTIONS}
"""Every action by its name in lower case."""
