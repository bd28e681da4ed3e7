"""Events for tests, as a listener would stamp them."""

from __future__ import annotations

import time

from ami_integration.events.ids import IdSource
from ami_integration.events.stream import EventBatch, StampedEvent

ids = IdSource(7)


def raw(name: str = "Newchannel", **headers: str) -> bytes:
    lines = [f"Event: {name}", *(f"{key}: {value}" for key, value in headers.items())]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def stamped(data: bytes | None = None, *, event_id: int | None = None) -> StampedEvent:
    return StampedEvent(event_id or ids.next(), int(time.time() * 1_000_000), raw() if data is None else data)


def batch(server_id: int, *data: bytes, after: int = 0, count: int = 0) -> EventBatch:
    """A batch of these messages; `after` is the last id of the batch before, `count` how many came before."""
    return EventBatch(server_id, after, count, [stamped(one) for one in data or (raw(),)])


def numbered(server_id: int, numbers: range, *, after: int = 0) -> EventBatch:
    """A batch of events that carry these numbers in a header, as if those below them had come before."""
    events = (raw("UserEvent", UserEvent="Count", Number=str(n)) for n in numbers)
    return batch(server_id, *events, after=after, count=numbers.start)
