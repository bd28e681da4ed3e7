"""Signs of life of processes that aren't there."""

from __future__ import annotations

import json

import redis

from ami_integration.heartbeats import ROWS, Kind


def beat_write(
    client: redis.Redis,
    kind: str = Kind.WORKER,
    *,
    host: str = "here",
    pid: int = 1,
    age: float = 0,
    uptime: float = 0,
    lag: float | None = None,
    faults: tuple[str, ...] = (),
) -> None:
    """Write the row of a process whose last sign of life was `age` seconds ago, `uptime` after its start."""
    seconds, microseconds = client.time()  # type: ignore[misc]  # not awaited
    row = {"version": "1", "uptime": uptime, "lag": lag, "depth": 3, "words": "busy", "faults": faults}
    at = seconds + microseconds / 1_000_000 - age
    client.hset(ROWS, f"{kind} {host} {pid}", f"{at:.6f} {json.dumps(row)}")
