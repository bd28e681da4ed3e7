from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest
import redis

from ami_integration.events.leases import Lease
from ami_integration.events.outbox import Outbox
from ami_integration.events.stream import STREAM, Entry, EventBatch, GapNote, StreamWriter, decode_entry
from tests.events.making import batch, raw
from tests.polling import wait_until
from tests.processes import Valkey


class Setting:
    """An outbox of 10 events, and what came out of it."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.lease = Lease(client, "listener", ttl=60)
        assert self.lease.claim()
        self.lost = threading.Event()
        self.outbox = Outbox(
            StreamWriter(client, self.lease, maxlen=1000), on_lease_lost=self.lost.set, max_events=10
        )

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
            )
        )
    return found


def test_what_is_put_is_written_in_order(setting: Setting) -> None:
    setting.outbox.start()
    sent = chain(4)
    for one in sent:
        setting.outbox.put(one)
    assert setting.outbox.stop(seconds=5) == 0
    assert setting.written() == sent


def test_a_full_buffer_counts_what_it_drops_and_tells_it_as_a_gap(setting: Setting) -> None:
    sent = chain(8)
    for one in sent:  # nothing is written yet: as if Valkey were away
        setting.outbox.put(one)
    setting.outbox.start()
    wait_until(lambda: len(setting.written()) == 6, seconds=5, what="the buffer is written")
    after = batch(1, after=sent[-1].last_id)
    setting.outbox.put(after)
    assert setting.outbox.stop(seconds=5) == 0
    written = setting.written()
    assert written[:5] == sent[:5]
    gap = written[5]
    assert isinstance(gap, GapNote)
    assert (gap.reason, gap.lost) == ("overload", 6)
    assert gap.after_id == sent[4].last_id
    assert gap.before_id is not None
    assert sent[-1].last_id < gap.before_id <= after.events[0].id
    assert written[6:] == [after]


def test_each_server_has_a_count_of_its_own(setting: Setting) -> None:
    for one in [*chain(5, server_id=1), *chain(2, server_id=1)[1:], *chain(2, server_id=2)]:
        setting.outbox.put(one)
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
    setting.outbox.put(sent[0])
    wait_until(lambda: setting.written() == sent[:1], seconds=5, what="the first batch is written")
    valkey.kill()
    for one in sent[1:]:
        setting.outbox.put(one)
    wait_until(lambda: "Valkey is away" in caplog.text, seconds=10, what="the outage is logged")
    valkey.start()
    wait_until(lambda: setting.written()[-3:] == sent[1:], seconds=15, what="the rest is written")
    wait_until(lambda: "over after" in caplog.text, seconds=5, what="the recovery is logged")
    assert caplog.text.count("Valkey is away") == 2


def test_an_outbox_whose_lease_is_lost_writes_nothing_more(setting: Setting) -> None:
    setting.client.delete(setting.lease.key)
    assert Lease(setting.client, "listener").claim()
    setting.outbox.start()
    setting.outbox.put(batch(1))
    assert setting.lost.wait(5)
    assert setting.outbox.stop(seconds=0) == 1
    assert setting.written() == []
