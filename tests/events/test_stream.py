from __future__ import annotations

import msgpack
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.events.fleet import Fleet
from ami_integration.events.leases import Lease, Slot
from ami_integration.events.stream import (
    COUNTERS,
    LEASES,
    LOST_KINDS,
    START,
    STREAM,
    Aside,
    BadEntry,
    EventBatch,
    GapNote,
    LostKind,
    Mark,
    SnapshotNote,
    StampedEvent,
    StreamReader,
    decode_entry,
    mark_of,
)
from ami_integration.events.writer import LeaseLost, Packed, SlotLost, StreamWriter, pack
from tests.events.making import batch, raw
from tests.polling import wait_until

numbers = st.integers(0, 2**63 - 1)
times = st.integers(0, 4_000_000_000_000_000)
events = st.builds(StampedEvent, numbers, times, st.binary(max_size=50))


@given(numbers, numbers, numbers, st.lists(events, min_size=1, max_size=5))
def test_a_batch_survives_the_stream(
    server_id: int, after_id: int, before_count: int, stamped: list[StampedEvent]
) -> None:
    sent = EventBatch(server_id, after_id, before_count, stamped)
    assert decode_entry({b"s": b"%d" % server_id, b"d": sent.encode()}) == sent


@given(
    numbers, st.text(), times, st.none() | times, numbers, st.none() | numbers, st.none() | numbers,
    st.sampled_from(LOST_KINDS), numbers, numbers, st.none() | numbers,
)  # fmt: skip
def test_a_gap_survives_the_stream(
    gap_id: int,
    detail: str,
    started_at: int,
    ended_at: int | None,
    after_id: int,
    before_id: int | None,
    lost: int | None,
    lost_kind: LostKind,
    before_count: int,
    numbered: int,
    gap_after_id: int | None,
) -> None:
    sent = GapNote(
        gap_id, 1, "overload", detail, started_at, after_id, ended_at, before_id, lost, lost_kind,
        before_count, numbered, gap_after_id,
    )  # fmt: skip
    assert decode_entry({b"s": b"1", b"d": sent.encode()}) == sent


@given(
    numbers, numbers, times, numbers, st.text(),
    st.lists(st.lists(st.tuples(st.text(), st.text()), max_size=3), max_size=3), st.text(), numbers,
)  # fmt: skip
def test_a_snapshot_survives_the_stream(
    note_id: int,
    after_id: int,
    at: int,
    gap_after_id: int,
    action: str,
    items: list[list[tuple[str, str]]],
    error: str,
    before_count: int,
) -> None:
    sent = SnapshotNote(note_id, 1, after_id, at, gap_after_id, action, items, error, before_count)
    assert decode_entry({b"s": b"1", b"d": sent.encode()}) == sent


def test_the_chain_stands_before_the_first_event_behind_a_gap() -> None:
    lasts = GapNote(9, 1, "overload", "", 0, 5, before_count=3)
    assert mark_of(lasts) == Mark(5, 3)
    over = GapNote(9, 1, "overload", "", 0, 5, 0, 20, 7, "exact", before_count=3, numbered=7)
    assert mark_of(over) == Mark(19, 10)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"s": b"x", b"d": b""},
        {b"s": b"1"},
        {b"s": b"1", b"d": b"\xc1\xc1"},
        {b"s": b"1", b"d": msgpack.packb(["events", 0, 0, []])},
        {b"s": b"1", b"d": msgpack.packb(["events", 0, -1, [(1, 0, b"")]])},
        {b"s": b"1", b"d": msgpack.packb(["events", 0, 0, [("x", 0, b"")]])},
        {b"s": b"1", b"d": msgpack.packb(["events", 0, 0, [(1, 2**62, b"")]])},
        {b"s": b"1", b"d": msgpack.packb(["events", 0, 0, [(2**63, 0, b"")]])},
        {b"s": b"1", b"d": msgpack.packb(["events", 0, 0, [(1, 0, "text")]])},
        {
            b"s": b"1",
            b"d": msgpack.packb(["gap", 0, 0, 1, "x", "", "now", None, None, None, "exact", 0, None]),
        },
        {b"s": b"1", b"d": msgpack.packb(["gap", 0, 0, 1, 5, "", 0, None, None, None, "exact", 0, None])},
        {b"s": b"1", b"d": msgpack.packb(["gap", 0, 0, 1, "x", "", 0, None, None, None, "perhaps", 0, None])},
        {b"s": b"1", b"d": msgpack.packb(["gap", 0, 0])},
        {b"s": b"1", b"d": msgpack.packb(["snapshot", 0, 0, 1, 0, 0, "Status", [[("a", 1)]], ""])},
        {b"s": b"1", b"d": msgpack.packb(["snapshot", 0, 0, 1, 0, 0, "Status", [["a"]], ""])},
        {b"s": b"1", b"d": msgpack.packb(["snapshot", 0, 0, 1, "now", 0, "Status", [], ""])},
        {b"s": b"1", b"d": msgpack.packb(["dance", 0, 0])},
    ],
)
def test_an_entry_that_is_not_ours_is_told_from_one_that_is(fields: dict[bytes, bytes]) -> None:
    with pytest.raises(BadEntry):
        decode_entry(fields)


def test_entries_are_read_in_the_order_in_which_they_were_written(
    writer: StreamWriter, redis_client: redis.Redis
) -> None:
    reader = StreamReader(redis_client)
    reader.ensure_group()
    sent = [batch(1, raw("A")), batch(2, raw("B")), batch(1, raw("C"))]
    writer.append(sent)
    found = reader.read(pending=False, count=10, block=0)
    assert [decode_entry(fields) for _, fields in found] == sent
    assert writer.marks() == {1: Mark(sent[2].last_id, 1), 2: Mark(sent[1].last_id, 1)}


def test_a_group_reads_what_came_before_it(writer: StreamWriter, redis_client: redis.Redis) -> None:
    writer.append([batch(1)])
    reader = StreamReader(redis_client)
    reader.ensure_group()
    reader.ensure_group()  # a second time is no error
    assert len(reader.read(pending=False, count=10, block=0)) == 1


def test_what_was_not_acknowledged_is_read_again(writer: StreamWriter, redis_client: redis.Redis) -> None:
    reader = StreamReader(redis_client)
    reader.ensure_group()
    writer.append([batch(1), batch(1)])
    found = reader.read(pending=False, count=10, block=0)
    assert reader.ack([found[0][0]], {1: Mark(5, 2)}, lease=Lease(redis_client, "recorder"))
    assert reader.read(pending=False, count=10, block=0) == []
    assert reader.read(pending=True, count=10, block=0) == [found[1]]
    assert reader.recorded() == {1: Mark(5, 2)}


@pytest.mark.parametrize(("size", "least", "most"), [(10, 500, 500), (5_000, 100, 110), (200_000, 10, 10)])
def test_of_small_entries_more_are_read_at_once(
    size: int, least: int, most: int, writer: StreamWriter, redis_client: redis.Redis
) -> None:
    reader = StreamReader(redis_client)
    reader.ensure_group()
    writer.append(batch(1, b"x" * size) for _ in range(700))
    whole = redis_client.xrange(STREAM)
    found = reader.read(pending=False, count=10, block=0)
    assert least <= len(found) <= most
    assert found == whole[: len(found)]
    assert reader.read(pending=True, count=10, block=0) == found
    assert reader.read(pending=False, count=10, block=0)[0] == whole[len(found)]


def test_a_recorder_that_lost_its_lease_does_not_set_back_where_the_next_one_stands(
    writer: StreamWriter, redis_client: redis.Redis
) -> None:
    reader = StreamReader(redis_client)
    reader.ensure_group()
    writer.append([batch(1), batch(1)])
    (early, _), (late, _) = reader.read(pending=False, count=10, block=0)
    old, new = Lease(redis_client, "recorder"), Lease(redis_client, "recorder")
    assert old.claim()
    redis_client.delete(old.key)
    assert new.claim()
    assert reader.ack([late], {1: Mark(9, 2)}, lease=new)
    assert not reader.ack([early], {1: Mark(5, 2)}, lease=old)
    assert reader.recorded() == {1: Mark(9, 2)}
    assert reader.read(pending=True, count=10, block=0) == []


def test_of_a_server_that_another_listener_has_nothing_is_written(redis_client: redis.Redis) -> None:
    old, new = Fleet(redis_client, ttl=0.1), Fleet(redis_client, ttl=60)
    held = old.claim([1, 2])
    wait_until(lambda: new.claim([1]), seconds=5, what="the lease ends")
    writer = StreamWriter(redis_client, maxlen=10)
    with pytest.raises(LeaseLost) as refused:
        writer.write([pack(batch(server_id), held[server_id].epoch) for server_id in (1, 2, 1)])
    assert refused.value.positions == {0, 2}
    assert list(writer.marks()) == [2]  # whose lease has ended, and was taken by nobody
    assert redis_client.xlen(STREAM) == 1


def test_a_lease_that_valkey_has_lost_does_not_stop_its_listener(redis_client: redis.Redis) -> None:
    held = Fleet(redis_client, ttl=60).claim([1])
    redis_client.delete(LEASES)
    StreamWriter(redis_client, maxlen=10).append([batch(1)], epoch=held[1].epoch)
    assert redis_client.xlen(STREAM) == 1


def test_nothing_is_written_while_another_listener_has_the_slot(redis_client: redis.Redis) -> None:
    slot = Slot.claim(redis_client)
    writer = StreamWriter(redis_client, maxlen=10, slot=slot)
    writer.append([batch(1)])
    redis_client.set(slot.key, "another")
    with pytest.raises(SlotLost):
        writer.append([batch(1)])
    redis_client.delete(slot.key)
    with pytest.raises(SlotLost):  # anybody may take it in this moment
        writer.append([batch(1)])
    assert slot.renew(used_until=0)
    writer.append([batch(1)])
    assert redis_client.xlen(STREAM) == 2


def test_a_server_is_given_up_behind_its_last_entry(redis_client: redis.Redis) -> None:
    one, other = Fleet(redis_client, ttl=60), Fleet(redis_client, ttl=60)
    epoch = one.claim([1])[1].epoch
    last = batch(1)
    StreamWriter(redis_client, maxlen=10).write([pack(last, epoch), Packed(1, epoch, Mark(), b"")])
    taken = other.claim([1])[1]
    assert taken.mark == mark_of(last)
    assert taken.epoch > epoch


def test_the_stream_is_bounded_by_count(redis_client: redis.Redis) -> None:
    StreamWriter(redis_client, maxlen=100).append(batch(1) for _ in range(1000))
    assert redis_client.xlen(STREAM) <= 200  # Valkey cuts whole nodes of its tree


def test_the_stream_is_bounded_by_its_size(redis_client: redis.Redis) -> None:
    writer = StreamWriter(redis_client, maxlen=100_000, max_bytes=1_000_000)
    for size in (10, 50_000, 1_000, 50_000, 2_000_000, 100):
        for _ in range(40):
            writer.append([batch(1, b"x" * size)])
        held = sum(len(fields[b"d"]) for _, fields in redis_client.xrange(STREAM))
        assert held <= 1_100_000 or redis_client.xlen(STREAM) == 1
    assert redis_client.xlen(STREAM) > 30  # it doesn't cut what there is room for


def test_what_the_bound_cut_unread_is_missing_in_the_chain_by_its_exact_number(
    redis_client: redis.Redis,
) -> None:
    writer = StreamWriter(redis_client, maxlen=100)
    mark = START
    for _ in range(500):
        sent = batch(1, raw("A"), raw("B"), raw("C"), after=mark.id, count=mark.numbered)
        writer.append([sent])
        mark = mark_of(sent)
    reader = StreamReader(redis_client)
    reader.ensure_group()
    [(_, fields), *_] = reader.read(pending=False, count=1, block=0)
    assert decode_entry(fields).before_count == 3 * (500 - redis_client.xlen(STREAM))


def test_trimming_removes_what_was_recorded_and_nothing_else(
    writer: StreamWriter, redis_client: redis.Redis
) -> None:
    reader = StreamReader(redis_client)
    reader.ensure_group()
    writer.append(batch(1) for _ in range(300))
    found = reader.read(pending=False, count=300, block=0)
    reader.ack([entry_id for entry_id, _ in found[:250]], {}, lease=Lease(redis_client, "recorder"))
    writer.append(batch(1) for _ in range(300))
    reader.trim(keep=600)
    assert redis_client.xlen(STREAM) == 600
    reader.trim(keep=0)
    assert 350 <= redis_client.xlen(STREAM) < 600
    assert [entry_id for entry_id, _ in reader.read(pending=True, count=300, block=0)] == [
        entry_id for entry_id, _ in found[250:]
    ]
    assert len(reader.read(pending=False, count=500, block=0)) == 300


def test_what_is_put_aside_is_kept_and_counted(redis_client: redis.Redis) -> None:
    lease = Lease(redis_client, "recorder")
    assert lease.claim()
    reader = StreamReader(redis_client)
    reader.ensure_group()
    entry_id = redis_client.xadd(STREAM, {"d": "x"})
    aside = [Aside({b"d": b"x"}, "no good \udcff", events=3)]
    assert reader.ack([entry_id], {}, lease=lease, aside=aside)
    [(_, fields)] = redis_client.xrange("amiweb:events:aside")
    assert fields == {b"d": b"x", b"error": b"no good \\udcff"}
    assert redis_client.hgetall(COUNTERS) == {b"put_aside": b"1", b"refused": b"3"}
    lease.token = "another's"
    assert not reader.ack([entry_id], {}, lease=lease, aside=aside)
    assert redis_client.hget(COUNTERS, "put_aside") == b"1"
