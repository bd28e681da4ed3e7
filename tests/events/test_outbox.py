from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator

import pytest
import redis

from ami_integration.events.fleet import Fleet
from ami_integration.events.leases import Slot
from ami_integration.events.outbox import Outbox
from ami_integration.events.stream import (
    LEASES,
    STREAM,
    Entry,
    EventBatch,
    GapNote,
    decode_entry,
    end_again,
    mark_of,
)
from ami_integration.events.writer import StreamWriter
from tests.events.making import batch, raw
from tests.polling import wait_until
from tests.processes import Valkey


class Setting:
    """An outbox of 10 events for two servers, and what came out of it."""

    def __init__(self, client: redis.Redis, *, max_bytes: int = 10_000_000) -> None:
        self.client = client
        self.fleet = Fleet(client, ttl=60)
        self.epochs = {server_id: held.epoch for server_id, held in self.fleet.claim([1, 2]).items()}
        self.lost: list[Collection[tuple[int, int]]] = []
        self.dropped: list[tuple[int, int]] = []
        self.outbox = Outbox(
            StreamWriter(client, maxlen=1000),
            on_lease_lost=self.lost.append,
            on_dropped=lambda server_id, after_id: self.dropped.append((server_id, after_id)),
            max_events=10,
            max_bytes=max_bytes,
        )

    def put(self, entry: Entry) -> None:
        self.outbox.put(entry, epoch=self.epochs[entry.server_id])

    def written(self) -> list[Entry]:
        return [decode_entry(fields) for _, fields in self.client.xrange(STREAM)]


@pytest.fixture
def setting(redis_client: redis.Redis) -> Iterator[Setting]:
    setting = Setting(redis_client)
    yield setting
    if setting.outbox._thread.ident is not None:
        setting.outbox.stop(seconds=0)


def chain(number: int, server_id: int = 1) -> list[EventBatch]:
    """Batches of two events, each naming the one before."""
    found: list[EventBatch] = []
    for n in range(number):
        found.append(
            batch(
                server_id,
                raw(Number=str(2 * n)),
                raw(Number=str(2 * n + 1)),
                after=found[-1].last_id if found else 0,
                count=2 * n,
            )
        )
    return found


def test_what_is_put_is_written_in_order(setting: Setting) -> None:
    setting.outbox.start()
    sent = chain(4)
    for one in sent:
        setting.put(one)
    assert setting.outbox.stop(seconds=5) == 0
    assert setting.written() == sent


def test_a_full_buffer_counts_what_it_drops_and_tells_it_as_a_gap(setting: Setting) -> None:
    sent = chain(8)
    for one in sent:  # nothing is written yet: as if Valkey were away
        setting.put(one)
    setting.outbox.start()
    wait_until(lambda: len(setting.written()) == 6, seconds=5, what="the buffer is written")
    after = batch(1, after=sent[-1].last_id, count=16)
    setting.put(after)
    assert setting.outbox.stop(seconds=5) == 0
    written = setting.written()
    assert written[:5] == sent[:5]
    gap = written[5]
    assert isinstance(gap, GapNote)
    assert (gap.reason, gap.lost, gap.lost_kind) == ("overload", 6, "exact")
    assert (gap.before_count, gap.last_count) == (10, 16)
    assert (gap.after_id, gap.before_id) == (sent[4].last_id, sent[7].last_id + 1)
    assert gap.after_id == sent[4].last_id
    assert setting.dropped == [(1, gap.after_id)]
    assert setting.outbox.waiting().dropped == 6
    again, *rest = written[6:]
    assert again == end_again(gap, mark=mark_of(gap), before_id=after.events[0].id)
    assert mark_of(again) == (after.events[0].id - 1, after.before_count)
    assert rest == [after]


def test_each_server_has_a_count_of_its_own(setting: Setting) -> None:
    for one in [*chain(5, server_id=1), *chain(2, server_id=1)[1:], *chain(2, server_id=2)]:
        setting.put(one)
    setting.outbox.start()
    assert setting.outbox.stop(seconds=5) == 0
    gaps = {one.server_id: one.lost for one in setting.written() if isinstance(one, GapNote)}
    assert gaps == {1: 2, 2: 4}


def test_events_wait_while_valkey_is_away_and_the_outage_is_told_once(
    setting: Setting, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    setting.outbox.start()
    sent = chain(4)
    setting.put(sent[0])
    wait_until(lambda: setting.written() == sent[:1], seconds=5, what="the first batch is written")
    valkey.kill()
    for one in sent[1:]:
        setting.put(one)
    wait_until(lambda: "Valkey is away" in caplog.text, seconds=10, what="the outage is logged")
    valkey.start()
    wait_until(lambda: setting.written()[-3:] == sent[1:], seconds=15, what="the rest is written")
    wait_until(lambda: "over after" in caplog.text, seconds=5, what="the recovery is logged")
    assert caplog.text.count("Valkey is away") == 2


def test_a_full_buffer_is_one_of_so_many_bytes_too(redis_client: redis.Redis) -> None:
    setting = Setting(redis_client, max_bytes=5_000)
    sent = chain(4)
    for one in sent:
        big = EventBatch(
            1, one.after_id, one.before_count, [e._replace(raw=b"x" * 3_000) for e in one.events]
        )
        setting.put(big)
    setting.outbox.start()
    assert setting.outbox.stop(seconds=5) == 0
    [first, gap] = setting.written()
    assert first.last_id == sent[0].last_id
    assert isinstance(gap, GapNote)
    assert (gap.after_id, gap.lost) == (sent[0].last_id, 6)


def test_the_gap_of_what_was_dropped_ends_at_the_first_event_behind_it(setting: Setting) -> None:
    sent = chain(8)
    for one in sent[:7]:
        setting.put(one)
    setting.outbox._done(setting.outbox._next_chunk()[:3])  # room again; and nobody told of it yet
    assert setting.outbox._dropped == {}
    setting.put(sent[7])
    setting.outbox.start()
    assert setting.outbox.stop(seconds=5) == 0
    *_, gap, last = setting.written()
    assert isinstance(gap, GapNote)
    assert gap.last_count == last.before_count
    assert gap.before_id == sent[7].events[0].id


def test_where_a_session_was_lost_meanwhile_the_number_is_an_estimate(setting: Setting) -> None:
    sent = chain(6)
    for one in sent:
        setting.put(one)
    after = sent[-1].last_id
    setting.put(GapNote(after + 1, 1, "disconnected", "", 0, after, before_count=12))
    setting.put(GapNote(after + 1, 1, "disconnected", "", 0, after, 5, after + 9, before_count=12))
    setting.outbox.start()
    wait_until(lambda: len(setting.written()) == 6, seconds=5, what="all is written")
    gap = setting.written()[-1]
    assert isinstance(gap, GapNote)
    assert (gap.lost, gap.lost_kind, gap.last_id) == (2, "estimated", after + 8)


def test_of_a_server_that_another_listener_has_nothing_more_is_written_and_the_rest_goes_on(
    setting: Setting,
) -> None:
    setting.client.hset(LEASES, "1", "99 99999999999999 another")
    setting.outbox.start()
    other = batch(2)
    for one in (batch(1), other, batch(1)):
        setting.put(one)
    assert setting.outbox.stop(seconds=5) == 0
    assert setting.written() == [other]
    assert {pair for lost in setting.lost for pair in lost} == {(1, setting.epochs[1])}


def test_a_lease_is_given_up_behind_what_waits(setting: Setting) -> None:
    last = batch(1)
    setting.put(last)
    setting.outbox.release(1, epoch=setting.epochs[1])
    other = Fleet(setting.client, ttl=60)
    assert not other.claim([1])
    setting.outbox.start()
    assert setting.outbox.stop(seconds=5) == 0
    assert other.claim([1])[1].mark == mark_of(last)


def test_events_wait_while_the_slot_is_not_ours_and_are_written_when_it_is_again(
    redis_client: redis.Redis,
) -> None:
    slot = Slot.claim(redis_client)
    redis_client.delete(slot.key)  # as if Valkey had lost everything
    told = threading.Event()
    writer = StreamWriter(redis_client, maxlen=1000, slot=slot)
    outbox = Outbox(writer, on_lease_lost=lambda _: None, on_slot_lost=told.set)
    outbox.start()
    outbox.put(batch(1))
    assert told.wait(5)
    assert outbox.waiting().events == 1
    assert slot.renew(used_until=0)
    wait_until(lambda: redis_client.xlen(STREAM) == 1, seconds=5, what="it is written")
    assert outbox.stop(seconds=5) == 0
