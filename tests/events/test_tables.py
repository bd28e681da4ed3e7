"""How the table of events stands in the database after the migration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection

from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Event
from ami_integration.events.partitions import partitions_ensure
from ami_integration.events.tables import (
    DEFAULT_PARTITION,
    TABLE,
    WORDS_TABLE,
    is_partitioned,
    partition_days,
    partition_name,
)

pytestmark = pytest.mark.django_db


def test_the_migration_makes_the_table_of_events_by_hand() -> None:
    """After `makemigrations` wrote 0001_initial anew, `CreateModel` of Event is to be `CreateEventTable`."""
    with connection.cursor() as cursor:
        if is_partitioned():
            cursor.execute("SELECT relkind FROM pg_class WHERE relname = %s", [TABLE])
            assert cursor.fetchall() == [("p",)]
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE name = %s", [WORDS_TABLE])
            assert cursor.fetchall() == [(WORDS_TABLE,)]


def test_the_models_and_the_migration_agree() -> None:
    call_command("makemigrations", "ami_integration", check=True, dry_run=True, verbosity=0)


def test_events_lie_in_the_partition_of_their_day_and_strays_in_the_default_one() -> None:
    if not is_partitioned():
        return  # one table for all days
    now = datetime.now(UTC)
    partitions_ensure(now=now)  # the migration may have run before midnight
    days = partition_days(now)
    moments = [*(day + timedelta(hours=1) for day in days), now + timedelta(days=400)]
    for moment in moments:
        Event.objects.create(id=first_id_at(moment), server_id=1, at=moment, name="X", headers=[])
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT tableoid::regclass::text FROM {TABLE} ORDER BY id")  # noqa: S608
        names = [name for (name,) in cursor.fetchall()]
    assert names == [*(partition_name(day) for day in days), DEFAULT_PARTITION]
    Event.objects.all().delete()
