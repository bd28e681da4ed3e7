"""
The commands of Asterisk's CLI that the simulator answers through the action Command.

``run`` finds the command that a line begins with; the other modules hold the commands, by what they are
about. What goes wrong is told as by the real one: "No such command", the usage, or that it failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ami_integration.simulator.cli import core, database, devices, manager, queues
from ami_integration.simulator.cli.words import CLICommand, Failed, Output, WrongUsage

if TYPE_CHECKING:
    from ami_integration.simulator.server import SimulatedPBX

__all__ = ["COMMANDS", "Output", "is_blacklisted", "run"]


def is_blacklisted(line: str) -> bool:
    """Whether Asterisk refuses to run this from AMI."""
    words = line.lower().split()
    return words[:2] in (["module", "load"], ["module", "unload"]) or words[:2] == ["restart", "gracefully"]


def run(pbx: SimulatedPBX, line: str) -> Output:
    """Run a command line."""
    words = line.split()
    known = max(
        (command for command in COMMANDS if tuple(words[: len(command)]) == command), key=len, default=None
    )
    if known is None:
        return Output(
            [
                f"No such command '{line}' (type 'core show help {_beginning(words)}' for other possible "
                "commands)"
            ],
            False,
        )
    command, arguments = COMMANDS[known], words[len(known) :]
    try:
        if len(arguments) not in command.takes:
            raise WrongUsage
        return Output(command.answer(pbx, arguments))
    except WrongUsage:
        return Output(command.usage, False)
    except Failed as failed:
        return Output([str(failed), f"Command '{line}' failed."], False)


def _beginning(words: list[str]) -> str:
    """As many words as a command begins with, and the first wrong one; two at least, as Asterisk counts."""
    for count in range(2, len(words)):
        if not any(list(command[:count]) == words[:count] for command in COMMANDS):
            return " ".join(words[:count])
    return " ".join(words)


def _help(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    asked = tuple(arguments)
    if asked in COMMANDS:
        return COMMANDS[asked].usage
    found = {words: command for words, command in sorted(COMMANDS.items()) if words[: len(asked)] == asked}
    if not found:
        return [f"No such command '{' '.join(arguments)}'."]
    return [f"{' '.join(words):<30} -- {command.purpose}" for words, command in found.items()]


COMMANDS: dict[tuple[str, ...], CLICommand] = {
    **core.COMMANDS,
    **database.COMMANDS,
    **devices.COMMANDS,
    **manager.COMMANDS,
    **queues.COMMANDS,
    ("core", "show", "help"): CLICommand(
        range(100), "core show help [command]", "Lists the commands, or tells how one is written.", _help
    ),
}
