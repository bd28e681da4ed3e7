"""What the commands of the CLI are made of: their outputs, and how they write numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ami_integration.simulator.server import SimulatedPBX


@dataclass
class Output:
    """Lines of a command, and whether it went well."""

    lines: list[str] = field(default_factory=list)
    success: bool = True


class Failed(Exception):
    """The command could not be carried out; the text is its output, to which the CLI adds that it failed."""


class WrongUsage(Exception):
    """The command is not written like that."""


Answer = Callable[["SimulatedPBX", list[str]], list[str]]


@dataclass(frozen=True)
class CLICommand:
    """A command: how many words may follow it, how it is written, what it is for, and what answers it."""

    takes: range
    form: str
    purpose: str
    answer: Answer

    @property
    def usage(self) -> list[str]:
        """What is printed where it is written otherwise."""
        return [f"Usage: {self.form}", f"       {self.purpose}"]


def duration(seconds: float) -> str:
    """HH:MM:SS."""
    whole = int(max(0.0, seconds))
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def plural(word: str, count: int) -> str:
    """The word, with an s unless there is one."""
    return word if count == 1 else f"{word}s"
