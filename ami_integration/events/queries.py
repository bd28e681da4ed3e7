"""What somebody looks for in the store, as the database is asked for it.

Each condition has its index: server, name and time (by the id) in their order, so that the newest come first
without sorting; linkedid, uniqueid and channel by themselves; words by GIN or FTS5. Left alone, a planner may
prefer to walk back through a day of 10 million rows until enough of them match, which is right for `Hangup`
and takes a minute for one call. So `selective` says when few rows match, and then the walk is ruled out.
"""

# ruff: noqa: S608, S611 - the names in these statements are constants of the code, values are parameters

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models import BooleanField, F, Q, QuerySet
from django.db.models.expressions import RawSQL

from ami_integration.events.filters import TextPattern
from ami_integration.events.ids import first_id_at, id_milliseconds
from ami_integration.events.models import Event
from ami_integration.events.tables import TABLE, WORDS_TABLE, WORDS_VECTOR

#: The greatest id there can be, and one more.
END = 2**63 - 1
#: How far the ids of two milliseconds that follow each other are apart.
_MILLISECOND = first_id_at(datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC))


@dataclass(frozen=True)
class Wanted:
    """What is looked for; all that is given must hold.

    Attributes:
        server_ids: of these servers.
        first, end: ids from `first`, and below `end`.
        names: of these event names, as they are spelled in the store; None: of any.
        channel: whole, or with `*` for anything.
        words: each a word and whether it is the beginning of one.
        everywhere: somewhere in the headers.
    """

    server_ids: tuple[int, ...]
    first: int = 0
    end: int = END
    names: tuple[str, ...] | None = None
    linkedid: str = ""
    uniqueid: str = ""
    channel: str = ""
    words: tuple[tuple[str, bool], ...] = ()
    everywhere: TextPattern | None = None

    def between(self, first: int, end: int) -> "Wanted":
        """The same, in a narrower time."""
        return replace(self, first=max(self.first, first), end=min(self.end, end))

    @property
    def empty(self) -> bool:
        """Whether nothing can match."""
        return not self.server_ids or self.names == () or self.first >= self.end

    @property
    def of_one_call(self) -> bool:
        """Whether few rows match by their nature."""
        return bool(self.linkedid or self.uniqueid or self.channel.partition("*")[0])


def events_of(wanted: Wanted) -> QuerySet[Event]:
    """The stored events, but for `everywhere`; in no order."""
    conditions = Q(id__gte=wanted.first, id__lt=wanted.end)
    conditions &= (
        Q(server_id=wanted.server_ids[0])
        if len(wanted.server_ids) == 1
        else Q(server_id__in=wanted.server_ids)
    )
    if wanted.names is not None:
        conditions &= Q(name__in=wanted.names) if len(wanted.names) != 1 else Q(name=wanted.names[0])
    if wanted.linkedid:
        conditions &= Q(linkedid=wanted.linkedid)
    if wanted.uniqueid:
        conditions &= Q(uniqueid=wanted.uniqueid)
    if wanted.channel:
        conditions &= _channel(wanted.channel)
    rows = Event.objects.filter(conditions).order_by()
    return rows.filter(_words(wanted)) if wanted.words else rows


def newest_first(rows: QuerySet[Event], *, selective: bool) -> QuerySet[Event]:
    """In the order of the ids; `selective`: by sorting the few that match, not by walking through all."""
    return rows.order_by((F("id") + 0).desc()) if selective else rows.order_by("-id")


def _channel(text: str) -> Q:
    if "*" not in text:
        return Q(channel=text)
    prefix = text.partition("*")[0]
    pattern = "%".join(_like_escaped(piece) for piece in text.split("*"))
    if connection.vendor == "postgresql":
        return Q(RawSQL(f"{TABLE}.channel LIKE %s", [pattern], output_field=BooleanField()))
    # LIKE has no index in SQLite, since it ignores the case there; the bounds have one.
    like = Q(RawSQL(f"{TABLE}.channel LIKE %s ESCAPE '\\'", [pattern], output_field=BooleanField()))
    return like & Q(channel__gte=prefix, channel__lt=prefix + chr(0x10FFFF)) if prefix else like


def _words(wanted: Wanted) -> Q:
    if connection.vendor == "postgresql":
        # Words are letters and digits, so quotes around them are all they need.
        query = " & ".join(f"'{word}'{':*' if beginning else ''}" for word, beginning in wanted.words)
        sql = f"{WORDS_VECTOR} @@ %s::tsquery"
        return Q(RawSQL(sql, [query], output_field=BooleanField()))
    query = " AND ".join(f'"{word}"{" *" if beginning else ""}' for word, beginning in wanted.words)
    return Q(
        id__in=RawSQL(
            f"SELECT rowid FROM {WORDS_TABLE} WHERE {WORDS_TABLE} MATCH %s AND rowid >= %s AND rowid < %s",
            [query, wanted.first, wanted.end],
        )
    )


def headers_like(pattern: TextPattern) -> Q:
    """What rows must hold for this pattern, so that few others are read: a part of it, in plain ASCII.

    Whatever passes is looked at again in Python, which knows case and headers.
    """
    text = max(_ascii_runs(pattern.pattern.longest), key=len)
    if not text:
        return Q()
    # As JSON has it, then as LIKE has it.
    escaped = _like_escaped(text.replace("\\", "\\\\").replace('"', '\\"'))
    operator = "ILIKE %s" if connection.vendor == "postgresql" else "LIKE %s ESCAPE '\\'"
    return Q(RawSQL(f"{TABLE}.headers {operator}", [f"%{escaped}%"], output_field=BooleanField()))


def _ascii_runs(text: str) -> Sequence[str]:
    return "".join(char if " " <= char <= "~" else "\n" for char in text).split("\n")


def _like_escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def names_stored() -> list[str]:
    """Every event name in the store: one look into the index for each, however many rows there are."""
    sql = (
        f"WITH RECURSIVE names(name) AS (SELECT min(name) FROM {TABLE} UNION ALL "
        f"SELECT (SELECT min(e.name) FROM {TABLE} e WHERE e.name > names.name) "
        "FROM names WHERE names.name IS NOT NULL) "
        "SELECT name FROM names WHERE name IS NOT NULL"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [name for (name,) in cursor.fetchall()]


def buckets_counted(
    rows: QuerySet[Event], *, first: int, end: int, buckets: int, sample: float | None = None
) -> dict[int, int]:
    """How many of these rows, whose ids lie between `first` and `end`, fall into each of so many equal parts
    of that time.

    Args:
        sample: per cent of the table's pages that are looked at (PostgreSQL); None: all.
    """
    begin, span = id_milliseconds(first), max(1, id_milliseconds(end) - id_milliseconds(first))
    bucket: Any = RawSQL(f"({TABLE}.id / %s - %s) * %s / %s", [_MILLISECOND, begin, buckets, span])
    sql, params = rows.annotate(bucket=bucket).values_list("bucket").query.sql_with_params()
    if sample is not None:
        sampled = f'"{TABLE}" TABLESAMPLE SYSTEM ({sample:.4f})'
        sql = sql.replace(f'FROM "{TABLE}"', f"FROM {sampled}", 1)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT bucket, count(*) FROM ({sql}) AS found GROUP BY bucket", params)
        return {int(number): int(count) for number, count in cursor.fetchall()}


def rows_estimated(*, first: int, end: int) -> int:
    """About how many rows of all servers lie between two ids, as PostgreSQL's statistics say.

    For the ids of a partition that lies only partly between them, that part.
    """
    sql = (
        "SELECT c.reltuples, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i "
        "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass"
    )
    total = 0.0
    with connection.cursor() as cursor:
        cursor.execute(sql, [TABLE])
        for tuples, bounds in cursor.fetchall():
            numbers = [int(part) for part in bounds.split("'") if part.isdigit()]
            if len(numbers) == 2:
                low, high = numbers
                share = (min(end, high) - max(first, low)) / (high - low)
                total += max(0.0, share) * max(0.0, tuples)
    return int(total)
