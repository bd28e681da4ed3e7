"""The guard of the audit's tables: triggers by which the database itself refuses to change or remove rows.

What holds: entries, seals and closed segments are added and nothing else happens to them, whoever asks: the
ORM, a shell, another program with the same account. Two things of amiweb's own go through, on a connection
that says so, for as long as its transaction lasts (`guard_open`):

- "seal": an entry that has no seal gets one, and nothing else of it changes;
- "remove": rows leave, for the retention command and for the flushes between tests.

PostgreSQL takes the mark from a setting that is local to the transaction. SQLite knows no settings, so the
mark is a row which nobody else ever sees, since it is taken away before the transaction ends. Whoever owns
the database can drop triggers; that is what seals are for.

A migration that makes the table anew drops its triggers on SQLite (which Django does there for most changes),
so it has to call `guard_install` again: tests/audit/test_guard.py fails until then.
"""

# ruff: noqa: S608 - the names in these statements are constants of this module, or columns of its tables

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from django.db import DEFAULT_DB_ALIAS, connections, transaction

Mode = Literal["seal", "remove"]

ENTRIES = "ami_integration_auditentry"
SEALS = "ami_integration_auditseal"
SEGMENTS = "ami_integration_auditsegment"
_TABLES = (ENTRIES, SEALS, SEGMENTS)
#: PostgreSQL: the function of all triggers, and the setting with the mark.
_FUNCTION = "ami_integration_audit_guard"
_SETTING = "amiweb.audit_guard"
#: SQLite: the table of the mark.
_MARK = "ami_integration_auditguard"

_POSTGRESQL_FUNCTION = f"""
CREATE FUNCTION {_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    opened text := coalesce(current_setting('{_SETTING}', true), '');
BEGIN
    IF TG_OP = 'TRUNCATE' AND opened = 'remove' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' AND opened = 'remove' THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' AND opened = 'seal' AND TG_TABLE_NAME = '{ENTRIES}' THEN
        IF OLD.seal_id IS NULL AND NEW.seal_id IS NOT NULL
                AND to_jsonb(OLD) - 'seal_id' = to_jsonb(NEW) - 'seal_id' THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'The audit is only ever added to: % of % is refused.', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$
"""


@contextmanager
def guard_open(mode: Mode, *, using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """A transaction in which the guard lets one kind of change through, on this connection alone.

    Args:
        mode: `seal` or `remove`, as the head of this module says.
        using: the database's alias.
    """
    with transaction.atomic(using=using):
        _mark(using, mode)
        yield
        _mark(using, "")


def _mark(using: str, mode: str) -> None:
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config(%s, %s, true)", [_SETTING, mode])
            return
        cursor.execute(f"DELETE FROM {_MARK}")
        if mode:
            cursor.execute(f"INSERT INTO {_MARK} (mode) VALUES (%s)", [mode])


def guard_install(connection: Any) -> None:
    """Make the triggers, in the place of those that may be there; the tables must exist."""
    guard_remove(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_POSTGRESQL_FUNCTION)
            for table in _TABLES:
                _postgresql_table(cursor, table)
        else:
            cursor.execute(f"CREATE TABLE {_MARK} (mode text NOT NULL)")
            for table in _TABLES:
                _sqlite_table(connection, cursor, table)


def guard_remove(connection: Any) -> None:
    """Drop the triggers and what they use."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for table in _TABLES:
                for kind in ("rows", "truncate", "insert"):
                    cursor.execute(f"DROP TRIGGER IF EXISTS {table}_guard_{kind} ON {table}")
            cursor.execute(f"DROP FUNCTION IF EXISTS {_FUNCTION}()")
            return
        for table in _TABLES:
            for kind in ("insert", "update", "delete"):
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_guard_{kind}")
        cursor.execute(f"DROP TABLE IF EXISTS {_MARK}")


def _postgresql_table(cursor: Any, table: str) -> None:
    run = f"EXECUTE FUNCTION {_FUNCTION}()"
    cursor.execute(f"CREATE TRIGGER {table}_guard_rows BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW {run}")
    cursor.execute(
        f"CREATE TRIGGER {table}_guard_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {run}"
    )
    if table == ENTRIES:  # only the sealer says what is sealed
        cursor.execute(
            f"CREATE TRIGGER {table}_guard_insert BEFORE INSERT ON {table} "
            f"FOR EACH ROW WHEN (NEW.seal_id IS NOT NULL) {run}"
        )


def _sqlite_table(connection: Any, cursor: Any, table: str) -> None:
    columns = [column.name for column in connection.introspection.get_table_description(cursor, table)]
    key = connection.introspection.get_primary_key_column(cursor, table)

    def trigger(kind: str, condition: str) -> None:
        refusal = f"The audit is only ever added to: {kind.upper()} of {table} is refused."
        cursor.execute(
            f"CREATE TRIGGER {table}_guard_{kind} BEFORE {kind.upper()} ON {table} WHEN {condition} "
            f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
        )

    def opened(mode: Mode) -> str:
        return f"EXISTS (SELECT 1 FROM {_MARK} WHERE mode = '{mode}')"

    trigger("delete", f"NOT {opened('remove')}")
    # INSERT OR REPLACE fires no trigger for the row that it removes.
    replaces = f"EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key})"
    if table != ENTRIES:
        trigger("update", "1")
        trigger("insert", replaces)
        return
    same = " AND ".join(f"NEW.{name} IS OLD.{name}" for name in columns if name != "seal_id")
    sealing = f"OLD.seal_id IS NULL AND NEW.seal_id IS NOT NULL AND {same}"
    trigger("update", f"NOT ({opened('seal')} AND {sealing})")
    trigger("insert", f"NEW.seal_id IS NOT NULL OR {replaces}")
