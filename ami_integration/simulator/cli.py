"""The few commands of Asterisk's CLI that the simulator answers through the action Command."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ami_integration.simulator.catalogue import DESCRIPTIONS
from ami_integration.simulator.office import Office
from ami_integration.simulator.version import SHOW_VERSION


@dataclass
class Output:
    """Lines of a command, and whether it went well."""

    lines: list[str] = field(default_factory=list)
    success: bool = True


def is_blacklisted(line: str) -> bool:
    """Whether Asterisk refuses to run this from AMI."""
    words = line.lower().split()
    return words[:2] in (["module", "load"], ["module", "unload"]) or words[:2] == ["restart", "gracefully"]


def duration(seconds: float) -> str:
    """HH:MM:SS."""
    whole = int(max(0.0, seconds))
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def run(office: Office, line: str) -> Output:
    """Run a command line."""
    words = line.split()
    known = max(
        (command for command in _COMMANDS if tuple(words[: len(command)]) == command), key=len, default=None
    )
    if known is None:
        start = " ".join(words[: max(1, len(words) - 1)])
        return Output(
            [f"No such command '{line}' (type 'core show help {start}' for other possible commands)"], False
        )
    takes, usage, answer = _COMMANDS[known]
    arguments = words[len(known) :]
    if len(arguments) not in takes:
        return Output([f"Usage: {usage[0]}", *(f"       {text}" for text in usage[1:])], False)
    return Output(answer(office, arguments))


def _version(office: Office, arguments: list[str]) -> list[str]:
    return [SHOW_VERSION]


def _channels(office: Office, arguments: list[str]) -> list[str]:
    lines = [f"{'Channel':<64} {'Location':<32} {'State':<7} {'Application(Data)':<30}"]
    switch = office.switch
    for channel in switch.channels.values():
        location = f"{channel.exten}@{channel.context}:{channel.priority}" if channel.exten else "(None)"
        application = (
            f"{channel.application}({channel.application_data})" if channel.application else "(None)"
        )
        state = channel.state.name.capitalize()
        lines.append(f"{channel.name:<64} {location:<32} {state:<7} {application:<30}")
    active, calls = len(switch.channels), len({channel.linkedid for channel in switch.channels.values()})
    lines.append(f"{active} active {_plural('channel', active)}")
    lines.append(f"{calls} active {_plural('call', calls)}")
    lines.append(f"{switch.calls_processed} {_plural('call', switch.calls_processed)} processed")
    return lines


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _uptime(office: Office, arguments: list[str]) -> list[str]:
    text = f"{office.uptime} seconds"
    return [f"System uptime: {text}", f"Last reload: {text}"]


def _uptime_in_seconds(office: Office, arguments: list[str]) -> list[str]:
    return [f"System uptime: {office.uptime}", f"Last reload: {office.uptime}"]


def _show_command(office: Office, arguments: list[str]) -> list[str]:
    lines: list[str] = []
    for name in arguments:
        page = next((page for page in DESCRIPTIONS if page.name.lower() == name.lower()), None)
        lines += page.page() if page else [""]
    return lines


def _show_commands(office: Office, arguments: list[str]) -> list[str]:
    lines = [f"  {'Action':<15.15}  {'Synopsis'}", f"  {'------':<15.15}  {'--------'}"]
    pages = sorted(DESCRIPTIONS, key=lambda page: page.name.lower())
    return [*lines, *(f"  {page.name:<15.15}  {page.synopsis}" for page in pages), ""]


Answer = Callable[[Office, list[str]], list[str]]

_COMMANDS: dict[tuple[str, ...], tuple[range, tuple[str, ...], Answer]] = {
    ("core", "show", "version"): (
        range(1),
        ("core show version", "Shows the version of this simulator."),
        _version,
    ),
    ("core", "show", "channels"): (
        range(1),
        ("core show channels", "Lists the channels that there are now."),
        _channels,
    ),
    ("core", "show", "uptime"): (
        range(1),
        ("core show uptime [seconds]", "Shows since when the simulator runs."),
        _uptime,
    ),
    ("core", "show", "uptime", "seconds"): (
        range(1),
        ("core show uptime [seconds]", "Shows since when the simulator runs."),
        _uptime_in_seconds,
    ),
    ("manager", "show", "commands"): (
        range(1),
        ("manager show commands", "Lists the actions."),
        _show_commands,
    ),
    ("manager", "show", "command"): (
        range(1, 100),
        (
            "manager show command <actionname> [<actionname> [...]]",
            "Shows what an action is for and what it takes.",
        ),
        _show_command,
    ),
}
