"""Many events into the database at once, each of them once.

PostgreSQL: COPY, in the text form that is rendered here, three times as fast as INSERT. COPY knows no ON
CONFLICT; so what may be stored already (after a restart, or when COPY says that a row is) goes by COPY into a
temporary table and from there by INSERT … ON CONFLICT DO NOTHING. SQLite: one prepared INSERT of that kind
(OR IGNORE would drop more than duplicates, unseen).

Without instances of the model, signals or `save()`: `Event` has none of them.
"""

# ruff: noqa: S608 - the names in these statements are constants of this module

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from django.db import IntegrityError, connection, transaction

from ami_integration.events.rows import EventRow
from ami_integration.events.tables import TABLE

_COLUMNS = "id, server_id, at, name, channel, uniqueid, linkedid, tokens, headers"
_STAGING = "amiweb_events_staging"
#: What COPY's text form writes with a backslash. JSON holds only the backslash itself, words none of them.
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def events_insert(*, rows: Sequence[EventRow], again: bool = False) -> None:
    """Store rows, those that are stored already excepted. In a transaction of the caller's.

    Args:
        rows: in any order; one may come twice.
        again: some of them may be stored already; without it that is found out, at the price of one attempt.

    Raises:
        django.db.DataError, django.db.IntegrityError: the database refuses one of them; none is stored.
        django.db.Error: it is away, or its disk is full; none is stored.
    """
    if not rows:
        return
    if connection.vendor != "postgresql":
        _insert_each(rows)
        return
    text = "".join([copy_line(row) for row in rows])
    if not again:
        try:
            with transaction.atomic():
                _copy(TABLE, text)
            return
        except IntegrityError:
            pass  # one is stored already, or came twice
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {_STAGING} "
            f"ON COMMIT DELETE ROWS AS SELECT {_COLUMNS} FROM {TABLE} LIMIT 0"
        )
        cursor.execute(f"TRUNCATE {_STAGING}")
        _copy(_STAGING, text)
        cursor.execute(
            f"INSERT INTO {TABLE} ({_COLUMNS}) SELECT {_COLUMNS} FROM {_STAGING} ON CONFLICT DO NOTHING"
        )


def _copy(table: str, text: str) -> None:
    statement = f"COPY {table} ({_COLUMNS}) FROM STDIN"
    # Django knows no copy(), so its wrapper doesn't translate what psycopg raises there.
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.write(text)


def _insert_each(rows: Sequence[EventRow]) -> None:
    places = ", ".join(["%s"] * len(EventRow._fields))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {TABLE} ({_COLUMNS}) VALUES ({places}) ON CONFLICT DO NOTHING",
            [(*row[:2], _moment_text(row.at), *row[3:]) for row in rows],
        )


def copy_line(row: EventRow) -> str:
    """A row in the text form of COPY."""
    name, channel, uniqueid, linkedid = row.name, row.channel, row.uniqueid, row.linkedid
    if _SPECIAL.search(f"{name}{channel}{uniqueid}{linkedid}"):
        name, channel, uniqueid, linkedid = map(_copy_text, (name, channel, uniqueid, linkedid))
    headers = row.headers
    if "\\" in headers:
        headers = headers.replace("\\", "\\\\")
    return (
        f"{row.id}\t{row.server_id}\t{_moment_text(row.at)}+00\t{name}\t{channel}\t{uniqueid}\t{linkedid}\t"
        f"{row.tokens}\t{headers}\n"
    )


def _copy_text(text: str) -> str:
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text)


@lru_cache(maxsize=1_000)
def _moment_text(microseconds: int) -> str:
    """As Django stores it in SQLite. Events that were read together share it."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{fraction:06}"
