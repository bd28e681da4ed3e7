"""Events into the database, each once, whatever they hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from ami_integration.events.models import Event
from ami_integration.events.rows import EventRow, event_row
from ami_integration.events.storage import events_insert
from tests.events.making import raw, stamped

pytestmark = pytest.mark.django_db


def rows_of(*data: bytes) -> list[EventRow]:
    return [event_row(3, stamped(one)) for one in data]


def stored() -> list[Event]:
    return list(Event.objects.order_by("id"))


@pytest.mark.parametrize("again", [False, True])
def test_a_row_comes_back_as_it_went_in(again: bool) -> None:
    data = raw(
        "Newchannel",
        Channel="PJSIP/a\\b\tc",
        Uniqueid="1.1",
        Linkedid="1.0",
        CallerIDName='"Ada" \\ Lövelace \\N',
        Odd="two\nlines\rand\x01control",
        Empty="",
    )
    [row] = rows_of(data)
    events_insert(rows=[row], again=again)
    [event] = stored()
    assert (event.pk, event.server_id, event.name) == (row.id, 3, "Newchannel")
    assert (event.channel, event.uniqueid, event.linkedid) == ("PJSIP/a\\b\tc", "1.1", "1.0")
    assert event.headers == json.loads(row.headers)
    assert event.headers[4] == ["CallerIDName", '"Ada" \\ Lövelace \\N']
    assert event.tokens == "ada lovelace n"
    assert event.at == datetime.fromtimestamp(row.at // 1_000_000, UTC).replace(
        microsecond=row.at % 1_000_000
    )


def test_rows_that_are_stored_already_or_come_twice_are_stored_once() -> None:
    first = rows_of(*[raw("A")] * 5)
    events_insert(rows=first)
    events_insert(rows=first)
    more = rows_of(*[raw("B")] * 5)
    events_insert(rows=[*first[2:], *more, *more])
    events_insert(rows=[*more], again=True)
    assert [event.name for event in stored()] == ["A"] * 5 + ["B"] * 5


def test_what_comes_again_changes_nothing_that_is_stored() -> None:
    [row] = rows_of(raw("A"))
    events_insert(rows=[row])
    events_insert(rows=[row._replace(name="Other")])
    assert [event.name for event in stored()] == ["A"]


def test_a_refused_row_leaves_nothing_behind_and_the_transaction_goes_on() -> None:
    good, bad = rows_of(raw("Good"), raw("Bad"))
    with pytest.raises((DatabaseError, OverflowError)), transaction.atomic():
        events_insert(rows=[good, bad._replace(server_id=2**63)])
    events_insert(rows=[good])
    assert [event.name for event in stored()] == ["Good"]


def test_many_rows_cost_few_statements(django_assert_max_num_queries: Any) -> None:
    rows = rows_of(*[raw("A", Number=str(number)) for number in range(500)])
    with django_assert_max_num_queries(3):
        events_insert(rows=rows)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ami_integration_event")
        assert cursor.fetchone() == (500,)
