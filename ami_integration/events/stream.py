"""The stream between listener and recorder: what an entry holds, and how it is written and read.

One entry is one batch of one server's events, or one note about a gap; both travel through the same stream,
so the order of the wire is the order of the store. The listener doesn't parse: an entry holds the bytes of
the messages.

Entries of one server form a chain: each names the last id before it (`after_id`). Whoever reads them (the
recorder, a page) sees by it that something is missing, whatever the reason: a trimmed stream, a lost
publication.

Writing is fenced (see `ami_integration.events.leases`): a listener that lost its lease writes nothing any
more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ami_integration.events.leases import Lease

STREAM = "amiweb:events"
GROUP = "recorder"
#: Where the recorder puts what it can't store.
ASIDE = "amiweb:events:aside"
#: Hash: server id → last id that was written to the stream.
WRITTEN = "amiweb:events:written"
#: Hash: server id → last id that the recorder has stored (or decided not to).
RECORDED = "amiweb:events:recorded"
#: Hash of counters: what was put aside, trimmed, dropped.
COUNTERS = "amiweb:events:counters"

_ASIDE_MAXLEN = 1_000
_LATEST = 253_402_300_800_000_000  # microseconds at the end of the year 9999, the last that databases hold

_APPEND = """
local owner, epoch = redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3])
if owner and owner ~= ARGV[1] then return 0 end
if epoch and epoch ~= ARGV[2] then return 0 end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 's', ARGV[4], 'd', ARGV[6])
redis.call('HSET', KEYS[4], ARGV[4], ARGV[5])
return 1
"""

# A recorder that was away for longer than its lease is not asked where the next one stands by now.
_RECORD = """
local owner, epoch = redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3])
if owner and owner ~= ARGV[1] then return 0 end
if epoch and epoch ~= ARGV[2] then return 0 end
if #ARGV > 2 then redis.call('HSET', KEYS[1], unpack(ARGV, 3)) end
return 1
"""


class LeaseLost(Exception):
    """Another listener owns the servers now; nothing was written."""


class BadEntry(ValueError):
    """An entry of the stream that isn't one of ours, or is broken."""


@dataclass(frozen=True, slots=True)
class StampedEvent:
    """One event as it was read: its id, when (microseconds since 1970), and its bytes."""

    id: int
    at: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of one server in their order. `after_id`: the last id of the server before them, or 0."""

    server_id: int
    after_id: int
    events: Sequence[StampedEvent]

    @property
    def last_id(self) -> int:
        return self.events[-1].id

    def encode(self) -> bytes:
        packed: bytes = msgpack.packb(["events", self.after_id, [(e.id, e.at, e.raw) for e in self.events]])
        return packed


@dataclass(frozen=True, slots=True)
class GapNote:
    """Time without events of one server: everything after `after_id` and before `before_id` may be missing.

    `before_id` and `ended_at` are None while the gap lasts; a second note with both ends it. The gap is known
    by its server and `after_id`, so each note may arrive twice. Times are microseconds since 1970. `lost` is
    how many events are missing, None if nobody can know.
    """

    id: int
    server_id: int
    reason: str
    detail: str
    started_at: int
    after_id: int
    ended_at: int | None = None
    before_id: int | None = None
    lost: int | None = None

    @property
    def last_id(self) -> int:
        return self.after_id if self.before_id is None else self.before_id

    def encode(self) -> bytes:
        fields = [
            "gap", self.after_id, self.id, self.reason, self.detail, self.started_at, self.ended_at,
            self.before_id, self.lost,
        ]  # fmt: skip
        packed: bytes = msgpack.packb(fields, unicode_errors="backslashreplace")
        return packed


Entry = EventBatch | GapNote


def decode_entry(fields: Mapping[bytes, bytes]) -> Entry:
    """The inverse of `encode`, on the fields of a stream entry. Raises BadEntry."""
    try:
        server_id = int(fields[b"s"])
        kind, after_id, *rest = msgpack.unpackb(fields[b"d"])
        if kind == "events":
            (packed,) = rest
            events = [StampedEvent(event_id, at, raw) for event_id, at, raw in packed]
            if not events:
                raise BadEntry("a batch without events")
            if not all(type(e.raw) is bytes and _is_time(e.at) for e in events):
                raise BadEntry("a batch with something else than events")
            _check_ids(server_id, after_id, *(e.id for e in events))
            return EventBatch(server_id, after_id, events)
        if kind == "gap":
            gap_id, reason, detail, started_at, ended_at, before_id, lost = rest
            _check_ids(
                server_id,
                after_id,
                gap_id,
                0 if before_id is None else before_id,
                0 if lost is None else lost,
            )
            if not _is_time(started_at) or not (ended_at is None or _is_time(ended_at)):
                raise BadEntry("a gap without a time")
            if not isinstance(reason, str) or not isinstance(detail, str):
                raise BadEntry("a gap without a reason")
            return GapNote(gap_id, server_id, reason, detail, started_at, after_id, ended_at, before_id, lost)
        raise BadEntry(f"unknown kind {kind!r}")
    except BadEntry:
        raise
    except Exception as error:
        # msgpack raises half a dozen kinds on broken bytes, and so does unpacking what isn't of our shape.
        raise BadEntry(f"{type(error).__name__}: {error}") from error


def _check_ids(*numbers: Any) -> None:
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise BadEntry("an id that is no bigint")


def _is_time(microseconds: Any) -> bool:
    return type(microseconds) is int and 0 <= microseconds < _LATEST


def valkey_client(url: str) -> "redis.Redis":
    """A blocking client whose errors come at once: the loops of listener and recorder retry by themselves."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=5, socket_connect_timeout=2)


class StreamWriter:
    """The listener's end.

    Args:
        client: a blocking Valkey client.
        lease: the lease under which this listener owns its servers.
        maxlen: about how many entries the stream keeps.
    """

    def __init__(self, client: "redis.Redis", lease: Lease, *, maxlen: int) -> None:
        self._client = client
        self._lease = lease
        self._maxlen = maxlen

    def append(self, entries: Iterable[Entry]) -> None:
        """Write entries in this order.

        Raises:
            LeaseLost: see there.
            redis.RedisError: Valkey is away or full. Some of the entries may have arrived; readers bear them
            twice.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for entry in entries:
                pipeline.eval(
                    _APPEND, 4, STREAM, self._lease.key, self._lease.epoch_key, WRITTEN,
                    self._lease.token, self._lease.epoch, self._maxlen,
                    entry.server_id, entry.last_id, entry.encode(),
                )  # fmt: skip
            if not all(pipeline.execute()):
                raise LeaseLost

    def last_ids(self) -> dict[int, int]:
        """Per server the last id that was ever written, by whichever listener."""
        return _ids(self._client.hgetall(WRITTEN))


class StreamReader:
    """The recorder's end: one consumer group with one consumer name, whoever the active recorder is.

    So what a dead recorder left unacknowledged is simply what its successor reads first.
    """

    _CONSUMER = "recorder"

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def ensure_group(self) -> None:
        """Create stream and group where they are missing; a new group reads from the beginning."""
        try:
            self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def read(self, *, pending: bool, count: int, block: float) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        """The next entries, oldest first: entry id and fields (none if it was trimmed before it was stored).

        Args:
            pending: those that were read before and never acknowledged, instead of new ones.
            count: at most so many.
            block: seconds to wait for a new one, at most 4.
        """
        found: Any = self._client.xreadgroup(
            GROUP, self._CONSUMER, {STREAM: "0" if pending else ">"}, count=count,
            block=None if pending else max(1, int(min(block, 4.0) * 1000)),
        )  # fmt: skip
        if not found:
            return []
        entries = found[STREAM.encode()][0] if isinstance(found, dict) else found[0][1]
        return [(entry_id, fields or {}) for entry_id, fields in entries]

    def ack(self, entry_ids: Sequence[bytes], recorded: Mapping[int, int], *, lease: Lease) -> bool:
        """Done with these entries; per server, `recorded` is the last id that they brought.

        Returns:
            False if another recorder has the lease meanwhile. `recorded` isn't written then: the other one
            has read and stored these entries too, and may be far beyond them.
        """
        pairs = [number for pair in recorded.items() for number in pair]
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.eval(_RECORD, 3, RECORDED, lease.key, lease.epoch_key, lease.token, lease.epoch, *pairs)
            pipeline.xack(STREAM, GROUP, *entry_ids)
            ours, _ = pipeline.execute()
        return bool(ours)

    def recorded_ids(self) -> dict[int, int]:
        """Per server the last id that was recorded."""
        return _ids(self._client.hgetall(RECORDED))

    def trim(self, *, keep: float) -> int:
        """Remove what was recorded more than `keep` seconds ago; returns how many entries went (about)."""
        seconds, microseconds = self._client.time()  # ids of entries are Valkey's time, not ours
        oldest = int((seconds + microseconds / 1_000_000 - keep) * 1000)
        groups = {group["name"]: group for group in self._client.xinfo_groups(STREAM)}
        needed = self._client.xpending(STREAM, GROUP)["min"] or groups[GROUP.encode()]["last-delivered-id"]
        oldest = min(oldest, int(needed.partition(b"-")[0]))
        return int(self._client.xtrim(STREAM, minid=oldest, approximate=True))

    def put_aside(self, fields: Mapping[bytes, bytes], error: str) -> None:
        """Keep what can't be stored, with its error, and count it."""
        with self._client.pipeline(transaction=True) as pipeline:
            kept: dict[Any, Any] = {**fields, b"error": error.encode("utf-8", "backslashreplace")}
            pipeline.xadd(ASIDE, kept, maxlen=_ASIDE_MAXLEN, approximate=True)
            pipeline.hincrby(COUNTERS, "put_aside", 1)
            pipeline.execute()


async def recorded_ids(url: str) -> dict[int, int]:
    """The same for asyncio code. Raises redis.RedisError if Valkey is away."""
    async with redis.asyncio.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
        return _ids(await client.hgetall(RECORDED))


def _ids(found: Any) -> dict[int, int]:
    return {int(server): int(last) for server, last in found.items()}
