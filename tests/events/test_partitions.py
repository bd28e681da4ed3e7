"""The days of the events: made ahead, filled with strays, dropped. SQLite has none, and says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection, connections

from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Event
from ami_integration.events.partitions import (
    partition_drop,
    partitions,
    partitions_ensure,
    strays_count,
)
from ami_integration.events.tables import TABLE, day_start, is_partitioned, partition_name

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
LATER = day_start(NOW) + timedelta(days=30, hours=5)


def store(moment: datetime, number: int = 0) -> Event:
    return Event.objects.create(
        id=first_id_at(moment) + number, server_id=1, at=moment, name="X", tokens="ada", headers=[]
    )


def places() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT tableoid::regclass::text FROM {TABLE} ORDER BY id")  # noqa: S608
        return [name for (name,) in cursor.fetchall()]


def test_without_partitions_there_is_nothing_to_make_or_to_report() -> None:
    if is_partitioned():
        return
    assert partitions_ensure(now=LATER) == []
    assert partitions() == []
    assert strays_count() == 0


def test_days_from_yesterday_to_three_ahead_are_made_once() -> None:
    if not is_partitioned():
        return
    expected = [partition_name(LATER + timedelta(days=days)) for days in range(-1, 4)]
    assert partitions_ensure(now=LATER) == expected
    assert partitions_ensure(now=LATER) == []
    assert partitions_ensure(now=LATER + timedelta(days=1)) == [partition_name(LATER + timedelta(days=4))]
    there = partitions()
    assert [one.name for one in there if one.name in expected] == expected
    assert there[-1].day is None
    assert all(one.bytes > 0 for one in there)


def test_strays_are_counted_and_move_into_their_day_when_it_is_made() -> None:
    if not is_partitioned():
        return
    for number, moment in enumerate((LATER, LATER + timedelta(days=2), LATER + timedelta(days=100))):
        store(moment, number)
    assert strays_count() == 3
    partitions_ensure(now=LATER)
    assert strays_count() == 1
    assert places()[:2] == [partition_name(LATER), partition_name(LATER + timedelta(days=2))]
    assert Event.objects.count() == 3
    # A made day has all indexes, and takes what comes.
    store(LATER, 7)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_indexes WHERE tablename = %s", [partition_name(LATER)])
        made = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM pg_indexes WHERE tablename = %s", [partition_name(NOW)])
        assert cursor.fetchone() == made
    assert places()[:2] == [partition_name(LATER)] * 2


def test_a_dropped_day_takes_its_events_along_and_no_others() -> None:
    if not is_partitioned():
        return
    partitions_ensure(now=LATER)
    kept, gone = store(NOW), store(LATER)
    partition_drop(name=partition_name(LATER))
    assert list(Event.objects.all()) == [kept]
    assert gone.pk > kept.pk
    assert partition_name(LATER) not in [one.name for one in partitions()]


@pytest.mark.django_db(transaction=True)
def test_a_day_that_somebody_reads_is_not_waited_for_long() -> None:
    if not is_partitioned():
        return
    partitions_ensure(now=LATER)
    reader = connections.create_connection("default")
    try:
        reader.set_autocommit(False)
        with reader.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {partition_name(LATER)}")  # noqa: S608
        with pytest.raises(OperationalError, match="lock timeout"):
            partition_drop(name=partition_name(LATER))
    finally:
        reader.rollback()
        reader.close()
    for partition in partitions():
        if partition.day is not None and partition.day > LATER - timedelta(days=2):
            partition_drop(name=partition.name)
