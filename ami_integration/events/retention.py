"""How long events are kept: some days or some gigabytes, whichever comes first.

- PostgreSQL: a day leaves as a whole, by dropping its partition, which costs nothing and gives the disk back.
  If the present day alone is too large, its oldest events leave in small batches; their room is used again,
  so the store stays near its bound.
- SQLite: the oldest events leave in small batches, their words with them.

Nobody who stores or reads waits for it long: batches are transactions of their own, and what can't be locked
within 2 s is tried again a minute later.
"""

# ruff: noqa: S608 - the names in these statements come from `ami_integration.events.tables`

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from ami_integration.events.ids import first_id_at, id_moment
from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.events.partitions import (
    Partition,
    partition_drop,
    partitions,
    strays_count,
)
from ami_integration.events.tables import DEFAULT_PARTITION, TABLE, is_partitioned, partition_bounds

GIGABYTE = 2**30
#: Rows of one batch.
BATCH = 2_000
#: What a store that is too large is brought down to, as a part of its bound, so that it isn't at the bound
#: again at once.
_DOWN_TO = 0.95
#: Of the store about so many bytes are read to see how its events lie in time.
_SAMPLE_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Pruned:
    """What one call has removed. `more`: there is more to be removed at once."""

    events: int = 0
    partitions: tuple[str, ...] = ()
    more: bool = False


class Retention:
    """Removes what has had its time, a little at each call.

    Args:
        days, most_bytes: the settings by default.
        batch: rows that one call removes at most, where it removes rows.
    """

    def __init__(self, *, days: int | None = None, most_bytes: int | None = None, batch: int = BATCH) -> None:
        self._days = days
        self._most_bytes = most_bytes
        self._batch = batch
        # Deleted rows don't make a table smaller at once, so the same excess isn't removed twice: only when
        # it has grown beyond this.
        self._excess_handled = 0
        self._delete_below: int | None = None  # a bound by size that isn't reached yet

    @property
    def days(self) -> int:
        return settings.AMIWEB_EVENT_RETENTION_DAYS if self._days is None else self._days

    @property
    def most_bytes(self) -> int:
        return settings.AMIWEB_EVENT_RETENTION_GB * GIGABYTE if self._most_bytes is None else self._most_bytes

    def prune(self, *, now: datetime) -> Pruned:
        """Remove one batch, or the days that are due. Raises django.db.Error.

        Args:
            now: the present, aware.
        """
        cutoff = now - timedelta(days=self.days)
        if is_partitioned():
            dropped = self._drop_days(cutoff, now)
            removed = _delete_below(DEFAULT_PARTITION, first_id_at(cutoff), self._batch)
            removed += self._delete_by_size(now)
        else:
            dropped = ()
            removed = self._delete_rows(cutoff)
        more = removed >= self._batch
        if not more:
            _remove_notes(cutoff)
        return Pruned(removed, dropped, more)

    # PostgreSQL

    def _drop_days(self, cutoff: datetime, now: datetime) -> tuple[str, ...]:
        there = partitions()
        size = sum(partition.bytes for partition in there)
        dropped = []
        for partition in there:
            if partition.day is None or partition_bounds(partition.day)[1] > first_id_at(now):
                continue  # today, or days to come
            if partition.day + timedelta(days=1) <= cutoff or size > self.most_bytes:
                partition_drop(name=partition.name)
                size -= partition.bytes
                dropped.append(partition.name)
        return tuple(dropped)

    def _delete_by_size(self, now: datetime) -> int:
        """Today's oldest events, while the store is too large without any other day."""
        if self._delete_below is None:
            size = stored_bytes()
            if size <= self.most_bytes:
                self._excess_handled = 0
                return 0
            if size <= self._excess_handled:
                return 0
            share = 1 - self.most_bytes * _DOWN_TO / size
            self._delete_below = min(_id_at_share(share, size), first_id_at(now))
            self._excess_handled = int(size * 1.01)
        removed = _delete_below(TABLE, self._delete_below, self._batch)
        if removed < self._batch:
            self._delete_below = None
        return removed

    # SQLite

    def _delete_rows(self, cutoff: datetime) -> int:
        removed = _delete_below(TABLE, first_id_at(cutoff), self._batch)
        # Pages that are free again don't count, so each batch shows at once.
        if not removed and stored_bytes() > self.most_bytes:
            removed = _delete_below(TABLE, first_id_at(timezone.now()), self._batch)
        return removed


def _delete_below(table: str, end: int, limit: int) -> int:
    """Remove the oldest rows below an id; returns how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE id < %s ORDER BY id LIMIT %s)",
            [end, limit],
        )
        return int(cursor.rowcount)


def _id_at_share(share: float, size: int) -> int:
    """The id below which this share of all events lies, about; PostgreSQL only.

    By the events, not by the time between the first and the last: a few strays from long ago would stretch
    that. Not all are counted: that takes as long as reading them.

    Args:
        share: 0 to 1.
        size: of the store, in bytes.
    """
    percent = min(100.0, 100 * _SAMPLE_BYTES / size)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT percentile_disc(%s) WITHIN GROUP (ORDER BY id) FROM {TABLE} TABLESAMPLE SYSTEM (%s)",
            [share, percent],
        )
        (found,) = cursor.fetchone()
    return int(found or 0)


def _remove_notes(cutoff: datetime) -> None:
    """Gaps and snapshots leave by their age alone; they are small, and tell of events that are gone."""
    Gap.objects.filter(id__lt=first_id_at(cutoff), ended_at__lt=cutoff).delete()
    Snapshot.objects.filter(id__lt=first_id_at(cutoff)).delete()


def _oldest_id() -> int:
    return Event.objects.order_by("id").values_list("id", flat=True).first() or 0


def stored_bytes() -> int:
    """What the events take on disk, with their indexes; on SQLite the whole database, mostly that."""
    if is_partitioned():
        return sum(partition.bytes for partition in partitions())
    with connection.cursor() as cursor:
        numbers = []
        for name in ("page_size", "page_count", "freelist_count"):
            cursor.execute(f"PRAGMA {name}")
            numbers.append(int(cursor.fetchone()[0]))
    page, pages, free = numbers
    return page * (pages - free)


@dataclass(frozen=True)
class Holding:
    """What the store holds today.

    Attributes:
        bytes, most_bytes: its size and its bound; `days` the other bound.
        oldest: when the oldest event was; None: there is none.
        partitions: PostgreSQL's days; none on SQLite.
        strays: events in the default partition, up to 100,000.
    """

    bytes: int
    most_bytes: int
    days: int
    oldest: datetime | None
    partitions: tuple[Partition, ...]
    strays: int

    @property
    def percent(self) -> int:
        """How full it is, of its bound by size."""
        return round(100 * self.bytes / self.most_bytes) if self.most_bytes else 100


def store_holding() -> Holding:
    """Today's size of the store, beside its settings."""
    retention = Retention()
    oldest = _oldest_id()
    there = tuple(partitions())
    return Holding(
        bytes=sum(partition.bytes for partition in there) if there else stored_bytes(),
        most_bytes=retention.most_bytes,
        days=retention.days,
        oldest=id_moment(oldest) if oldest else None,
        partitions=there,
        strays=strays_count(),
    )
