from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
import redis
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import OperationalError, connection

from ami_integration.events import recorder as recorder_module
from ami_integration.events.ids import IdSource, first_id_at, id_moment
from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.events.pushes import ID, JSON, NAME
from ami_integration.events.recorder import Recorder
from ami_integration.events.rows import EventRow, moment
from ami_integration.events.stream import (
    ASIDE,
    COUNTERS,
    GROUP,
    RECORDED,
    STREAM,
    WISHES,
    Aside,
    Entry,
    EventBatch,
    GapNote,
    SnapshotNote,
    StampedEvent,
    StreamReader,
    end_again,
    mark_of,
    valkey_client,
)
from ami_integration.events.writer import StreamWriter
from ami_integration.servers.models import Server
from tests.events.making import batch, ids, numbered, raw, stamped
from tests.polling import wait_until
from tests.processes import Valkey
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db(transaction=True)


def pending(redis_client: redis.Redis) -> int:
    return redis_client.xpending(STREAM, GROUP)["pending"]


def gap_note(after: int, *, before: int | None = None, lost: int | None = None) -> GapNote:
    now = int(time.time() * 1_000_000)
    return GapNote(
        ids.next(), 1, Gap.Reason.DISCONNECTED, "it closed", now, after, now if before else None, before, lost
    )


def test_events_are_stored_with_all_their_headers_in_order(writer: StreamWriter, recorder: Recorder) -> None:
    data = raw(
        "Newchannel", Channel="PJSIP/100-00000001", Uniqueid="17.1", Linkedid="17.0", ChanVariable="a=1"
    )
    sent = batch(1, data + b"\r\nChanVariable: b=2")
    writer.append([sent])
    assert recorder.step() == 1
    event = Event.objects.get()
    assert (event.pk, event.server_id, event.name) == (sent.last_id, 1, "Newchannel")
    assert (event.channel, event.uniqueid, event.linkedid) == ("PJSIP/100-00000001", "17.1", "17.0")
    assert event.headers[-2:] == [["ChanVariable", "a=1"], ["ChanVariable", "b=2"]]
    assert abs(event.at - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_same_entry_twice_is_stored_once(writer: StreamWriter, recorder: Recorder) -> None:
    sent = batch(1, raw("A"), raw("B"))
    writer.append([sent, sent])
    recorder.step()
    writer.append([sent])
    recorder.step()
    assert Event.objects.count() == 2


def test_a_kill_between_store_and_acknowledgement_stores_nothing_twice(
    url: str, writer: StreamWriter, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Recorder(url=url)
    writer.append([numbered(1, range(10))])

    def killed(*args: Any, **kwargs: Any) -> None:
        raise redis.ConnectionError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(first._reader, "ack", killed)
        with pytest.raises(redis.ConnectionError):
            first.step()
    first.close()
    assert Event.objects.count() == 10
    assert pending(redis_client) == 1

    second = Recorder(url=url)
    assert second.step() == 1
    second.close()
    assert Event.objects.count() == 10
    assert pending(redis_client) == 0


def test_a_batch_whose_insert_failed_comes_again(
    writer: StreamWriter, redis_client: redis.Redis, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.append([numbered(1, range(10))])
    recorder.step()
    after = Event.objects.latest("id").pk
    writer.append([numbered(1, range(10, 20), after=after)])

    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(recorder, "_insert", away)
        with pytest.raises(OperationalError):
            recorder.step()
    assert Event.objects.count() == 10
    assert recorder.step() == 1
    assert Event.objects.count() == 20
    assert pending(redis_client) == 0
    assert not Gap.objects.exists()


def test_nul_is_dropped_and_bytes_that_are_not_utf8_stay_visible(
    writer: StreamWriter, recorder: Recorder
) -> None:
    writer.append([batch(1, b"Event: Hang\0up\r\nCallerIDName: caf\xe9 \0x")])
    recorder.step()
    event = Event.objects.get()
    assert event.name == "Hangup"
    assert event.headers == [["Event", "Hangup"], ["CallerIDName", "caf\\udce9 x"]]


def test_an_entry_that_cannot_be_read_is_put_aside_and_holds_nothing_up(
    writer: StreamWriter, redis_client: redis.Redis, recorder: Recorder
) -> None:
    redis_client.xadd(STREAM, {b"s": b"1", b"d": b"\xc1 poison"})
    writer.append([batch(1)])
    assert recorder.step() == 2
    assert Event.objects.count() == 1
    assert pending(redis_client) == 0
    [(_, fields)] = redis_client.xrange(ASIDE)
    assert fields[b"d"] == b"\xc1 poison"
    assert fields[b"error"]
    assert redis_client.hget(COUNTERS, "put_aside") == b"1"


def test_an_event_that_the_database_refuses_is_put_aside_alone(
    writer: StreamWriter, redis_client: redis.Redis, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = recorder_module.event_row

    def with_a_bad_one(server_id: int, stamped: StampedEvent) -> EventRow:
        row = real(server_id, stamped)
        return row._replace(server_id=2**63) if row.name == "Bad" else row

    monkeypatch.setattr(recorder_module, "event_row", with_a_bad_one)
    writer.append([batch(1, raw("Good"), raw("Bad"), raw("Good"))])
    recorder.step()
    assert Event.objects.count() == 2
    [(_, fields)] = redis_client.xrange(ASIDE)
    assert fields[b"event"] == b'[["Event","Bad"]]'
    assert pending(redis_client) == 0


def test_a_gap_is_stored_when_it_begins_and_changed_when_it_ends(
    writer: StreamWriter, recorder: Recorder
) -> None:
    before = batch(1)
    begun = gap_note(before.last_id)
    writer.append([before, begun])
    recorder.step()
    gap = Gap.objects.get()
    assert gap.ended_at is None
    assert (gap.after_id, gap.reason, gap.detail) == (before.last_id, "disconnected", "it closed")

    ended = gap_note(before.last_id, before=ids.next())
    writer.append([ended, ended])
    recorder.step()
    gap = Gap.objects.get()
    assert gap.pk == begun.id
    assert gap.before_id == ended.before_id
    assert gap.ended_at is not None


def test_notes_of_a_gap_may_all_come_again(writer: StreamWriter, recorder: Recorder) -> None:
    after = ids.next()
    notes = [gap_note(after), gap_note(after), gap_note(after, before=ids.next())]
    writer.append([*notes, *notes])
    recorder.step()
    gap = Gap.objects.get()
    assert gap.before_id == notes[2].before_id


def test_a_gap_that_has_ended_before_it_was_seen_is_one_row(writer: StreamWriter, recorder: Recorder) -> None:
    writer.append([gap_note(5, before=9, lost=3)])
    recorder.step()
    gap = Gap.objects.get()
    assert (gap.after_id, gap.before_id, gap.lost) == (5, 9, 3)


def test_a_gaps_end_that_is_told_again_moves_to_the_first_event_behind_it_and_never_back(
    writer: StreamWriter, recorder: Recorder
) -> None:
    before = batch(1)
    begun = replace(gap_note(before.last_id), before_count=1)
    ended = replace(begun, ended_at=begun.started_at + 5, before_id=ids.next(), lost=3, lost_kind="estimated")
    behind = batch(1, after=ids.next(), count=1)
    first = behind.events[0].id
    again = end_again(ended, mark=mark_of(ended), before_id=first)
    behind = replace(behind, after_id=again.last_id)
    for notes in ([before, begun, ended], [again, behind], [ended, again], [begun, ended]):
        writer.append(notes)
        recorder.step()
    gap = Gap.objects.get()
    assert (gap.pk, gap.after_id, gap.before_id) == (begun.id, before.last_id, first)
    assert (gap.lost, gap.lost_kind) == (3, "estimated")
    assert gap.ended_at == moment(begun.started_at + 5)
    assert Event.objects.count() == 2


def test_gaps_with_no_event_between_them_all_end_at_the_first_event_behind_them(
    writer: StreamWriter, recorder: Recorder
) -> None:
    before = batch(1)
    mark = mark_of(before)
    for _ in range(3):
        begun = replace(gap_note(mark.id), before_count=1)
        ended = replace(begun, ended_at=begun.started_at, before_id=ids.next())
        writer.append([before, begun, ended])
        mark = mark_of(ended)
    first = stamped()
    writer.append([end_again(ended, mark=mark, before_id=first.id), EventBatch(1, first.id - 1, 1, [first])])
    while recorder.step():
        pass
    gaps = Gap.objects.order_by("id")
    assert [gap.before_id for gap in gaps] == [first.id] * 3
    assert gaps[0].after_id == before.last_id


def test_entries_that_were_cut_from_the_stream_leave_a_gap(
    url: str, writer: StreamWriter, redis_client: redis.Redis
) -> None:
    first = batch(1)
    writer.append([first])
    recorder = Recorder(url=url)
    recorder.step()
    recorder.close()

    missing = batch(1, raw("Lost"), raw("Lost"), after=first.last_id, count=1)
    writer.append([missing])
    redis_client.xtrim(STREAM, maxlen=0, approximate=False)
    after = batch(1, after=missing.last_id, count=3)
    writer.append([after])

    successor = Recorder(url=url)
    successor.step()
    successor.step()
    successor.close()
    gap = Gap.objects.get()
    assert (gap.reason, gap.after_id) == ("overload", first.last_id)
    assert gap.before_id == after.events[0].id
    assert gap.lost == 2
    assert Event.objects.count() == 2
    # Whoever listens to that PBX is to ask it for its state, and is for an hour.
    assert redis_client.hgetall(WISHES) == {b"1": str(first.last_id).encode()}
    assert 0 < redis_client.ttl(WISHES) <= 3600


def test_a_gap_that_only_the_recorder_found_ends_at_the_first_event_also_where_another_gap_follows(
    writer: StreamWriter, redis_client: redis.Redis, recorder: Recorder
) -> None:
    first, missing, _ = three_batches(1)
    writer.append([first])
    recorder.step()
    writer.append([missing])
    redis_client.xtrim(STREAM, maxlen=0, approximate=False)
    begun = replace(gap_note(missing.last_id), before_count=3)
    behind = stamped()
    ended = replace(begun, ended_at=begun.started_at, before_id=behind.id)
    writer.append([begun, ended, EventBatch(1, ended.last_id, 3, [behind])])
    while recorder.step() or pending(redis_client):
        pass
    found = {gap.after_id: (gap.reason, gap.before_id, gap.lost) for gap in Gap.objects.all()}
    assert found == {
        first.last_id: ("overload", behind.id, 2),
        missing.last_id: ("disconnected", behind.id, None),
    }


def three_batches(server_id: int) -> list[EventBatch]:
    """One event, two events, one event, in one chain."""
    first = batch(server_id)
    second = batch(server_id, raw("Lost"), raw("Lost"), after=first.last_id, count=1)
    return [first, second, batch(server_id, after=second.last_id, count=3)]


def step_over_the_loss(recorder: Recorder) -> None:
    """What a step finds missing in Valkey it makes again, and the next step reads."""
    with pytest.raises(redis.RedisError):
        recorder.step()
    assert recorder.active()
    recorder.step()


def test_what_waited_in_a_valkey_that_lost_its_data_is_counted(
    valkey: Valkey, writer: StreamWriter, recorder: Recorder
) -> None:
    first, lost, last = three_batches(1)
    writer.append([first])
    recorder.step()
    writer.append([lost])
    valkey.flush()
    writer.append([last])
    step_over_the_loss(recorder)
    gap = Gap.objects.get()
    assert (gap.reason, gap.after_id, gap.before_id) == ("lost", first.last_id, last.events[0].id)
    assert (gap.lost, gap.lost_kind) == (2, "exact")
    assert Event.objects.count() == 2


def test_a_mark_that_valkey_restored_from_earlier_does_not_take_the_recorder_back(
    writer: StreamWriter, redis_client: redis.Redis, recorder: Recorder
) -> None:
    first, second, last = three_batches(1)
    writer.append([first, second])
    recorder.step()
    redis_client.flushall()
    redis_client.hset(RECORDED, "1", mark_of(first).encode())
    writer.append([last])
    step_over_the_loss(recorder)
    assert Event.objects.count() == 4
    assert not Gap.objects.exists()


def test_a_mark_of_another_recorder_counts_though_ids_went_back_meanwhile(
    writer: StreamWriter, redis_client: redis.Redis, recorder: Recorder
) -> None:
    ahead = IdSource(1, clock=lambda: time.time() + 3600)
    first = EventBatch(1, 0, 0, [stamped(event_id=ahead.next())])
    writer.append([first])
    recorder.step()
    of_another = batch(1, after=first.last_id, count=1)
    redis_client.hset(RECORDED, "1", mark_of(of_another).encode())
    recorder._ready = False  # as when it was active in between
    writer.append([batch(1, after=of_another.last_id, count=2)])
    recorder.step()
    assert not Gap.objects.exists()


def test_a_new_recorder_after_such_a_loss_tells_what_may_be_missing_since_the_last_stored(
    url: str, valkey: Valkey, writer: StreamWriter
) -> None:
    server = make_server(event_keeping="all")
    first, lost, last = three_batches(server.pk)
    writer.append([first])
    recorder = Recorder(url=url)
    recorder.step()
    recorder.close()
    writer.append([lost])
    valkey.flush()
    writer.append([last, last])
    successor = Recorder(url=url)
    successor.step()
    successor.close()
    gap = Gap.objects.get()
    assert (gap.reason, gap.after_id, gap.before_id) == ("lost", first.last_id, last.events[0].id)
    assert (gap.lost, gap.lost_kind) == (None, "unknown")
    assert gap.ended_at is not None
    assert gap.started_at <= gap.ended_at


@pytest.mark.parametrize("known_by", ["event", "gap"])
def test_a_new_recorder_without_a_mark_makes_no_gap_where_all_is_stored_or_told(
    url: str, valkey: Valkey, writer: StreamWriter, known_by: str
) -> None:
    server = make_server(event_keeping="all")
    first, told, last = three_batches(server.pk)
    if known_by == "event":
        writer.append([first, told])
    else:
        note = replace(gap_note(first.last_id, before=told.last_id + 1, lost=2), server_id=server.pk)
        writer.append([first, replace(note, before_count=1, numbered=2)])
    recorder = Recorder(url=url)
    recorder.step()
    recorder.close()
    gaps = Gap.objects.count()
    valkey.flush()
    writer.append([last])
    successor = Recorder(url=url)
    successor.step()
    successor.close()
    assert Gap.objects.count() == gaps


def begins_anew(url: str, server: Server) -> EventBatch:
    """A restarted listener's first events in a Valkey that knows nothing, and what a new recorder makes of
    them, twice.
    """
    began = ids.next()
    anew = batch(server.pk, raw("Hangup"), after=began)
    with valkey_client(url) as client:
        StreamWriter(client, maxlen=1000).append([anew])
        for _ in range(2):
            recorder = Recorder(url=url)
            recorder.step()
            recorder.close()
            client.delete(RECORDED)  # as when the acknowledgement didn't arrive
            client.xgroup_setid(STREAM, GROUP, "0")
    return anew


def stored_before(url: str, writer: StreamWriter, *entries: Entry) -> None:
    writer.append(entries)
    recorder = Recorder(url=url)
    recorder.step()
    recorder.close()


@pytest.mark.parametrize("lasts", [False, True], ids=["killed", "stopped"])
def test_where_the_listener_was_restarted_too_the_store_tells_that_a_chain_is_not_the_first(
    url: str, valkey: Valkey, writer: StreamWriter, lasts: bool
) -> None:
    server = make_server(event_keeping="all")
    first = batch(server.pk)
    note = replace(gap_note(first.last_id), server_id=server.pk, reason="listener_stopped", before_count=1)
    stored_before(url, writer, first, *([note] if lasts else []))
    valkey.flush()
    anew = begins_anew(url, server)
    gap = Gap.objects.get()
    assert gap.reason == ("listener_stopped" if lasts else "lost")
    assert (gap.after_id, gap.before_id) == (first.last_id, anew.events[0].id)
    assert (gap.lost, gap.lost_kind) == (None, "unknown")
    assert gap.ended_at == id_moment(anew.after_id)


@pytest.mark.parametrize("keeping", ["all", "none"], ids=["a new server", "nothing of it is kept"])
def test_a_server_of_which_no_event_is_stored_begins_without_a_gap(
    url: str, valkey: Valkey, writer: StreamWriter, keeping: str
) -> None:
    server, other = make_server(event_keeping=keeping), make_server(name="Oslo", event_keeping="all")
    stored_before(url, writer, batch(other.pk))
    gaps = 0
    if keeping == "none":
        unkept = batch(server.pk)
        note = replace(gap_note(unkept.last_id, before=ids.next()), server_id=server.pk, before_count=1)
        stored_before(url, writer, unkept, note)
        gaps = 1
    valkey.flush()
    begins_anew(url, server)
    assert Gap.objects.count() == gaps


def test_a_server_of_which_nothing_is_stored_has_a_gap_without_a_number(
    writer: StreamWriter, recorder: Recorder
) -> None:
    server = make_server(event_keeping="none")
    _, _, last = three_batches(server.pk)
    writer.append([last])
    recorder.step()
    gap = Gap.objects.get()
    assert (gap.after_id, gap.lost, gap.lost_kind) == (0, None, "unknown")
    assert gap.started_at == gap.ended_at == id_moment(last.after_id)


def test_pending_entries_that_were_cut_are_acknowledged_and_told(
    writer: StreamWriter, redis_client: redis.Redis, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = batch(1)
    writer.append([first])
    recorder.step()
    lost = batch(1, after=first.last_id)
    writer.append([lost])

    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(recorder, "_insert", away)
        with pytest.raises(OperationalError):
            recorder.step()
    redis_client.xtrim(STREAM, maxlen=0, approximate=False)
    writer.append([batch(1, after=lost.last_id)])
    while recorder.step() or pending(redis_client):
        pass
    recorder.step()
    assert Event.objects.count() == 2
    assert Gap.objects.get().after_id == first.last_id


def test_pages_are_told_after_the_commit_one_message_for_a_server(
    writer: StreamWriter, recorder: Recorder
) -> None:
    layer = get_channel_layer()

    async def heard(work: Any) -> list[dict[str, Any]]:
        import asyncio

        channel = await layer.new_channel()
        await layer.group_add("events.1", channel)
        await asyncio.to_thread(work)
        messages = [await asyncio.wait_for(layer.receive(channel), 10)]
        try:
            messages.append(await asyncio.wait_for(layer.receive(channel), 0.2))
        except TimeoutError:
            pass
        await layer.flush()
        return messages

    one, two, other = batch(1, raw("A")), batch(1, raw("B")), batch(2, raw("C"))
    writer.append([one, other, EventBatch(1, one.last_id, one.last_count, two.events)])

    def record() -> None:
        try:
            recorder.step()
        finally:
            recorder._runner.close()
            connection.close()

    [message] = async_to_sync(heard)(record)
    assert message["type"] == "events.batch"
    assert (message["server"], message["after"], message["last"]) == (1, 0, two.last_id)
    assert [row[NAME] for row in message["items"]] == ["A", "B"]
    assert [row[ID] for row in message["items"]] == [one.last_id, two.last_id]


def test_one_recorder_is_active_and_another_takes_over(url: str) -> None:
    one, other = Recorder(url=url), Recorder(url=url)
    assert one.active()
    assert not other.active()
    assert one.active()
    one.close()
    assert other.active()
    other.close()


def test_a_step_that_outlasts_its_lease_leaves_no_false_gap(
    url: str, writer: StreamWriter, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, next_one = Recorder(url=url), Recorder(url=url)
    first = batch(1)
    second = batch(1, after=first.last_id)
    third = batch(1, after=second.last_id)
    store = slow._store

    def store_slowly(entries: Sequence[Entry], aside: list[Aside], *, again: bool) -> Any:
        stored = store(entries, aside, again=again)
        redis_client.delete(slow._lease.key)  # as if it had expired
        writer.append([second])
        assert next_one.active()
        assert [next_one.step(), next_one.step()] == [1, 1]  # what the slow one has read, and the second
        return stored

    monkeypatch.setattr(slow, "_store", store_slowly)
    writer.append([first])
    assert slow.active()
    slow.step()
    assert not slow.active()
    assert StreamReader(redis_client).recorded() == {1: mark_of(second)}
    next_one.close()
    assert slow.active()  # the slow one takes over again
    monkeypatch.undo()
    writer.append([third])
    slow.step()
    assert Event.objects.count() == 3
    assert not Gap.objects.exists()
    slow.close()


@pytest.fixture
def running(url: str) -> Iterator[Recorder]:
    """A recorder in a thread, as `listen` has it."""
    recorder = Recorder(url=url)
    stop = threading.Event()

    def work() -> None:
        try:
            recorder.run(stop)
        finally:
            recorder.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield recorder
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_a_running_recorder_survives_a_killed_valkey_and_stores_the_rest(
    valkey: Valkey, running: Recorder, writer: StreamWriter, caplog: pytest.LogCaptureFixture
) -> None:
    first = numbered(1, range(10))
    writer.append([first])
    wait_until(lambda: Event.objects.count() == 10, seconds=15, what="the first events are stored")
    valkey.kill()
    wait_until(lambda: "is away" in caplog.text, seconds=15, what="the outage is logged")
    valkey.start()
    wait_until(
        lambda: writer.append([numbered(1, range(10, 20), after=first.last_id)]) is None,
        seconds=5,
        what="written",
    )
    wait_until(lambda: Event.objects.count() >= 20, seconds=30, what="the rest is stored")
    wait_until(lambda: "over after" in caplog.text, seconds=5, what="the recovery is logged")
    assert Event.objects.count() == 20
    assert caplog.text.count("is away") == 2  # the beginning and the end, not each attempt


def test_events_older_than_the_retention_go_in_small_batches(
    url: str, settings: Any, writer: StreamWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AMIWEB_EVENT_RETENTION_DAYS = 7
    monkeypatch.setattr(recorder_module, "_PRUNE_ROWS", 10)
    now = time.time()
    old = IdSource(1, clock=lambda: now - 8 * 86400)
    young = IdSource(1, clock=lambda: now - 6 * 86400)
    writer.append(
        [
            EventBatch(1, 0, 0, [stamped(event_id=old.next()) for _ in range(25)]),
            EventBatch(1, 0, 0, [stamped(event_id=young.next()) for _ in range(5)]),
        ]
    )
    recorder = Recorder(url=url)
    recorder.step()
    counts = []
    for _ in range(5):
        recorder.prune()
        counts.append(Event.objects.count())
    recorder.close()
    assert counts == [20, 10, 5, 5, 5]
    assert Event.objects.earliest("id").pk >= first_id_at(datetime.now(UTC) - timedelta(days=7))


def test_the_status_tells_what_was_done_and_what_waits(
    writer: StreamWriter, redis_client: redis.Redis, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recorder.status()["depth"] is None  # it stands by
    assert recorder.active()
    assert (recorder.status()["lag"], recorder.status()["depth"]) == (0.0, 0)
    redis_client.xadd(STREAM, {b"s": b"1", b"d": b"\xc1 poison"})
    first = batch(1, raw("Hangup"), raw("VarSet"))
    writer.append([first])
    assert recorder.status()["depth"] == 2
    recorder.step()
    writer.append([batch(1, after=first.last_id), batch(1, after=first.last_id)])
    wait_until(lambda: recorder.status()["lag"] > 0, seconds=5, what="the entries have waited")
    with monkeypatch.context() as patched:
        patched.setattr(recorder_module, "events_insert", raise_away)
        with pytest.raises(OperationalError):
            recorder.step()
    status = recorder.status()
    assert (status["active"], status["depth"], status["put_aside"]) == (True, 2, 1)
    assert (status["stored"], status["not_kept"], status["refused"]) == (1, 1, 0)
    assert status["rate"] == 0.2


def test_the_status_tells_how_long_a_turn_lasts(running: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def turn() -> float:
        return float(running.status()["turn"])

    held, entered = threading.Event(), threading.Event()
    step = running.step
    monkeypatch.setattr(running, "step", lambda **given: entered.set() or held.wait(30) and step(**given))
    assert entered.wait(15)
    wait_until(lambda: turn() > 1.0, seconds=15, what="the turn doesn't end")
    held.set()
    wait_until(lambda: turn() < 1.0, seconds=15, what="the next turn has begun")


def raise_away(*args: Any, **arguments: Any) -> None:
    raise OperationalError("the database is away")


def test_what_is_not_kept_is_told_to_pages_marked_and_not_stored(
    writer: StreamWriter, recorder: Recorder
) -> None:
    server = make_server(event_keeping="chosen", event_names="!Hangup")
    sent = batch(server.pk, raw("Hangup"), raw("VarSet"))
    writer.append([sent])
    told: list[Any] = []
    with patch.object(recorder, "_publish", told.extend):
        recorder.step()
    assert [event.name for event in Event.objects.all()] == ["VarSet"]
    [(entry, rows)] = told
    assert mark_of(entry).id == sent.last_id
    assert [json.loads(row[JSON])["kept"] for row in rows] == [False, True]


def test_a_snapshot_is_stored_once(writer: StreamWriter, recorder: Recorder) -> None:
    items = [[("Event", "CoreShowChannel"), ("Channel", "PJSIP/\0caf\udce9")]]
    note = SnapshotNote(ids.next(), 1, 5, int(time.time() * 1_000_000), 5, "CoreShowChannels", items, "")
    writer.append([note, note])
    recorder.step()
    snapshot = Snapshot.objects.get()
    assert (snapshot.after_id, snapshot.action, snapshot.error) == (5, "CoreShowChannels", "")
    assert snapshot.items == [[["Event", "CoreShowChannel"], ["Channel", "PJSIP/caf\\udce9"]]]


def test_days_that_cannot_be_made_hold_up_nothing_and_are_tried_again(
    writer: StreamWriter,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(recorder_module, "_PRUNE_INTERVAL", 0.0)
    recorder.step()
    with monkeypatch.context() as patched:
        patched.setattr(recorder_module, "partitions_ensure", lambda now: raise_away())
        recorder.prune()
        recorder.prune()
    writer.append([batch(1)])
    recorder.step()
    recorder.prune()
    assert Event.objects.count() == 1
    assert caplog.text.count("days can't be made") == 2  # the beginning and the end


def test_sent_is_stored_and_counted_as_lost_exactly_whatever_was_cut_or_refused(
    writer: StreamWriter, redis_client: redis.Redis, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recorder.active()
    real = recorder_module.event_row

    def with_bad_ones(server_id: int, stamped: StampedEvent) -> EventRow:
        row = real(server_id, stamped)
        return row._replace(id=2**63) if row.name == "Bad" else row

    monkeypatch.setattr(recorder_module, "event_row", with_bad_ones)
    sent = after = 0

    def send(*data: bytes) -> None:
        nonlocal sent, after
        one = batch(1, *data, after=after, count=sent)
        writer.append([one])
        sent, after = one.last_count, one.last_id

    for number in range(40):
        send(*[raw("Good")] * (number % 7 + 1), *[raw("Bad")] * (number % 5 == 0))
        if number == 3:
            recorder.step()
        if number in (10, 25):  # the database is away, and the stream is full
            redis_client.xtrim(STREAM, maxlen=2, approximate=False)
        if number == 15:
            while recorder.step():
                pass
        if number == 30:  # an entry that nobody can read any more
            [(entry_id, fields)] = redis_client.xrevrange(STREAM, count=1)
            redis_client.xdel(STREAM, entry_id)
            redis_client.xadd(STREAM, {**fields, b"d": b"\xc1 poison"})
        if number == 35:  # killed between commit and acknowledgement
            with monkeypatch.context() as patched:
                patched.setattr(recorder._reader, "ack", raise_away)
                with pytest.raises(OperationalError):
                    recorder.step()
    while recorder.step():
        pass
    reasons = [gap.reason for gap in Gap.objects.order_by("id")]
    assert reasons == [Gap.Reason.OVERLOAD, Gap.Reason.OVERLOAD, Gap.Reason.LOST]
    lost = list(Gap.objects.values_list("lost", "lost_kind"))
    assert {kind for _, kind in lost} == {"exact"}
    assert len(lost) == 3
    status = recorder.status()
    assert sent == Event.objects.count() + sum(number for number, _ in lost) + status["refused"]
    assert status["refused"] > 0
    assert status["put_aside"] == status["refused"] + 1


def test_what_is_put_aside_is_counted_once_whoever_finds_it(url: str, writer: StreamWriter) -> None:
    slow, other = Recorder(url=url), Recorder(url=url)
    assert slow.active()
    writer._client.xadd(STREAM, {b"s": b"1", b"d": b"\xc1 poison"})
    decode = slow._decode

    def decode_slowly(found: Any, aside: list[Aside], damaged: set[int]) -> Any:
        entries = decode(found, aside, damaged)
        writer._client.delete(slow._lease.key)  # as if it had expired
        assert other.active()
        assert other.step() == 1
        return entries

    with patch.object(slow, "_decode", decode_slowly):
        slow.step()
    assert writer._client.hgetall(COUNTERS) == {b"put_aside": b"1", b"refused": b"0"}
    assert writer._client.xlen(ASIDE) == 1
    slow.close()
    other.close()


def test_a_clock_that_jumped_ahead_removes_nothing(url: str, writer: StreamWriter) -> None:
    ahead = Recorder(url=url, clock=lambda: time.time() + 400 * 86_400)
    writer.append([numbered(1, range(10))])
    ahead.step()
    ahead.prune()
    assert Event.objects.count() == 10
    ahead.close()
