"""What an action is: its page in the catalogue, and what answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ami_integration.simulator.catalogue import Description
from ami_integration.simulator.wire import EventClass

if TYPE_CHECKING:
    from ami_integration.simulator.requests import Request
    from ami_integration.simulator.session import Session

Handler = Callable[["Session", "Request"], Awaitable[None]]

_TRUE = frozenset({"yes", "true", "y", "t", "1", "on"})


def is_true(text: str) -> bool:
    """Whether Asterisk's ast_true() takes it for a yes."""
    return text.lower() in _TRUE


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
