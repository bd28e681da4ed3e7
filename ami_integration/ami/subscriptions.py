"""Who wants which events, and what waits for a reader slower than the PBX. No I/O: both clients share it."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias, TypedDict

from ami_integration.ami.messages import Event

logger = logging.getLogger(__name__)

Policy: TypeAlias = Literal["drop_oldest", "block"]
Predicate: TypeAlias = Callable[[Event], object]
Callback: TypeAlias = Callable[[Event], object]

#: Names whose answer is remembered. A PBX has some 200, but a UserEvent's sender could invent others.
_MOST_NAMES = 2000


class QueueOptions(TypedDict, total=False):
    """The options of `EventQueue`."""

    pattern: str | Iterable[str] | None
    predicate: Predicate | None
    maxsize: int
    policy: Policy
    callback: Callback | None


class EventQueue:
    """The events that one subscriber wants, until it takes them.

    Args:
        names: only events of these names.
        pattern: only events whose name matches one of these shell patterns, as in ``Queue*``; upper and lower
            case differ. With `names`, either is enough.
        predicate: of these, only events for which it is true. One that raises is counted and means no.
        maxsize: how many may wait.
        policy: what happens beyond that: ``drop_oldest`` drops and counts; ``block`` drops nothing and has
            the client stop reading while no action waits for an answer, which Asterisk bears only until its
            `writetimeout`.
        callback: called with each event at once instead of keeping it; it must not wait. One that raises is
            counted.

    Attributes:
        received: events that matched.
        dropped: events dropped because the queue was full.
        errors: exceptions of the predicate and the callback; the first is logged.
    """

    def __init__(
        self,
        names: Iterable[str] | None = None,
        *,
        pattern: str | Iterable[str] | None = None,
        predicate: Predicate | None = None,
        maxsize: int = 10_000,
        policy: Policy = "drop_oldest",
        callback: Callback | None = None,
    ) -> None:
        if maxsize < 1:
            raise ValueError("maxsize must be at least 1.")
        if policy not in ("drop_oldest", "block"):
            raise ValueError("policy must be drop_oldest or block.")
        self.received = 0
        self.dropped = 0
        self.errors = 0
        self._names = None if names is None else frozenset([names] if isinstance(names, str) else names)
        patterns = [pattern] if isinstance(pattern, str) else list(pattern or ())
        self._pattern = (
            re.compile("|".join(fnmatch.translate(one) for one in patterns)) if pattern is not None else None
        )
        self._known: dict[str, bool] = {}
        self._predicate = predicate
        self._callback = callback
        self._maxsize = maxsize
        self._policy = policy
        self._queue: deque[Event] = deque()
        self._selects = not (self._names is None and self._pattern is None and predicate is None)

    @property
    def waiting(self) -> int:
        """How many events wait to be taken."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether the PBX is to be made to wait."""
        return self._policy == "block" and len(self._queue) >= self._maxsize

    def wants(self, event: Event) -> bool:
        """Whether the event is one of those that were asked for."""
        if self._names is not None or self._pattern is not None:
            name = event.name
            wanted = self._known.get(name)
            if wanted is None:
                wanted = (self._names is not None and name in self._names) or (
                    self._pattern is not None and self._pattern.match(name) is not None
                )
                if len(self._known) < _MOST_NAMES:
                    self._known[name] = wanted
            if not wanted:
                return False
        if self._predicate is None:
            return True
        try:
            return bool(self._predicate(event))
        except Exception as error:
            self._count_error("predicate", error)
            return False

    def put(self, events: list[Event]) -> bool:
        """Take what is wanted of these events; never waits. Returns whether there was any."""
        if self._selects:
            events = [event for event in events if self.wants(event)]
        if not events:
            return False
        self.received += len(events)
        callback = self._callback
        if callback is not None:
            for event in events:
                try:
                    callback(event)
                except Exception as error:
                    self._count_error("callback", error)
            return True
        queue = self._queue
        queue.extend(events)
        if len(queue) > self._maxsize:
            self._drop_oldest()
        return True

    def put_back(self, events: list[Event]) -> None:
        """Have these events, taken and not used, wait again before all others."""
        self._queue.extendleft(reversed(events))
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        if self._policy == "drop_oldest":
            while len(self._queue) > self._maxsize:
                self._queue.popleft()
                self.dropped += 1

    def take(self) -> list[Event]:
        """All that waits."""
        batch = list(self._queue)
        self._queue.clear()
        return batch

    def _count_error(self, what: str, error: Exception) -> None:
        self.errors += 1
        if self.errors == 1:
            logger.error(
                "The %s of a subscription failed; further failures are only counted", what, exc_info=error
            )


def mask_classes(mask: str) -> frozenset[str] | None:
    """The classes of an EventMask, or None where it lets everything through."""
    classes = frozenset(one.strip().lower() for one in mask.split(",") if one.strip())
    if classes & {"on", "all", "true", "yes", "1", "-1"}:
        return None
    return classes - {"off", "none", "no", "false", "0"}


def mask_with_call(mask: str) -> str | None:
    """The EventMask to follow a call with, or None where this one does already."""
    classes = mask_classes(mask)
    if classes is None or "call" in classes:
        return None
    return ",".join([*sorted(classes), "call"])


def passes(event: Event, classes: frozenset[str] | None) -> bool:
    """Whether Asterisk would send an event under a mask of these classes: it must have all of the event's."""
    if classes is None:
        return True
    wanted = {one.strip().lower() for one in event.get("Privilege", "").split(",")} - {"all", ""}
    return bool(classes) and wanted <= classes
