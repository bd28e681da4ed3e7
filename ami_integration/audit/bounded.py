"""Bounds what programs can make the audit write: a few of a kind each minute, then their number."""

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass

#: Kinds that are remembered at once.
MOST_KINDS = 10_000


@dataclass
class _Seen:
    since: float
    taken: int = 0
    left: int = 0


class Bounded:
    """Lets a number of each kind through in each period of this process, and counts the others.

    Args:
        burst: how many of a kind in one period.
        seconds: how long that is.
    """

    def __init__(self, *, burst: int, seconds: float = 60.0) -> None:
        self._burst, self._seconds = burst, seconds
        self._seen: dict[Hashable, _Seen] = {}
        self._lock = threading.Lock()

    def take(self, kind: Hashable) -> int | None:
        """Whether one more is told: None: no; else how many weren't, since the last that was."""
        now = time.monotonic()
        with self._lock:
            if len(self._seen) >= MOST_KINDS and kind not in self._seen:
                self._forget(now)
            seen = self._seen.setdefault(kind, _Seen(now))
            if now - seen.since >= self._seconds:
                seen.since, seen.taken = now, 0
            if seen.taken >= self._burst:
                seen.left += 1
                return None
            seen.taken += 1
            left, seen.left = seen.left, 0
            return left

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._seen.clear()

    def _forget(self, now: float) -> None:
        """Forget the kinds whose period is over, and if there are none, all."""
        for kind in [kind for kind, seen in self._seen.items() if now - seen.since >= self._seconds]:
            del self._seen[kind]
        if len(self._seen) >= MOST_KINDS:
            self._seen.clear()


def told_with(left: int) -> dict[str, int]:
    """What an entry says of those that were left out before it."""
    return {"left out before": left} if left else {}
