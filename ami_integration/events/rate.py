"""How many events a second a server sends, for a guess at what a gap cost."""

import time
from collections import deque

from ami_integration.events.stream import LostKind

#: Reckoned over so many seconds at most, and known after at least so many.
_SECONDS, _KNOWN_AFTER = 60.0, 5.0
#: The rate before a longer gap says little about it.
_GUESS_AT_MOST = 3600.0


class Rate:
    """The rate of one connection, or of all.

    Args:
        received: how many events had come when it began.
        seconds: over which it is reckoned at most.
        known_after: seconds.
    """

    def __init__(
        self, received: int = 0, *, seconds: float = _SECONDS, known_after: float = _KNOWN_AFTER
    ) -> None:
        self._seconds, self._known_after = seconds, known_after
        self._looks = deque([(time.monotonic(), received)])

    def note(self, received: int) -> None:
        """Look: so many have come by now. To be called every few seconds."""
        now = time.monotonic()
        while len(self._looks) > 1 and now - self._looks[0][0] > self._seconds:
            self._looks.popleft()
        self._looks.append((now, received))

    @property
    def per_second(self) -> float | None:
        """Events a second, or None where it is too early to say."""
        (began, first), (ended, last) = self._looks[0], self._looks[-1]
        return (last - first) / (ended - began) if ended - began >= self._known_after else None

    def guess(self, seconds: float) -> tuple[int | None, LostKind]:
        """How many events a gap of so many seconds may have cost."""
        rate = self.per_second
        if rate is None or not 0 <= seconds <= _GUESS_AT_MOST:
            return None, "unknown"
        return round(rate * seconds), "estimated"
