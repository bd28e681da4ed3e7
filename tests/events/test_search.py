"""Looking for stored events, on both databases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from ami_integration.access.danger import Danger
from ami_integration.events import search
from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Gap
from ami_integration.events.queries import Wanted, buckets_counted, events_of, newest_first, rows_estimated
from ami_integration.events.rows import event_row
from ami_integration.events.search import (
    Conditions,
    InvalidSearch,
    events_histogram,
    events_iterate,
    events_search,
    gaps_search,
)
from ami_integration.events.storage import events_insert
from ami_integration.events.stream import StampedEvent
from ami_integration.events.tables import is_partitioned
from tests.access.factories import grant, make_person
from tests.events.making import raw
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC).replace(microsecond=0)
# An hour before it lies in its own day, whenever the tests run: a look-up that reaches into yesterday finds
# nearly nothing there just after midnight, and PostgreSQL rightly reads so small a partition from end to end.
NOON = NOW.replace(hour=12, minute=0, second=0)


@pytest.fixture
def server() -> Any:
    return make_server()


@pytest.fixture
def user(server: Any) -> Any:
    person = make_person("viewer")
    grant(person, Danger.READ)
    return person


_counter = iter(range(1_000_000))


def store(server: Any, name: str = "Newchannel", *, seconds_ago: float = 60, **headers: str) -> int:
    """Store one event; returns its id."""
    at = NOW - timedelta(seconds=seconds_ago)
    event_id = first_id_at(at) + next(_counter)
    stamped = StampedEvent(event_id, int(at.timestamp() * 1_000_000), raw(name, **headers))
    events_insert(rows=[event_row(server.pk, stamped)])
    return event_id


def look(user: Any, *, before_id: int | None = None, limit: int = 100, **wanted: Any) -> search.Found:
    return events_search(user=user, conditions=Conditions(**wanted), before_id=before_id, limit=limit)


def histogram(user: Any, *, buckets: int = 60, **wanted: Any) -> search.Histogram:
    return events_histogram(user=user, conditions=Conditions(**wanted), buckets=buckets)


def everything(user: Any, **wanted: Any) -> list[int]:
    return [int(item["id"]) for item in events_iterate(user=lambda: user, conditions=Conditions(**wanted))]


def ids(found: search.Found) -> list[int]:
    return [int(item["id"]) for item in found.items]


def test_each_look_up_finds_its_events_newest_first(server: Any, user: Any) -> None:
    other = make_server(name="Oslo")
    old = store(server, "Hangup", seconds_ago=7200, Channel="PJSIP/100-1", Uniqueid="1.1", Linkedid="1.0")
    new = store(server, "Newchannel", Channel="PJSIP/100-1", Uniqueid="1.2", Linkedid="1.0")
    there = store(other, "Hangup", Channel="SIP/1_0-2", Uniqueid="2.2", Linkedid="2.0")

    def found(**wanted: Any) -> list[int]:
        return ids(look(user=user, **wanted))

    assert found() == [there, new, old]
    assert found(servers=[server.pk]) == [new, old]
    assert found(servers=[other.pk, server.pk]) == [there, new, old]
    assert found(servers=[]) == []
    assert found(since=NOW - timedelta(hours=1)) == [there, new]
    assert found(until=NOW - timedelta(hours=1)) == [old]
    assert found(names=["hangup"]) == [there, old]
    assert found(names=["New*", "Nothing"]) == [new]
    assert found(names=["Nothing"]) == []
    assert found(linkedid=" 1.0 ") == [new, old]
    assert found(uniqueid="1.2") == [new]
    assert found(channel="PJSIP/100-1") == [new, old]
    assert found(channel="PJSIP/1*") == [new, old]
    assert found(channel="*-2") == [there]
    assert found(channel="SIP/1_*") == [there]
    assert found(channel="SIP/_*") == []
    assert found(linkedid="1.0", names=["Hangup"], channel="PJSIP*", servers=[server.pk]) == [old]


def test_words_are_found_whole_or_by_their_beginning_and_all_must_occur(server: Any, user: Any) -> None:
    ada = store(server, CallerIDNum="100", CallerIDName="Ada Löv-elace", Exten="s", Channel="PJSIP/x")
    bob = store(server, CallerIDNum="1001", CallerIDName="Bob")

    def found(text: str) -> list[int]:
        return ids(look(user=user, words=text))

    assert found("ADA") == [ada]
    assert found("100") == [ada]
    assert found("100*") == [bob, ada]
    assert found("lov elace") == found("löv-el*") == [ada]
    assert found("ada 100*") == [ada]
    assert found("ada bob") == []
    assert found("elac") == []
    assert found("pjsip") == []  # channels have a look-up of their own
    with pytest.raises(InvalidSearch, match="Type a word"):
        found("*'")
    assert found("a' | b:* & \\ \"") == []


def test_rare_words_are_found_behind_many_newer_events(
    server: Any, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_NEWEST_ROWS", 5)
    rare = [store(server, CallerIDName="Rare", seconds_ago=100) for _ in range(3)]
    for _ in range(20):
        store(server, CallerIDName="Common")
    newest = store(server, CallerIDName="Rare")
    assert ids(look(user=user, words="rare")) == [newest, *reversed(rare)]
    page = look(user=user, words="rare", limit=2)
    assert ids(page) == [newest, rare[2]]
    assert ids(look(user=user, words="rare", limit=2, before_id=page.more)) == [rare[1], rare[0]]


def test_pages_follow_each_other_without_a_hole_or_a_repetition(server: Any, user: Any) -> None:
    stored = [store(server, seconds_ago=100 - n) for n in range(25)]
    seen: list[int] = []
    before, pages = None, 0
    while True:
        page = look(user=user, limit=10, before_id=before)
        seen += ids(page)
        pages += 1
        if page.more is None:
            break
        before = page.more
    assert seen == stored[::-1]
    assert pages == 3


def test_a_search_everywhere_looks_into_all_headers_and_says_how_much_it_read(server: Any, user: Any) -> None:
    quoted = store(server, Weird='say "50%_\\off" É')
    channel = store(server, Channel="PJSIP/100-1")
    store(server, Channel="other", Note="channel:PJSIP")
    hour = {"user": user, "since": NOW - timedelta(hours=1)}
    assert ids(look(**hour, everywhere='SAY "50%_\\o*é')) == [quoted]
    assert ids(look(**hour, everywhere="é")) == [quoted]
    assert ids(look(**hour, everywhere="Channel:pjsip/*")) == [channel]
    found = look(**hour, everywhere="no such thing")
    assert (found.items, found.scanned, found.more) == ([], 3, None)
    with pytest.raises(InvalidSearch, match="from when on"):
        look(user=user, everywhere="x")
    with pytest.raises(InvalidSearch, match="Say what"):
        look(**hour, everywhere="**")


def test_a_search_everywhere_stops_after_its_share_and_goes_on_from_there(
    server: Any, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_SCAN_STEP", 5)
    monkeypatch.setattr(search, "SCAN_ROWS", 10)
    wanted = [store(server, Note="needle", seconds_ago=200) for _ in range(2)]
    for number in range(12):
        store(server, seconds_ago=100 - number)
    arguments = {"user": user, "since": NOW - timedelta(hours=1), "everywhere": "needle"}
    first = look(**arguments)
    assert (first.items, first.scanned) == ([], 10)
    assert first.back_to is not None and first.back_to < NOW
    second = look(**arguments, before_id=first.more)
    assert (ids(second), second.scanned, second.more) == ([wanted[1], wanted[0]], 4, None)
    one = look(**arguments, before_id=first.more, limit=1)
    assert (ids(one), one.scanned) == ([wanted[1]], 3)
    assert ids(look(**arguments, before_id=one.more)) == [wanted[0]]
    assert everything(**arguments) == [wanted[1], wanted[0]]


def test_nobody_finds_events_of_servers_that_they_may_not_watch(server: Any) -> None:
    other = make_server(name="Oslo")
    here = store(server, "Here", Linkedid="1.0")
    store(other, "There", Linkedid="1.0")
    stranger, viewer, neighbour = (make_person(name) for name in ("stranger", "viewer", "neighbour"))
    grant(viewer, Danger.READ, on=server)
    grant(neighbour, Danger.OPERATE, on=server)
    hour = {"since": NOW - timedelta(hours=1), "until": NOW + timedelta(hours=1)}
    for person, seen in ((stranger, []), (viewer, [here]), (neighbour, []), (None, [])):
        for servers in (None, [server.pk, other.pk]):
            assert ids(look(user=person, servers=servers, linkedid="1.0")) == seen
            listed = everything(user=person, servers=servers)
            assert listed == seen
            assert sum(bar[2] for bar in histogram(user=person, servers=servers, **hour)) == len(seen)
        assert ids(look(user=person, servers=[other.pk])) == []


def test_events_of_a_deleted_server_are_found_by_nobody(server: Any, user: Any) -> None:
    store(server, Linkedid="1.0")
    server.delete()
    assert ids(look(user=user, linkedid="1.0")) == []


def test_a_histogram_has_every_bar_and_counts_every_event_once(server: Any, user: Any) -> None:
    for seconds, number in ((3599, 1), (1800, 3), (1, 2), (4000, 5)):
        for _ in range(number):
            store(server, "Hangup" if number == 3 else "X", seconds_ago=seconds)
    hour = {"user": user, "since": NOW - timedelta(hours=1), "until": NOW}
    bars = histogram(**hour, buckets=6)
    assert [count for _, _, count in bars] == [1, 0, 0, 3, 0, 2]
    assert not bars.estimated
    assert bars[0][0] == hour["since"]
    assert bars[-1][1] == NOW
    assert all(one[1] == next_one[0] for one, next_one in zip(bars, bars[1:], strict=False))
    assert [bar[2] for bar in histogram(**hour, buckets=2, names=["hangup"])] == [0, 3]
    with pytest.raises(InvalidSearch, match="ends before it begins"):
        histogram(user=user, since=NOW, until=NOW - timedelta(hours=1))
    with pytest.raises(InvalidSearch, match="from when to when"):
        histogram(user=user, until=NOW)


def test_an_export_gives_everything_in_order_however_many(
    server: Any, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "CHUNK_ROWS", 7)
    monkeypatch.setattr(search, "_NEWEST_ROWS", 3)
    stored = [store(server, CallerIDName="Ada", Linkedid="1.0", seconds_ago=100 - n) for n in range(30)]
    for wanted in ({}, {"linkedid": "1.0"}, {"words": "ada"}, {"names": ["Newchannel"]}):
        assert everything(user=user, **wanted) == stored[::-1]


def test_gaps_that_touch_the_time_are_found(server: Any, user: Any) -> None:
    for number, (begins, ends) in enumerate(((100, 90), (60, None), (20, 10))):
        Gap.objects.create(
            id=first_id_at(NOW) + number,
            server=server,
            reason=Gap.Reason.OVERLOAD,
            started_at=NOW - timedelta(minutes=begins),
            ended_at=None if ends is None else NOW - timedelta(minutes=ends),
            after_id=number,
        )

    def found(since: int, until: int) -> list[int]:
        times = {"since": NOW - timedelta(minutes=since), "until": NOW - timedelta(minutes=until)}
        return [int(item["after"]) for item in gaps_search(user=user, **times)]

    assert found(120, 80) == [0]
    assert found(95, 15) == [2, 1, 0]
    assert found(50, 40) == [1]
    assert gaps_search(user=make_person("stranger")) == []


@pytest.fixture
def crowd(server: Any) -> Any:
    """A server with some thousand events, of which the database has statistics."""
    rows = []
    for number in range(5_000):
        headers = {
            "Channel": f"PJSIP/{number % 1000}-{number}",
            "Uniqueid": f"1.{number // 2}",
            "Linkedid": f"1.{number // 8}",
            "CallerIDName": f"Ada{number % 900} Lovelace{number % 800}",
        }
        at = NOON - timedelta(seconds=number / 10)
        stamped = StampedEvent(
            first_id_at(at) + next(_counter), int(at.timestamp()), raw(f"N{number % 40}", **headers)
        )
        rows.append(event_row(server.pk, stamped))
    events_insert(rows=rows)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return server


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, r"server_id_id_idx|_pkey"),
        ({"names": ("Hangup",)}, "name_id_idx"),
        ({"linkedid": "1.0"}, "linkedid_idx"),
        ({"uniqueid": "1.0"}, "uniqueid_idx"),
        ({"channel": "PJSIP/1"}, "channel_idx"),
        ({"channel": "PJSIP/1*"}, "channel_idx"),
        ({"words": (("ada7", False), ("lovelace7", True))}, "array_to_tsvector_idx"),
    ],
)
def test_each_look_up_goes_by_its_index_and_into_the_days_of_its_time(
    crowd: Any, wanted: dict[str, Any], index: str
) -> None:
    begin = NOON - timedelta(seconds=5)
    what = Wanted((crowd.pk,), first_id_at(begin - timedelta(hours=1)), first_id_at(begin), **wanted)
    selective = what.of_one_call or bool(what.words)
    rows = newest_first(events_of(what), selective=selective)[:100]
    if is_partitioned():
        plan = rows.explain()
        assert re.search(f"Index.* (on|using) \\w*({index})", plan), plan
        assert "Seq Scan" not in plan
        assert f"{begin:%Y%m%d}" in plan
        assert f"{NOON + timedelta(days=1):%Y%m%d}" not in plan
        assert "_default" not in plan
    else:
        plan = rows.explain()
        assert re.search(r"SEARCH ami_integration_event USING", plan), plan
        if what.of_one_call:
            assert f"event_{next(iter(wanted))}" in plan
        if what.words:
            assert "VIRTUAL TABLE INDEX" in plan


def test_a_large_histogram_is_counted_from_a_sample(
    server: Any, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(200):
        store(server)
    store(server, "Hangup")
    hour = {"since": NOW - timedelta(hours=1), "until": NOW + timedelta(minutes=1)}
    if not is_partitioned():
        assert not histogram(user=user, **hour).estimated
        return
    monkeypatch.setattr(search, "_COUNT_ROWS", -1)
    monkeypatch.setattr(search, "_SAMPLE_ROWS", 10**9)
    monkeypatch.setattr(search, "_SAMPLE_FOUND", 200)
    monkeypatch.setattr(search, "rows_estimated", lambda **bounds: 10**7)
    rare = histogram(user=user, **hour, names=["Hangup"])
    assert (rare.estimated, sum(count for _, _, count in rare)) == (False, 1)
    bars = histogram(user=user, **hour)
    assert bars.estimated
    assert sum(count for _, _, count in bars) == 201
    rows = events_of(Wanted((server.pk,)))
    counted = buckets_counted(rows, first=0, end=first_id_at(NOW), buckets=10, sample=100.0)
    assert sum(counted.values()) == 201
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE ami_integration_event")
    day = NOW.replace(hour=0, minute=0, second=0)
    whole = rows_estimated(first=first_id_at(day), end=first_id_at(day + timedelta(days=1)))
    half = rows_estimated(first=first_id_at(day), end=first_id_at(day + timedelta(hours=12)))
    assert 0 <= half <= whole <= 201


def test_a_page_costs_few_queries(server: Any, user: Any, django_assert_max_num_queries: Any) -> None:
    for _ in range(20):
        store(server, CallerIDName="Ada")
    searches: Sequence[dict[str, Any]] = ({}, {"words": "ada"}, {"names": ["new*"]}, {"linkedid": "1"})
    for wanted in searches:
        with django_assert_max_num_queries(9):
            look(user=user, **wanted)
