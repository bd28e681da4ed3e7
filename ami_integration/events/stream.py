"""The stream between listener and recorder: what an entry holds, and how it is read.

One entry is one batch of one server's events, one note about a gap, or what the PBX said of its state after
one; all travel through the same stream, so the order of the wire is the order of the store. The listener
doesn't parse: an entry holds the bytes of the messages.

Entries of one server form a chain: each names the last id before it (`after_id`), and how many events of the
server were ever numbered before it (`before_count`). Whoever reads them (the recorder, a page) sees by it
that something is missing, whatever the reason (a trimmed stream, a lost publication), and how many events
that are, exactly. The count goes on over all listeners: the next owner finds it beside the last id.

How a listener writes is in `ami_integration.events.writer`; how a recorder reads is here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import msgpack
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ami_integration.events.leases import Lease

STREAM = "amiweb:events"
GROUP = "recorder"
#: Where the recorder puts what it can't store.
ASIDE = "amiweb:events:aside"
#: The sum of the sizes of all entries that were ever written.
SIZES = "amiweb:events:sizes"
#: Hash: server id → the lease under which a listener has it; see `ami_integration.events.fleet`.
LEASES = "amiweb:leases"
#: Hash: server id → the end of its chain as it was written to the stream, a `Mark`.
WRITTEN = "amiweb:events:written"
#: Hash: server id → the `Mark` up to which the recorder has stored (or decided not to).
RECORDED = "amiweb:events:recorded"
#: Hash: server id → a gap (its `after_id`) that only the recorder knows of; whoever listens to the server is
#: to ask it for its state.
WISHES = "amiweb:events:wishes"
#: Hash of counters: what was put aside, trimmed, dropped.
COUNTERS = "amiweb:events:counters"

#: Bytes of a full entry, about; and how many small ones are read in the place of one.
_FULL_ENTRY = 50_000
_SMALL_ENTRIES = 50
_ASIDE_MAXLEN = 1_000
_WISHES_LAST = 3_600  # seconds, where nobody listens to a server
_LATEST = 253_402_300_800_000_000  # microseconds at the end of the year 9999, the last that databases hold

# A recorder that was away for longer than its lease is not asked where the next one stands by now. What it
# put aside, that one has put aside, too.
_RECORD = """
local owner, epoch = redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3])
if owner and owner ~= ARGV[1] then return 0 end
if epoch and epoch ~= ARGV[2] then return 0 end
local marks = tonumber(ARGV[4])
if marks > 0 then redis.call('HSET', KEYS[1], unpack(ARGV, 5, 4 + marks)) end
local i = 5 + marks
while i <= #ARGV do
  local size = tonumber(ARGV[i + 1])
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, i + 2, i + 1 + size))
  redis.call('HINCRBY', KEYS[5], 'put_aside', 1)
  redis.call('HINCRBY', KEYS[5], 'refused', ARGV[i])
  i = i + 2 + size
end
return 1
"""


class BadEntry(ValueError):
    """An entry of the stream that isn't one of ours, or is broken."""


#: How sure the number of a gap's events is.
LostKind: TypeAlias = Literal["exact", "estimated", "unknown"]
LOST_KINDS: tuple[LostKind, ...] = ("exact", "estimated", "unknown")


class Mark(NamedTuple):
    """A place in the chain of a server: its last id there, and how many events were numbered up to it."""

    id: int = 0
    numbered: int = 0

    def encode(self) -> str:
        return f"{self.id}:{self.numbered}"

    @classmethod
    def decode(cls, data: bytes) -> "Mark":
        """The inverse of `encode`."""
        last_id, _, count = data.partition(b":")
        return cls(int(last_id), int(count or 0))


#: Where the chain of a server that was never listened to stands.
START = Mark()


class StampedEvent(NamedTuple):
    """One event as it was read: its id, when (microseconds since 1970), and its bytes."""

    id: int
    at: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of one server in their order.

    `after_id`: the last id of the server before them, or 0. `before_count`: how many events of it were
    numbered before them.
    """

    server_id: int
    after_id: int
    before_count: int
    events: Sequence[StampedEvent]

    @property
    def last_id(self) -> int:
        return self.events[-1].id

    @property
    def last_count(self) -> int:
        return self.before_count + len(self.events)

    def encode(self) -> bytes:
        packed: bytes = msgpack.packb(["events", self.after_id, self.before_count, self.events])
        return packed


@dataclass(frozen=True, slots=True)
class GapNote:
    """Time without events of one server: everything after `after_id` and before `before_id` may be missing.

    `before_id` and `ended_at` are None while the gap lasts; a second note with both ends it. The gap is known
    by its server and `after_id`, so each note may arrive twice. Times are microseconds since 1970. `lost` is
    how many events are missing, None if nobody can know, and `lost_kind` how sure that is. `numbered`: how
    many of them had been numbered, so that the chain's count goes on behind them.

    An end may be told again, once the first event behind it is known: with a greater `before_id`, nothing
    numbered, and `gap_after_id` as the gap's name, since `after_id` is the chain's place then.
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
    lost_kind: LostKind = "unknown"
    before_count: int = 0
    numbered: int = 0
    gap_after_id: int | None = None

    @property
    def name(self) -> int:
        """The `after_id` by which the gap is known."""
        return self.after_id if self.gap_after_id is None else self.gap_after_id

    @property
    def last_id(self) -> int:
        return self.after_id if self.before_id is None else max(self.after_id, self.before_id - 1)

    @property
    def last_count(self) -> int:
        return self.before_count + self.numbered

    def encode(self) -> bytes:
        fields = [
            "gap", self.after_id, self.before_count, self.id, self.reason, self.detail, self.started_at,
            self.ended_at, self.before_id, self.lost, self.lost_kind, self.numbered, self.gap_after_id,
        ]  # fmt: skip
        packed: bytes = msgpack.packb(fields, unicode_errors="backslashreplace")
        return packed


def end_again(ended: GapNote, *, mark: Mark, before_id: int) -> GapNote:
    """The note that moves a gap's end to the first event behind it.

    Args:
        ended: the note that ended it.
        mark: where the chain stands.
        before_id: that event's.
    """
    return replace(
        ended, before_id=before_id, after_id=mark.id, before_count=mark.numbered, numbered=0,
        gap_after_id=ended.name,
    )  # fmt: skip


#: The items of a list, each with its headers in order.
Items: TypeAlias = Sequence[Sequence[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class SnapshotNote:
    """What the PBX said of its state after a gap: the answer to one action. It doesn't move the chain.

    `at` is in microseconds since 1970; `gap_after_id` names the gap. `error` says why there are no items, or
    not all of them.
    """

    id: int
    server_id: int
    after_id: int
    at: int
    gap_after_id: int
    action: str
    items: Items = ()
    error: str = ""
    before_count: int = 0

    @property
    def last_id(self) -> int:
        return self.after_id

    @property
    def last_count(self) -> int:
        return self.before_count

    def encode(self) -> bytes:
        fields = [
            "snapshot", self.after_id, self.before_count, self.id, self.at, self.gap_after_id, self.action,
            self.items, self.error,
        ]  # fmt: skip
        packed: bytes = msgpack.packb(fields, unicode_errors="backslashreplace")
        return packed


Entry: TypeAlias = EventBatch | GapNote | SnapshotNote


def mark_of(entry: Entry) -> Mark:
    """Where the chain stands after an entry."""
    return Mark(entry.last_id, entry.last_count)


def decode_entry(fields: Mapping[bytes, bytes]) -> Entry:
    """The inverse of `encode`, on the fields of a stream entry. Raises BadEntry."""
    try:
        server_id = int(fields[b"s"])
        kind, after_id, before_count, *rest = msgpack.unpackb(fields[b"d"])
        _check_numbers(server_id, after_id, before_count)
        if kind == "events":
            return _decode_batch(server_id, after_id, before_count, *rest)
        if kind == "gap":
            return _decode_gap(server_id, after_id, before_count, *rest)
        if kind == "snapshot":
            return _decode_snapshot(server_id, after_id, before_count, *rest)
        raise BadEntry(f"unknown kind {kind!r}")
    except BadEntry:
        raise
    except Exception as error:
        # msgpack raises half a dozen kinds on broken bytes, and so does unpacking what isn't of our shape.
        raise BadEntry(f"{type(error).__name__}: {error}") from error


def _decode_batch(server_id: int, after_id: int, before_count: int, packed: Any) -> EventBatch:
    events = [StampedEvent(event_id, at, raw) for event_id, at, raw in packed]
    if not events:
        raise BadEntry("a batch without events")
    if not all(type(e.raw) is bytes and _is_time(e.at) for e in events):
        raise BadEntry("a batch with something else than events")
    _check_numbers(*(e.id for e in events))
    return EventBatch(server_id, after_id, before_count, events)


def _decode_gap(
    server_id: int,
    after_id: int,
    before_count: int,
    gap_id: Any,
    reason: Any,
    detail: Any,
    started_at: Any,
    ended_at: Any,
    before_id: Any,
    lost: Any,
    lost_kind: Any,
    numbered: Any,
    gap_after_id: Any,
) -> GapNote:
    _check_numbers(gap_id, numbered, *(one for one in (before_id, lost, gap_after_id) if one is not None))
    if not _is_time(started_at) or not (ended_at is None or _is_time(ended_at)):
        raise BadEntry("a gap without a time")
    if not isinstance(reason, str) or not isinstance(detail, str) or lost_kind not in LOST_KINDS:
        raise BadEntry("a gap without a reason")
    return GapNote(
        gap_id, server_id, reason, detail, started_at, after_id, ended_at, before_id, lost, lost_kind,
        before_count, numbered, gap_after_id,
    )  # fmt: skip


def _decode_snapshot(
    server_id: int,
    after_id: int,
    before_count: int,
    note_id: Any,
    at: Any,
    gap_after_id: Any,
    action: Any,
    items: Any,
    error: Any,
) -> SnapshotNote:
    _check_numbers(note_id, gap_after_id)
    if not _is_time(at) or not isinstance(action, str) or not isinstance(error, str):
        raise BadEntry("a snapshot without a time or an action")
    pairs = [[(name, value) for name, value in item] for item in items]
    if not all(type(text) is str for item in pairs for pair in item for text in pair):
        raise BadEntry("a snapshot with something else than headers")
    return SnapshotNote(note_id, server_id, after_id, at, gap_after_id, action, pairs, error, before_count)


def _check_numbers(*numbers: Any) -> None:
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise BadEntry("a number that is no bigint")


def _is_time(microseconds: Any) -> bool:
    return type(microseconds) is int and 0 <= microseconds < _LATEST


def valkey_client(url: str) -> "redis.Redis":
    """A blocking client whose errors come at once: the loops of listener and recorder retry by themselves."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=5, socket_connect_timeout=2)


class Aside(NamedTuple):
    """What can't be stored: the fields of its entry, or what else tells of it, and why.

    `events`: how many events it certainly is. Of an entry that can't be read nobody knows that; the chain of
    its server tells.
    """

    fields: Mapping[bytes, bytes]
    error: str
    events: int = 0

    def encode(self) -> list[bytes | int]:
        """As the script of the acknowledgement takes it."""
        kept = {**self.fields, b"error": self.error.encode("utf-8", "backslashreplace")}
        return [self.events, 2 * len(kept), *(text for pair in kept.items() for text in pair)]


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
            count: about so many full ones. Of small ones, as a fleet of quiet servers makes them, more come
                at once.
            block: seconds to wait for a new one, at most 4.
        """
        entries = self._read("0" if pending else ">", count, None if pending else block)
        size, more = 0, entries
        while len(more) == count and len(entries) < count * _SMALL_ENTRIES:
            size += sum(len(fields.get(b"d", b"")) for _, fields in more)
            if size >= count * _FULL_ENTRY:
                break
            more = self._read(more[-1][0] if pending else ">", count, None)
            entries += more
        return entries

    def _read(
        self, after: bytes | str, count: int, block: float | None
    ) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        found: Any = self._client.xreadgroup(
            GROUP, self._CONSUMER, {STREAM: after}, count=count,
            block=None if block is None else max(1, int(min(block, 4.0) * 1000)),
        )  # fmt: skip
        if not found:
            return []
        entries = found[STREAM.encode()][0] if isinstance(found, dict) else found[0][1]
        return [(entry_id, fields or {}) for entry_id, fields in entries]

    def ack(
        self,
        entry_ids: Sequence[bytes],
        recorded: Mapping[int, Mark],
        *,
        lease: Lease,
        aside: Sequence[Aside] = (),
        wishes: Mapping[int, int] | None = None,
    ) -> bool:
        """Done with these entries; per server, `recorded` is where its chain stands after them. What is put
        aside is kept and counted with that, so once; `wishes` are left for the listeners, see `WISHES`.

        Returns:
            False if another recorder has the lease meanwhile. Nothing is noted then: the other one has read
            and stored these entries too, and may be far beyond them.
        """
        marks = [text for server_id, mark in recorded.items() for text in (server_id, mark.encode())]
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.eval(
                _RECORD, 5, RECORDED, lease.key, lease.epoch_key, ASIDE, COUNTERS,
                lease.token, lease.epoch, _ASIDE_MAXLEN, len(marks), *marks,
                *(text for one in aside for text in one.encode()),
            )  # fmt: skip
            pipeline.xack(STREAM, GROUP, *entry_ids)
            if wishes:
                pipeline.hset(
                    WISHES, mapping={str(server_id): after_id for server_id, after_id in wishes.items()}
                )
                pipeline.expire(WISHES, _WISHES_LAST)
            ours, *_ = pipeline.execute()
        return bool(ours)

    def recorded(self) -> dict[int, Mark]:
        """Per server how far its chain was recorded."""
        return marks(self._client.hgetall(RECORDED))

    def trim(self, *, keep: float) -> int:
        """Remove what was recorded more than `keep` seconds ago; returns how many entries went (about)."""
        seconds, microseconds = self._client.time()  # ids of entries are Valkey's time, not ours
        oldest = (int((seconds + microseconds / 1_000_000 - keep) * 1000), 0)
        groups = {group["name"]: group for group in self._client.xinfo_groups(STREAM)}
        needed = self._client.xpending(STREAM, GROUP)["min"] or groups[GROUP.encode()]["last-delivered-id"]
        milliseconds, _, number = needed.partition(b"-")
        first, behind = min(oldest, (int(milliseconds), int(number)))
        return int(self._client.xtrim(STREAM, minid=f"{first}-{behind}", approximate=True))


def recorded_ids(url: str) -> dict[int, int]:
    """Per server the last id that was recorded. Blocks; raises redis.RedisError if Valkey is away."""
    with valkey_client(url) as client:
        found: Any = client.hgetall(RECORDED)
    return {server_id: mark.id for server_id, mark in marks(found).items()}


def marks(found: Any) -> dict[int, Mark]:
    """Per server a place in its chain, from one of the hashes."""
    return {int(server): Mark.decode(mark) for server, mark in found.items()}
