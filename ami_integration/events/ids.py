"""The id of an event: a bigint that carries its time and orders the events of one server.

``milliseconds since 1970 << 21 | listener slot (9 bits) << 12 | counter (12 bits)``

Why not a database sequence: the id is given where the event is read, before anything can be lost or delivered
twice, so every later step (stream, store, page) is idempotent by it. Because it carries its time, the store
can be cut by days on the id alone. In JSON it is a string: JavaScript can't hold it.

Ids never go back in one listener, even when its clock does: then the last millisecond is kept, and a full
counter borrows the next one. What keeps two listeners apart is the slot, see `ami_integration.events.leases`.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_SLOT_SHIFT = 12
_MS_SHIFT = 21
#: How many listeners can give ids at the same time.
SLOTS = 1 << (_MS_SHIFT - _SLOT_SHIFT)
_COUNTERS = 1 << _SLOT_SHIFT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def first_id_at(moment: datetime) -> int:
    """The smallest id that an event of this moment (aware) can have."""
    return (moment - _EPOCH) // timedelta(milliseconds=1) << _MS_SHIFT


def id_milliseconds(event_id: int) -> int:
    """The milliseconds since 1970 that an id carries."""
    return event_id >> _MS_SHIFT


def id_moment(event_id: int) -> datetime:
    """The moment that an id carries, in UTC."""
    return _EPOCH + timedelta(milliseconds=id_milliseconds(event_id))


def id_earlier(event_id: int, *, seconds: float) -> int:
    """The first id of the millisecond that lies so many seconds before this one; never below 0."""
    return max(0, id_milliseconds(event_id) - int(seconds * 1000)) << _MS_SHIFT


class IdSource:
    """Gives the ids of one listener.

    Args:
        slot: 0 to 511, this listener's alone.
        clock: seconds since 1970, as `time.time`.
        floor: an id that was given before by this fleet; every new one is greater.
    """

    def __init__(self, slot: int, *, clock: Callable[[], float] = time.time, floor: int = 0) -> None:
        if not 0 <= slot < SLOTS:
            raise ValueError(f"slot must be 0 to {SLOTS - 1}, not {slot}")
        self.slot = slot
        self._slot_bits = slot << _SLOT_SHIFT
        self._clock = clock
        # The floor may be of another slot, so its whole millisecond counts as used up.
        self._ms = id_milliseconds(floor)
        self._counter = _COUNTERS - 1

    def next(self) -> int:
        """A new id, greater than every one before it."""
        ms = int(self._clock() * 1000)
        if ms > self._ms:
            self._ms = ms
            self._counter = 0
        elif self._counter < _COUNTERS - 1:
            self._counter += 1
        else:
            self._ms += 1
            self._counter = 0
        return self._ms << _MS_SHIFT | self._slot_bits | self._counter

    def take(self, number: int) -> list[int]:
        """So many new ids, in order; quicker than one by one, and mostly of one millisecond."""
        taken = [self.next()]
        while (missing := number - len(taken)) > 0:
            some = min(missing, _COUNTERS - 1 - self._counter)
            if some:
                taken += range(taken[-1] + 1, taken[-1] + 1 + some)
                self._counter += some
            else:
                taken.append(self.next())
        return taken

    def raise_to(self, event_id: int) -> None:
        """Let every new id be greater than this one, which another listener may have given."""
        if id_milliseconds(event_id) >= self._ms:
            self._ms = id_milliseconds(event_id)
            self._counter = _COUNTERS - 1

    @property
    def milliseconds(self) -> int:
        """The latest millisecond that an id has carried (or that the floor has)."""
        return self._ms
