"""What a recorder knows of its own work: how much it has done, and how much waits for it.

The recorder's thread writes, the thread of its heartbeat reads; each number is written at once, and they need
not be of the same moment.
"""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import redis

from ami_integration.events.stream import ASIDE, COUNTERS, GROUP, STREAM

#: Seconds over which the rate is reckoned.
_RATE_SECONDS = 10.0
#: Entries that are counted one by one at most, where Valkey doesn't know their number.
_COUNTED = 10_000


@dataclass
class Tally:
    """Events that this process has stored, and has not kept by a rule; and the strays in the default
    partition when it last looked.
    """

    stored: int = 0
    not_kept: int = 0
    strays: int = 0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, *, stored: int, not_kept: int) -> None:
        """Count what one step has done."""
        self.stored += stored
        self.not_kept += not_kept
        now = time.monotonic()
        self._marks.append((now, stored + not_kept))
        while self._marks[0][0] < now - _RATE_SECONDS:
            self._marks.popleft()

    @property
    def rate(self) -> float:
        """Events a second over the last ten seconds."""
        begin = time.monotonic() - _RATE_SECONDS
        return sum(number for at, number in list(self._marks) if at >= begin) / _RATE_SECONDS


@dataclass(frozen=True)
class Waiting:
    """What waits on the stream: how many entries, and for how many seconds the oldest."""

    entries: int
    seconds: float


def stream_waiting(client: "redis.Redis") -> Waiting:
    """What the recorder has not acknowledged yet. Raises redis.RedisError if Valkey is away."""
    try:
        groups: dict[Any, Any] = {group["name"]: group for group in client.xinfo_groups(STREAM)}
    except redis.ResponseError:
        return Waiting(0, 0.0)  # no stream yet
    nothing_read = {"last-delivered-id": b"0-0", "pending": 0}
    group = groups.get(GROUP.encode(), nothing_read)
    delivered = group["last-delivered-id"].decode()
    unread, pending = group.get("lag"), int(group["pending"])
    if unread is None:  # something was deleted from the middle
        unread = len(_entries_after(client, delivered, _COUNTED))
    oldest: bytes | None = None
    if pending:
        oldest = client.xpending(STREAM, GROUP)["min"]
    elif unread:
        oldest = next((entry_id for entry_id, _ in _entries_after(client, delivered, 1)), None)
    if oldest is None:
        return Waiting(int(unread) + pending, 0.0)
    seconds, microseconds = client.time()  # ids of entries are Valkey's time, not ours
    age = seconds + microseconds / 1_000_000 - int(oldest.partition(b"-")[0]) / 1000
    return Waiting(int(unread) + pending, max(0.0, age))


def _entries_after(client: "redis.Redis", entry_id: str, count: int) -> list[Any]:
    found: Any = client.xrange(STREAM, f"({entry_id}", count=count)
    return list(found)


def counters_read(client: "redis.Redis") -> dict[str, int]:
    """What was ever put aside, trimmed or dropped, by whichever process. Raises redis.RedisError."""
    found: dict[Any, Any] = client.hgetall(COUNTERS)
    return {name.decode(): int(number) for name, number in found.items()}


def put_aside_last(client: "redis.Redis") -> str:
    """Why the last thing was put aside; "" if nothing was. Raises redis.RedisError."""
    found: Any = client.xrevrange(ASIDE, count=1)
    return "" if not found else found[0][1].get(b"error", b"").decode("utf-8", "replace")
