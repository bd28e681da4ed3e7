"""``queue …`` and ``confbridge …``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ami_integration.simulator import membership
from ami_integration.simulator.cli.words import CLICommand, Failed, WrongUsage
from ami_integration.simulator.company import Member, Queue
from ami_integration.simulator.endpoints import state_text
from ami_integration.simulator.office import Office

if TYPE_CHECKING:
    from ami_integration.simulator.server import SimulatedPBX


def _show(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    office = pbx.office
    queues = sorted(office.queues.values(), key=lambda queue: queue.name)
    if arguments:
        queues = [queue for queue in queues if queue.name == arguments[0].lower()]
        if not queues:
            return [f"No such queue: {arguments[0]}."]
    return [line for queue in queues for line in _shown(office, queue)]


def _shown(office: Office, queue: Queue) -> list[str]:
    lines = [
        f"{queue.name} has {len(queue.callers)} calls (max unlimited) in '{queue.strategy}' strategy "
        f"({queue.hold_time}s holdtime, {queue.talk_time}s talktime), W:0, C:{queue.completed}, "
        f"A:{queue.abandoned}, SL:0.0%, SL2:0.0% within 0s"
    ]
    lines += ["   Members: ", *(f"      {_member(office, member)}" for member in queue.members)]
    if not queue.members:
        lines[-1] = "   No Members"
    if not queue.callers:
        return [*lines, "   No Callers", ""]
    lines.append("   Callers: ")
    for position, waiting in enumerate(queue.callers, 1):
        seconds = int(office.time - waiting.since)
        lines.append(
            f"      {position}. {waiting.channel.name} (wait: {seconds // 60}:{seconds % 60:02}, prio: 0)"
        )
    return [*lines, ""]


def _member(office: Office, member: Member) -> str:
    text = member.name if member.name == member.interface else f"{member.name} ({member.interface})"
    if member.watched != member.interface:
        text += f" from {member.watched}"
    if member.penalty:
        text += f" with penalty {member.penalty}"
    text += " (ringinuse disabled)"
    if member.dynamic:
        text += " (dynamic)"
    if member.paused:
        why = f":{member.reason}" if member.reason else ""
        text += f" (paused{why} was {int(office.time) - member.last_pause} secs ago)"
    if member.in_call:
        text += " (in call)"
    text += f" ({state_text(office.state_of(member.watched))})"
    calls = f"{member.calls_taken}" if member.calls_taken else "no"
    text += f" has taken {calls} calls"
    if member.calls_taken:
        text += f" (last was {int(office.time) - member.last_call} secs ago)"
    else:
        text += " yet"
    return f"{text} (login was {int(office.time) - member.login_time} secs ago)"


_ADD = re.compile(r"(\S+) to (\S+)(?: penalty (\d+))?(?: as (\S+))?(?: state_interface (\S+))?")
_REMOVE = re.compile(r"(\S+) from (\S+)")
_PAUSE = re.compile(r"(\S+)(?: queue (\S+))?(?: reason (\S+))?")
_PENALTY = re.compile(r"(\d+) on (\S+)(?: in (\S+))?")


def _words(pattern: re.Pattern[str], arguments: list[str]) -> list[str]:
    match = pattern.fullmatch(" ".join(arguments))
    if match is None:
        raise WrongUsage
    return [group or "" for group in match.groups()]


def _add(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    interface, name, penalty, alias, state = _words(_ADD, arguments)
    member = Member(
        interface,
        alias or interface,
        int(pbx.office.time),
        state_interface=state,
        dynamic=True,
        penalty=int(penalty or 0),
    )
    try:
        membership.add(pbx.office, name, member)
    except membership.NotPossible as error:
        if str(error) == membership.NO_QUEUE:
            raise Failed(f"Unable to add interface to queue '{name}': {error}") from None
        raise Failed(f"Unable to add interface '{interface}' to queue '{name}': {error}") from None
    return [f"Added interface '{interface}' to queue '{name}'"]


def _remove(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    interface, name = _words(_REMOVE, arguments)
    try:
        membership.remove(pbx.office, name, interface)
    except membership.NotPossible as error:
        if str(error) == membership.NO_QUEUE:
            raise Failed(f"Unable to remove interface from queue '{name}': {error}") from None
        why = "Member is not dynamic" if str(error) == membership.NOT_DYNAMIC else str(error)
        raise Failed(f"Unable to remove interface '{interface}' from queue '{name}': {why}") from None
    return [f"Removed interface {interface} from queue '{name}'"]


def _pause(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    return _set_pause(pbx, arguments, True)


def _unpause(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    return _set_pause(pbx, arguments, False)


def _set_pause(pbx: SimulatedPBX, arguments: list[str], paused: bool) -> list[str]:
    interface, name, reason = _words(_PAUSE, arguments)
    word, where = ("pause" if paused else "unpause"), (f" in queue '{name}'" if name else "")
    if not membership.pause(pbx.office, name, interface, paused, reason):
        raise Failed(f"Unable to {word} interface '{interface}'{where}")
    why = f" for reason '{reason}'" if reason else ""
    return [f"{word}d interface '{interface}'{where}{why}"]


def _set_penalty(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    penalty, interface, name = _words(_PENALTY, arguments)
    if not membership.set_penalty(pbx.office, name, interface, int(penalty)):
        raise Failed(f"Failed to set penalty on interface '{interface}' from queue '{name or '(null)'}'")
    return [f"Set penalty on interface '{interface}' from queue '{name or '(null)'}'"]


def _conferences(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    conferences = pbx.office.conferences
    if not arguments:
        lines = [
            f"{'Conference Bridge Name':<32} {'Users':<6} {'Marked':<6} {'Locked':<6} {'Muted'}",
            f"{'=' * 32} {'=' * 6} {'=' * 6} {'=' * 6} {'=' * 5}",
        ]
        rooms = conferences.values()
        return [
            *lines,
            *(f"{one.room:<32} {len(one.channels):>6} {0:>6} {'No':<6} {'No':<5}" for one in rooms),
        ]
    conference = conferences.get(arguments[0])
    if conference is None:
        return [f"No conference bridge named '{arguments[0]}' found!"]
    columns = ("User Profile", "Bridge Profile", "Menu", "CallerID")
    profiles = f"{'default_user':<16} {'default_bridge':<16} {'':<16}"
    lines = [f"{'Channel':<30} {'Flags':<6} {' '.join(f'{column:<16}' for column in columns)}".rstrip()]
    lines.append(f"{'=' * 30} {'=' * 6} {' '.join(['=' * 16] * 4)}")
    for channel in conference.channels:
        flags = "m" if channel in conference.muted else ""
        lines.append(f"{channel.name:<30} {flags:<6} {profiles} {channel.caller[0]}")
    return lines


COMMANDS: dict[tuple[str, ...], CLICommand] = {
    ("queue", "show"): CLICommand(range(2), "queue show [queue]", "Shows the queues, or one of them.", _show),
    ("queue", "add", "member"): CLICommand(
        range(1, 100),
        "queue add member <dial string> to <queue> [penalty <penalty> [as <membername> "
        "[state_interface <interface>]]]",
        "Adds a member to a queue.",
        _add,
    ),
    ("queue", "remove", "member"): CLICommand(
        range(1, 100), "queue remove member <channel> from <queue>", "Takes a member out of a queue.", _remove
    ),
    ("queue", "pause", "member"): CLICommand(
        range(1, 100),
        "queue pause member <member> [queue <queue> [reason <reason>]]",
        "Lets a member pause.",
        _pause,
    ),
    ("queue", "unpause", "member"): CLICommand(
        range(1, 100),
        "queue unpause member <member> [queue <queue> [reason <reason>]]",
        "Lets a member go on.",
        _unpause,
    ),
    ("queue", "set", "penalty"): CLICommand(
        range(1, 100),
        "queue set penalty <penalty> on <interface> [in <queue>]",
        "Sets a penalty.",
        _set_penalty,
    ),
    ("confbridge", "list"): CLICommand(
        range(2), "confbridge list [<conference>]", "Lists the conferences, or who is in one.", _conferences
    ),
}
