"""How long events are kept: by days and by size, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from ami_integration.events.ids import first_id_at, id_moment
from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.events.partitions import partitions, partitions_ensure
from ami_integration.events.retention import GIGABYTE, Retention, store_holding, stored_bytes
from ami_integration.events.rows import event_row
from ami_integration.events.storage import events_insert
from ami_integration.events.stream import StampedEvent
from ami_integration.events.tables import WORDS_TABLE, day_start, is_partitioned, partition_name
from tests.events.making import raw

pytestmark = pytest.mark.django_db

NOW = day_start(datetime.now(UTC)) + timedelta(hours=12)


def store(days_ago: float, number: int, *, size: int = 0) -> None:
    """Store events of one moment."""
    at = NOW - timedelta(days=days_ago)
    rows = []
    for n in range(number):
        stamped = StampedEvent(
            first_id_at(at) + n, int(at.timestamp()), raw("X", CallerIDName="Ada", Filler="x" * size)
        )
        rows.append(event_row(1, stamped))
    events_insert(rows=rows, again=True)


def ages() -> dict[int, int]:
    """Days ago → events."""
    found: dict[int, int] = {}
    for event_id in Event.objects.values_list("id", flat=True):
        days = round((NOW - id_moment(event_id)) / timedelta(days=1))
        found[days] = found.get(days, 0) + 1
    return found


def test_what_is_older_than_the_days_leaves_and_what_is_younger_stays() -> None:
    partitions_ensure(now=NOW - timedelta(days=9))
    for days_ago in (10, 9, 8, 6, 1):
        store(days_ago, 3)
    retention = Retention(days=7, most_bytes=10 * GIGABYTE)
    pruned = retention.prune(now=NOW)
    assert ages() == {6: 3, 1: 3}
    assert not pruned.more
    if is_partitioned():
        assert pruned.partitions[:2] == tuple(partition_name(NOW - timedelta(days=d)) for d in (10, 9))
        assert pruned.events == 0
    else:
        assert pruned.events == 9
    assert retention.prune(now=NOW).partitions == ()


def test_rows_leave_in_small_batches_and_the_oldest_first() -> None:
    store(30, 25)  # in no day's partition
    store(1, 2)
    retention = Retention(days=7, most_bytes=10 * GIGABYTE, batch=10)
    counts = []
    while True:
        more = retention.prune(now=NOW).more
        counts.append(Event.objects.count())
        if not more:
            break
    assert counts == [17, 7, 2]


def test_a_store_that_is_too_large_loses_its_oldest_days_whatever_their_age() -> None:
    partitions_ensure(now=NOW - timedelta(days=4))
    for days_ago in (5, 4, 3, 0):
        store(days_ago, 400, size=2_000)
    before = stored_bytes()
    retention = Retention(days=7, most_bytes=before - 200_000, batch=100)
    if not is_partitioned():
        while retention.prune(now=NOW).more:
            pass
        assert stored_bytes() <= before - 200_000
        left = ages()
        assert left[5] < 400
        assert left == {5: left[5], 4: 400, 3: 400, 0: 400}
        return
    assert retention.prune(now=NOW).partitions == (partition_name(NOW - timedelta(days=5)),)
    assert ages() == {4: 400, 3: 400, 0: 400}


def test_if_the_present_day_alone_is_too_large_its_oldest_events_leave_once_for_each_growth() -> None:
    if not is_partitioned():
        return
    for hours in range(11, -1, -1):
        store(hours / 24, 100, size=2_000)
    bound = stored_bytes() * 8 // 10
    retention = Retention(days=7, most_bytes=bound, batch=100)
    while retention.prune(now=NOW).more:
        pass
    left = Event.objects.count()
    assert 700 <= left < 1_100
    assert Event.objects.earliest("id").pk > first_id_at(NOW - timedelta(hours=11))
    assert Event.objects.filter(id__gte=first_id_at(NOW - timedelta(hours=6))).count() == 700
    # The file isn't smaller for that; as long as it doesn't grow, nothing more is removed.
    assert retention.prune(now=NOW).events == 0
    assert Event.objects.count() == left


def test_a_few_strays_from_long_ago_do_not_keep_the_present_day_from_being_cut() -> None:
    if not is_partitioned():
        return
    store(5, 70)  # in no day's partition
    for hours in range(11, -1, -1):
        store(hours / 24, 100, size=2_000)
    retention = Retention(days=7, most_bytes=stored_bytes() // 2, batch=100)
    while retention.prune(now=NOW).more:
        pass
    assert 500 <= Event.objects.count() <= 750  # of 1,270, by 0.5 × 0.95
    assert Event.objects.earliest("id").pk > first_id_at(NOW - timedelta(hours=11))
    assert Event.objects.filter(id__gte=first_id_at(NOW - timedelta(hours=4))).count() == 500


def test_words_leave_with_their_events() -> None:
    if is_partitioned():
        return
    store(30, 5)
    store(1, 1)
    Retention(days=7, most_bytes=10 * GIGABYTE).prune(now=NOW)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {WORDS_TABLE} WHERE {WORDS_TABLE} MATCH 'ada'")  # noqa: S608
        assert cursor.fetchone() == (1,)
        cursor.execute(f"INSERT INTO {WORDS_TABLE}({WORDS_TABLE}) VALUES ('integrity-check')")  # noqa: S608


def test_gaps_and_snapshots_leave_by_their_age_and_open_gaps_stay() -> None:
    for number, (days_ago, ends) in enumerate(((8, 7.5), (8, None), (6, 5.5))):
        at = NOW - timedelta(days=days_ago)
        Gap.objects.create(
            id=first_id_at(at) + number,
            server_id=1,
            reason=Gap.Reason.OVERLOAD,
            started_at=at,
            ended_at=None if ends is None else NOW - timedelta(days=ends),
            after_id=number,
        )
        Snapshot.objects.create(
            id=first_id_at(at) + number, server_id=1, at=at, action="X", items=[], after_id=1
        )
    Retention(days=7, most_bytes=10 * GIGABYTE).prune(now=NOW)
    assert list(Gap.objects.order_by("id").values_list("after_id", flat=True)) == [1, 2]
    assert Snapshot.objects.count() == 1


def test_the_holding_tells_size_bounds_days_and_strays() -> None:
    store(400, 3)
    holding = store_holding()
    assert (holding.days, holding.most_bytes) == (7, 20 * GIGABYTE)
    assert 0 < holding.bytes < GIGABYTE
    assert holding.percent == 0
    assert holding.oldest == NOW - timedelta(days=400)
    if is_partitioned():
        assert holding.strays == 3
        assert partition_name(datetime.now(UTC)) in [one.name for one in partitions()]
        assert holding.partitions[-1].day is None
    else:
        assert holding.strays == 0
        assert holding.partitions == ()
