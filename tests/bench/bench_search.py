"""Search in a day of 10 million stored events on PostgreSQL: made in the database, as calls would lie there.
The live page is opened over them, too.

Each call has 30 events that share a linkedid, a caller and who is called; one word in 200,000 events is rare.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db import connection

from ami_integration.events.ids import first_id_at
from ami_integration.events.retention import stored_bytes
from ami_integration.events.search import Conditions, events_histogram, events_iterate, events_search
from ami_integration.events.tables import TABLE, day_start, is_partitioned
from tests import postgres
from tests.bench import SCALE, wants_disk
from tests.bench.bench_live import FIRST
from tests.browser.chromium import Visitor
from tests.browser.people import log_in
from tests.processes import Stack
from tests.servers.factories import make_server

ROWS = max(30_000, int(10_000_000 * SCALE))
#: Rows that one statement makes.
STEP = 500_000
#: Bytes that one takes with its indexes, and what PostgreSQL writes besides.
ROW_BYTES = 2_500
#: Of an export, so many are read.
EXPORTED = 20_000

RARE_EVERY = 200_003

MAKE = f"""
INSERT INTO {TABLE} (id, server_id, at, name, channel, uniqueid, linkedid, tokens, headers)
SELECT %(first)s + (n::bigint * 86400000 / %(rows)s) * 2097152 + n %% 4096, %(server)s + n %% 2,
    to_timestamp(%(at)s + n::bigint * 86400 / %(rows)s), 'Name' || n %% 37, 'PJSIP/' || n %% 700 || '-' || n,
    '17.' || n / 3, '17.' || n / 30,
    'from internal person' || n / 30 %% 700 || ' name' || n / 30 %% 313 || ' ' || 1000 + n / 30 %% 9000
        || CASE WHEN n %% {RARE_EVERY} = 0 THEN ' needle' ELSE '' END,
    '[["Event","Name"],["Channel","PJSIP/1-' || n || '"],["CallerIDNum","' || n || '"],["Filler","'
        || repeat(md5(n::text), 15) || '"]]'
FROM generate_series(%(begin)s, %(end)s - 1) AS n
"""  # noqa: S608 - the table's name is a constant


def bench_search_in_a_day_of_ten_million_events(stack: Stack, visitor: Visitor) -> None:
    if not is_partitioned():
        print("\nThis is PostgreSQL's.")
        return
    wants_disk(postgres.cluster().folder, ROWS * ROW_BYTES, f"A day of {ROWS:,} events")
    server = make_server()
    make_server(name="Oslo", pk=server.pk + 1)
    user = User.objects.create_superuser("searcher")
    day = day_start(datetime.now(UTC))
    began = time.monotonic()
    with connection.cursor() as cursor:
        for begin in range(0, ROWS, STEP):
            values = {
                **{"first": first_id_at(day), "rows": ROWS, "server": server.pk, "at": day.timestamp()},
                **{"begin": begin, "end": min(ROWS, begin + STEP)},
            }
            cursor.execute(MAKE, values)
        cursor.execute(f"VACUUM ANALYZE {TABLE}")
    print(
        f"\n{ROWS:,} events made in {time.monotonic() - began:.0f} s; "
        f"{stored_bytes() / ROWS:.0f} bytes each with indexes"
    )
    whole = Conditions(since=day, until=day + timedelta(days=1))

    def find(what: str, expected: int | None, **wanted: Any) -> None:
        conditions = replace(whole, **wanted)
        found = timed(what, lambda: events_search(user=user, conditions=conditions))
        if expected is not None:
            assert len(found.items) == min(100, expected)

    find("the newest", ROWS)
    find("one server", ROWS, servers=[server.pk])
    find("linkedid", 30, linkedid="17.777")
    find("uniqueid", 3, uniqueid="17.777")
    find("channel, by its beginning", None, channel="PJSIP/17-*")
    find("name", None, names=["name3"])
    find("a word in one of 700 calls", None, words="person17")
    find("a rare word", (ROWS - 1) // RARE_EVERY + 1, words="needle")
    find("the beginning of a rare word", (ROWS - 1) // RARE_EVERY + 1, words="need*")
    find("a word in every event", ROWS, words="internal")
    find("two words", None, words="person17 name2")
    find("a word that isn't there", 0, words="nobody")
    find("everywhere, one share of it", 0, everywhere="no such thing")
    for what, words in (("all", ""), ("a word", "person17"), ("a common word", "from")):
        ask = partial(events_histogram, user=user, conditions=replace(whole, words=words))
        bars = timed(f"histogram of {what}", ask)
        assert sum(count for _, _, count in bars) > 0
    began, number = time.monotonic(), 0
    for number, _ in enumerate(events_iterate(user=lambda: user, conditions=whole), 1):
        if number == EXPORTED:
            break
    print(f"export: {number / (time.monotonic() - began):,.0f} events/s")
    assert number == min(ROWS, EXPORTED)
    stack.start("web")
    page = log_in(visitor, stack)
    for way in ("first", "second"):
        page.goto(f"{stack.url}/admin/live/")
        first_paint, first_row = page.evaluate(FIRST)
        print(
            f"the live page, for the {way} time: first paint after {first_paint:.0f} ms, first row after "
            f"{first_row:.0f} ms"
        )


def timed(what: str, ask: Callable[[], Any], *, times: int = 5) -> Any:
    """Ask several times; print the median and the longest."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        answer = ask()
        took.append(1_000 * (time.monotonic() - began))
    print(f"{what}: {statistics.median(took):.0f} ms, the slowest {max(took):.0f} ms")
    return answer
