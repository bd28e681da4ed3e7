"""Signs of life of amiweb's processes, in Valkey: who runs where, in which version, and how far behind.

Each process writes its row every few seconds, from inside what it does as far as that goes: a process that
hangs must fall silent too. A process that stops takes its row away; one that was killed can't, and its row
grows old. Rows carry Valkey's time, so no two machines' clocks are ever compared.
"""

import asyncio
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ami_integration import __version__
from ami_integration.outage import Outage

logger = logging.getLogger(__name__)

#: Hash: "kind host pid" → "time of Valkey, then JSON".
ROWS = "amiweb:heartbeats"
#: Seconds between two signs of life; without one until a process counts as silent; until it is forgotten.
INTERVAL = 5.0
SILENT = 15.0
FORGOTTEN = 86_400.0
#: Until it is forgotten while another of its kind lives; containers that are made anew have another host.
LEFT = 900.0

_BEAT = """
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d.%06d ', time[1], time[2]) .. ARGV[2])
"""
_FORGET = """
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row then return 0 end
local at = tonumber(string.match(row, '^%S+'))
if at and redis.call('TIME')[1] - at < tonumber(ARGV[2]) then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
"""


class Kind(StrEnum):
    """What amiweb is made of; each has to be there at least once."""

    WEB = "web"
    LISTENER = "listener"
    RECORDER = "recorder"
    WORKER = "worker"
    TICKER = "ticker"
    BEAT = "beat"


@dataclass(frozen=True)
class Details:
    """What a process says of itself.

    Args:
        lag: seconds that it is behind its work; None where it can't know.
        depth: how much waits for it.
        words: what else an operator wants to see, in a few words.
        faults: what is wrong, each a sentence that goes on from the name of the process.
    """

    lag: float | None = None
    depth: int | None = None
    words: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heartbeat:
    """One process as it was last heard of.

    Args:
        age: seconds since its last sign of life.
        uptime: seconds from its start to that.
    """

    kind: Kind
    host: str
    pid: int
    version: str
    age: float
    uptime: float
    details: Details = field(default_factory=Details)

    @property
    def silent(self) -> bool:
        return self.age >= SILENT

    def replaced_by(self, other: "Heartbeat") -> bool:
        """Whether `other` does this one's work: of the same kind, and started on the same host after this one
        fell silent, or on whatever host if this one has been silent for long.
        """
        if self.kind is not other.kind or other.silent:
            return False
        return self.age >= LEFT or (self.host == other.host and other.age + other.uptime <= self.age)


class Heart:
    """Beats for this process until it is stopped, from a thread of its own.

    Args:
        kind: what this process is.
        url: of Valkey.
        details: asked at each beat, in the heart's thread. While it waits or fails, there is no beat.
    """

    def __init__(self, kind: Kind, *, url: str, details: Callable[[], Details] = Details) -> None:
        self._kind = kind
        self._details = details
        self._valkey = connection(url)
        self._name = f"{kind} {socket.gethostname()} {os.getpid()}"
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._away = Outage(logger, f"Valkey is away; nobody hears that this {kind} is alive")
        self._ill = Outage(logger, f"this {kind} can't say how it is, and counts as silent")
        self._thread = threading.Thread(target=self._run, name=f"heart-{kind}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it, and take the row away: this process isn't missed."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(INTERVAL)
        try:
            self._valkey.hdel(ROWS, self._name)
        except redis.RedisError:
            pass  # it counts as silent for a day; a Valkey that is away has greater worries
        self._valkey.close()

    def __enter__(self) -> "Heart":
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def beat(self) -> None:
        """Write one sign of life. Raises redis.RedisError, and whatever `details` does."""
        details = self._details()
        row = {
            "version": __version__,
            "uptime": round(time.monotonic() - self._started, 3),
            "lag": details.lag,
            "depth": details.depth,
            "words": details.words,
            "faults": details.faults,
        }
        self._valkey.eval(_BEAT, 1, ROWS, self._name, json.dumps(row))

    def _run(self) -> None:
        while True:
            try:
                self.beat()
            except redis.RedisError as error:
                self._away.failed(error)
            except Exception as error:  # whatever it is, the process goes on; being silent tells of it
                self._ill.failed(error, trace=True)
            else:
                self._away.ended()
                self._ill.ended()
            if self._stop.wait(INTERVAL):
                return


def connection(url: str, *, attempts: int = 2, timeout: float = 2.0) -> "redis.Redis":
    """A client for signs of life: whoever writes or reads them rather goes without than waits.

    Args:
        timeout: seconds that each attempt may take.
    """
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), attempts - 1),
        socket_timeout=timeout,
        socket_connect_timeout=min(timeout, 1.0),
        decode_responses=True,
    )


def loop_lag(loop: asyncio.AbstractEventLoop) -> float:
    """Seconds that an event loop takes to come round to something new; asked from another thread.

    Raises:
        TimeoutError: it stands still.
    """
    asked = time.monotonic()

    async def answer() -> float:
        return time.monotonic() - asked

    return asyncio.run_coroutine_threadsafe(answer(), loop).result(SILENT)


def heartbeat_forget(valkey: "redis.Redis", *, kind: str, host: str, pid: int) -> bool:
    """Take the row of a silent process away; False if there is none, or it lives. Raises redis.RedisError."""
    return bool(valkey.eval(_FORGET, 1, ROWS, f"{kind} {host} {pid}", str(SILENT)))


def heartbeats_read(valkey: "redis.Redis") -> list[Heartbeat]:
    """Every process that counts, by kind and host: those that were replaced, or silent for a day, don't.

    Raises:
        redis.RedisError: Valkey is away.
    """
    with valkey.pipeline(transaction=False) as pipeline:
        pipeline.time()
        pipeline.hgetall(ROWS)
        (seconds, microseconds), rows = pipeline.execute()
    found = list(_parsed(rows, now=seconds + microseconds / 1_000_000))
    gone = [name for name, beat in found if beat is None or beat.age >= FORGOTTEN]
    if gone:
        valkey.hdel(ROWS, *gone)
    beats = [beat for _, beat in found if beat is not None and beat.age < FORGOTTEN]
    kinds = list(Kind)
    return sorted(
        (one for one in beats if not (one.silent and any(one.replaced_by(other) for other in beats))),
        key=lambda beat: (kinds.index(beat.kind), beat.host, beat.pid),
    )


def _parsed(rows: Mapping[str, str], *, now: float) -> Iterable[tuple[str, Heartbeat | None]]:
    for name, value in rows.items():
        try:
            kind, host, pid = name.split(" ")
            at, _, packed = value.partition(" ")
            row: dict[str, Any] = json.loads(packed)
            yield (
                name,
                Heartbeat(
                    kind=Kind(kind),
                    host=host,
                    pid=int(pid),
                    version=row["version"],
                    age=max(0.0, now - float(at)),
                    uptime=row["uptime"],
                    details=Details(row["lag"], row["depth"], row["words"], tuple(row.get("faults", ()))),
                ),
            )
        except (ValueError, KeyError, TypeError):
            yield name, None  # of another version of amiweb: it goes
