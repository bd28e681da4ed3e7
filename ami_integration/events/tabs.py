"""What waits for one live page: bounded, and counted where the bound is.

The hub puts rows here without waiting (see `ami_integration.events.hub`); the page's consumer takes them as
fast as its browser does, and no faster than a browser can show them. What the ring can't hold any more is
left out, its oldest first, and counted exactly. What isn't an event (a gap, a snapshot) is never left out.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ami_integration.events.filters import EventFilter
from ami_integration.events.ids import id_milliseconds
from ami_integration.events.pushes import ID, JSON, NAME, Row

#: Rows a second that a page gets, and how many may wait for it (also the longest burst).
ROWS_A_SECOND = 220
RING = 300
#: Names that are counted for a page; strangers may make up more.
MOST_NAMES = 300
_MARKS = 500  # gaps and snapshots that wait at most
#: Seconds within which what the store had already is told to pages.
_KNOWN_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many rows a page wasn't sent, and from when to when they are (milliseconds since 1970)."""

    count: int = 0
    since: int = 0
    until: int = 0

    def plus(self, count: int, first_id: int, last_id: int) -> "LeftOut":
        first, last = id_milliseconds(first_id), id_milliseconds(last_id)
        return LeftOut(
            self.count + count, min(self.since, first) if self.count else first, max(self.until, last)
        )


class Tab:
    """One wish of one page: its filter, its servers, and the rows on their way to it.

    Args:
        event_filter: what it wants to see.
        clock: seconds that never go back.

    Attributes:
        servers: those that it watches; the hub's to change.
        holding: rows gather, none is taken: what the store has goes first.
        left_out: what the page will never be sent.
        ready: set when there is something to send.
    """

    def __init__(self, event_filter: EventFilter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.filter = event_filter
        self.servers: frozenset[int] = frozenset()
        self.holding = True
        self.left_out = LeftOut()
        self.ready = asyncio.Event()
        self._ring: deque[Row] = deque(maxlen=RING)
        self._marks: deque[Row] = deque(maxlen=_MARKS)
        self._counts: Counter[str] = Counter()
        self._known: frozenset[int] = frozenset()
        self._known_until = 0.0
        self._clock = clock
        self._allowance, self._then = float(RING), clock()

    def offer(self, rows: Sequence[Row], counts: Mapping[str, int]) -> None:
        """Take rows that match, and how many events match but for their names. Never waits."""
        for name, count in counts.items():
            if name in self._counts or len(self._counts) < MOST_NAMES:
                self._counts[name] += count
        if self._known:
            rows = self._without_known(rows)
        if any(row[NAME] is None for row in rows):
            self._marks.extend(row for row in rows if row[NAME] is None)
            rows = [row for row in rows if row[NAME] is not None]
        over = len(self._ring) + len(rows) - RING
        if over > 0:
            waiting = len(self._ring)
            first = self._ring[0] if waiting else rows[0]
            last = self._ring[over - 1] if over <= waiting else rows[over - waiting - 1]
            self.left_out = self.left_out.plus(over, first[ID], last[ID])
        self._ring.extend(rows)
        self.ready.set()

    def begin(self, known: Collection[int]) -> None:
        """What the store has is on its way: let the rest follow, without the ids that are `known` by it.

        Some of those come yet: an event is stored before pages are told of it.
        """
        self.know(known)
        self.holding = False
        self.ready.set()

    def know(self, known: Collection[int]) -> None:
        """The page is sent these, of servers that it begins to watch, from the store: see `begin`."""
        self._known, self._known_until = self._known.union(known), self._clock() + _KNOWN_SECONDS
        rest = self._without_known(list(self._ring))
        self._ring.clear()
        self._ring.extend(rest)

    def _without_known(self, rows: Sequence[Row]) -> Sequence[Row]:
        """These rows, without and not counting the events that the page has been sent from the store."""
        if self._clock() > self._known_until:
            self._known = frozenset()
        doubled = [row[NAME] for row in rows if row[NAME] is not None and row[ID] in self._known]
        if not doubled:
            return rows
        self._counts.subtract(doubled)
        return [row for row in rows if row[NAME] is None or row[ID] not in self._known]

    def take(self) -> list[str]:
        """The JSON of rows that may go to the page now, oldest first."""
        now = self._clock()
        self._allowance = min(RING, self._allowance + (now - self._then) * ROWS_A_SECOND)
        self._then = now
        number = min(len(self._ring), int(self._allowance))
        self._allowance -= number
        taken = [row[JSON] for row in self._marks]
        self._marks.clear()
        taken += [self._ring.popleft()[JSON] for _ in range(number)]
        return taken

    def take_counts(self) -> dict[str, int]:
        """How many events of each name came since the last time."""
        counts = {name: count for name, count in self._counts.items() if count > 0}
        self._counts.clear()
        return counts

    @property
    def waiting(self) -> int:
        """How many rows wait."""
        return len(self._ring) + len(self._marks)
