"""The days of the events on PostgreSQL: made ahead, looked at, dropped.

A partition that isn't there when its day begins would not stop anything (the default one takes what fits
nowhere), but what lies in the default one can't leave by dropping a table. So days are made three ahead, and
what has strayed is moved when its day is made, and reported while it is there.
"""

# ruff: noqa: S608 - the names in these statements come from `ami_integration.events.tables`

from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection, transaction

from ami_integration.events.tables import (
    DEFAULT_PARTITION,
    TABLE,
    is_partitioned,
    partition_bounds,
    partition_days,
    partition_name,
)

#: Seconds to wait for those who read just now. Whoever waits for a lock on the table makes all others wait.
_LOCK_SECONDS = 2
#: Strays that are counted at most.
MOST_STRAYS = 100_000


@dataclass(frozen=True)
class Partition:
    """One day of the store.

    Attributes:
        day: its beginning, in UTC; None for the default partition.
        bytes: of the table and its indexes.
    """

    name: str
    day: datetime | None
    bytes: int


def partitions_ensure(*, now: datetime) -> list[str]:
    """Make the partitions from yesterday to three days ahead that are missing; returns their names.

    What lies in the default partition and belongs to one of them moves there. Raises django.db.Error; what
    was made until then stays.
    """
    if not is_partitioned():
        return []
    there = {partition.name for partition in partitions()}
    missing = [day for day in partition_days(now) if partition_name(day) not in there]
    for day in missing:
        _make(day)
    return [partition_name(day) for day in missing]


def _make(day: datetime) -> None:
    """Make a day beside the table, fill it, and attach it: that locks only the default partition."""
    name = partition_name(day)
    first, end = partition_bounds(day)
    within = f"id >= {first} AND id < {end}"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
        cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING ALL)")
        # With it nothing has to be read to see that all rows belong there.
        cursor.execute(f"ALTER TABLE {name} ADD CONSTRAINT of_its_day CHECK ({within})")
        cursor.execute(
            f"WITH strays AS (DELETE FROM {DEFAULT_PARTITION} WHERE {within} RETURNING *) "
            f"INSERT INTO {name} SELECT * FROM strays"
        )
        cursor.execute(f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({end})")
        cursor.execute(f"ALTER TABLE {name} DROP CONSTRAINT of_its_day")


def partitions() -> list[Partition]:
    """All partitions with their sizes, the oldest day first and the default one last; none on SQLite."""
    if not is_partitioned():
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_inherits i "
            "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass",
            [TABLE],
        )
        found = [Partition(name, _day_of(name), size) for name, size in cursor.fetchall()]
    return sorted(found, key=lambda one: (one.day is None, one.day or datetime.min, one.name))


def _day_of(name: str) -> datetime | None:
    text = name.removeprefix(f"{TABLE}_")
    if not text.isdigit():
        return None
    return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC)


def partition_drop(*, name: str) -> None:
    """Drop a day with all that is in it. Raises django.db.Error, also when somebody reads it for too long."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
        cursor.execute(f"DROP TABLE {name}")


def strays_count() -> int:
    """How many events lie in the default partition, as far as 100,000: their clocks are wrong, or days were
    missing. 0 on SQLite, which has no days.
    """
    if not is_partitioned():
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {DEFAULT_PARTITION} LIMIT {MOST_STRAYS}) AS strays"
        )
        (number,) = cursor.fetchone()
    return int(number)
