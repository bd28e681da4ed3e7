"""How the table of events is made: what Django's migrations can't say.

- PostgreSQL: partitioned by range of the id, which carries the time, so that old days leave by dropping a
  table; and a GIN index over the words of `tokens`.
- SQLite: an FTS5 table over `tokens`, kept by triggers in the transaction of whoever writes.

The words are made in Python (`ami_integration.events.words`) and taken as they are on both sides, so that
both find the same: PostgreSQL's own parser would make other words of `100-00000001` than FTS5 does.
"""

# ruff: noqa: S608 - the names in these statements are constants of this module

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, migrations

from ami_integration.events.ids import first_id_at

TABLE = "ami_integration_event"
DEFAULT_PARTITION = f"{TABLE}_default"
#: SQLite's index of the words; its rowid is the event's id.
WORDS_TABLE = f"{TABLE}_words"
#: PostgreSQL's form of the words, as its index has it; queries must use the same.
WORDS_VECTOR = "array_to_tsvector(string_to_array(tokens, ' '))"

#: Partitions that are always there, in days from today: for ids that come late, and before the day begins.
DAYS_BEHIND, DAYS_AHEAD = 1, 3


def is_partitioned() -> bool:
    """Whether this database cuts the events into days."""
    return connection.vendor == "postgresql"


def day_start(moment: datetime) -> datetime:
    """The beginning of a moment's day, in UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def partition_name(day: datetime) -> str:
    """The name of the partition of a day."""
    return f"{TABLE}_{day:%Y%m%d}"


def partition_bounds(day: datetime) -> tuple[int, int]:
    """The first id of a day, and the first one after it."""
    return first_id_at(day), first_id_at(day + timedelta(days=1))


def partition_days(now: datetime) -> list[datetime]:
    """The days that should have a partition."""
    today = day_start(now)
    return [today + timedelta(days=days) for days in range(-DAYS_BEHIND, DAYS_AHEAD + 1)]


class CreateEventTable(migrations.CreateModel):
    """CreateModel for `Event`. Written by hand into the migration, in the place of `CreateModel`."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if not self.allow_migrate_model(
            schema_editor.connection.alias, to_state.apps.get_model(app_label, self.name)
        ):
            return
        vendor = schema_editor.connection.vendor
        if vendor == "postgresql":
            schema_editor.sql_create_table += " PARTITION BY RANGE (id)"
            try:
                super().database_forwards(app_label, schema_editor, from_state, to_state)
            finally:
                del schema_editor.sql_create_table  # the class has its own
            self._complete_postgresql(schema_editor)
        else:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            self._complete_sqlite(schema_editor)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "sqlite":
            schema_editor.execute(f"DROP TABLE IF EXISTS {WORDS_TABLE}")
        super().database_backwards(app_label, schema_editor, from_state, to_state)

    def _complete_postgresql(self, schema_editor: Any) -> None:
        schema_editor.execute(f"CREATE TABLE {DEFAULT_PARTITION} PARTITION OF {TABLE} DEFAULT")
        for day in partition_days(datetime.now(UTC)):
            first, end = partition_bounds(day)
            schema_editor.execute(
                f"CREATE TABLE {partition_name(day)} PARTITION OF {TABLE} "
                f"FOR VALUES FROM ({first}) TO ({end})"
            )
        schema_editor.execute(f"CREATE INDEX event_words ON {TABLE} USING gin ({WORDS_VECTOR})")

    def _complete_sqlite(self, schema_editor: Any) -> None:
        schema_editor.execute(
            f"CREATE VIRTUAL TABLE {WORDS_TABLE} USING fts5(tokens, content='{TABLE}', content_rowid='id', "
            "detail='none', tokenize='unicode61 remove_diacritics 0')"
        )
        schema_editor.execute(
            f"CREATE TRIGGER {TABLE}_stored AFTER INSERT ON {TABLE} WHEN new.tokens <> '' BEGIN "
            f"INSERT INTO {WORDS_TABLE}(rowid, tokens) VALUES (new.id, new.tokens); END"
        )
        schema_editor.execute(
            f"CREATE TRIGGER {TABLE}_removed AFTER DELETE ON {TABLE} WHEN old.tokens <> '' BEGIN "
            f"INSERT INTO {WORDS_TABLE}({WORDS_TABLE}, rowid, tokens) "
            "VALUES ('delete', old.id, old.tokens); END"
        )
