"""The history page's question, its answer, its files and its saved filters."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection, connections
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext

from ami_integration.access.danger import Danger
from ami_integration.access.models import AccessRule
from ami_integration.events import history, history_views, search
from ami_integration.events.history import LENGTHS, ROWS, Question
from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.events.saved import SavedFilter
from ami_integration.events.search import InvalidSearch, RightWithdrawn
from ami_integration.servers.models import Server, Tag
from tests.access.factories import grant, make_person
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db

PAGE = "/admin/ami_integration/event/history/"
NOW = datetime.now(UTC)


def make_event(server: Server, *, ago: float = 60, name: str = "Hangup", **headers: str) -> Event:
    at = NOW - timedelta(seconds=ago)
    first = {name.lower(): value for name, value in headers.items()}
    return Event.objects.create(
        id=first_id_at(at) + Event.objects.count(),
        server=server,
        at=at,
        name=name,
        channel=first.get("channel", ""),
        uniqueid=first.get("uniqueid", ""),
        linkedid=first.get("linkedid", ""),
        tokens=first.get("calleridnum", ""),
        headers=[["Event", name], *([key, value] for key, value in headers.items())],
    )


@pytest.fixture
def server() -> Server:
    return make_server(name="Berlin")


@pytest.fixture
def viewer(server: Server) -> User:
    """Sees the events of this server."""
    person = make_person("vera", "view_event", "view_gap")
    grant(person, Danger.READ, on=server)
    return person


@pytest.fixture
def page(viewer: User, client: Client) -> Client:
    client.force_login(viewer)
    return client


def ask(client: Client, **address: str) -> Any:
    response = client.get(f"{PAGE}data/", address)
    assert response.status_code == 200, response.content
    return response.json()


def found(client: Client, **address: str) -> list[str]:
    return [item["id"] for item in ask(client, **address)["items"]]


# The question


def test_a_question_without_a_time_is_about_the_last_hour() -> None:
    question = Question.parse({}, now=NOW)
    assert (question.since, question.until) == (NOW - timedelta(hours=1), NOW)
    assert Question.parse({"range": "900"}, now=NOW).since == NOW - timedelta(minutes=15)


def test_a_question_has_any_time_zone() -> None:
    question = Question.parse({"since": "2026-01-31T09:00:00+02:00", "until": "2026-01-31T09:00:00Z"})
    assert question.since == datetime(2026, 1, 31, 7, tzinfo=UTC)
    assert question.until == datetime(2026, 1, 31, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ({"since": "yesterday"}, "“yesterday” is no time"),
        ({"since": "2026-01-31T09:00:00"}, "is no time"),  # of which zone?
        ({"since": "0001-01-01T00:00:00Z"}, "is no time"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "ends before it begins"),
        ({"range": "0"}, "number of seconds"),
        ({"range": "-1"}, "number of seconds"),
        ({"range": "9" * 12}, "number of seconds"),
        ({"range": "\u0663"}, "number of seconds"),
        ({"server": "x"}, "There is no server x"),
        ({"tag": "9" * 20}, "There is no tag"),
        ({"names": ",".join("a" * 51)}, "at most 50 events"),
        ({"words": "\0"}, "“words” holds a character"),
        *(({name: "x" * (longest + 1)}, f"“{name}” is longer") for name, longest in LENGTHS.items()),
    ],
)
def test_a_question_that_can_not_be_is_refused_in_words(address: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidSearch, match=says):
        Question.parse(address)


# The answer


def test_events_come_newest_first_with_the_gaps_between_them(page: Client, server: Server) -> None:
    old, new = make_event(server, ago=300), make_event(server, ago=10)
    gap = Gap.objects.create(
        id=first_id_at(NOW - timedelta(seconds=100)), server=server, reason=Gap.Reason.DISCONNECTED,
        started_at=NOW - timedelta(seconds=100), ended_at=NOW - timedelta(seconds=90), after_id=old.pk,
        before_id=new.pk,
    )  # fmt: skip
    answer = ask(page)
    assert {item["id"]: item["kind"] for item in answer["items"]} == {
        str(new.pk): "event",
        str(gap.pk): "gap",
        str(old.pk): "event",
    }
    assert answer["more"] is None
    assert answer["servers"] == [{"id": str(server.pk), "name": "Berlin", "simulated": False, "tags": []}]
    assert sum(count for _, count in answer["bars"]) == 2
    assert answer["scanned"] is None


def test_a_gap_has_what_the_pbx_said_after_it(
    page: Client, server: Server, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(history, "SNAPSHOT_ITEMS", 3)

    def make_gap(ago: float) -> int:
        at = NOW - timedelta(seconds=ago)
        key = first_id_at(at)
        Gap.objects.create(
            id=key, server=server, reason=Gap.Reason.DISCONNECTED, started_at=at - timedelta(seconds=60),
            ended_at=at, after_id=key - 1,
        )  # fmt: skip
        for number in range(2):
            Snapshot.objects.create(
                id=key + 1 + number, server=server, after_id=key - 1, at=at, action=f"Action{number}",
                items=[[["Event", "One"]], [["Event", "Two"]]],
            )  # fmt: skip
        return key

    make_gap(60)
    with CaptureQueriesContext(connection) as one:
        items = ask(page)["items"]
    assert {item["kind"] for item in items} == {"gap", "snapshot"}
    (gap,) = (item for item in items if item["kind"] == "gap")
    said = [item for item in items if item["kind"] == "snapshot"]
    assert [item["action"] for item in said] == ["Action1", "Action0"]
    assert {item["after"] for item in said} == {gap["after"]}
    assert gap["known"] - gap["at"] == 60_000  # its row stands where it became known
    # All that is on one page has an end; how many there are is said.
    assert [(len(item["items"]), item["count"]) for item in said] == [(2, 2), (1, 2)]
    make_gap(30)
    with django_assert_num_queries(len(one)):
        assert len(ask(page)["items"]) == 6

    Snapshot.objects.create(
        id=first_id_at(NOW), server=make_server(name="Paris"), after_id=int(gap["after"]), at=NOW,
        action="Theirs", items=[],
    )  # fmt: skip
    assert "Theirs" not in {item.get("action") for item in ask(page)["items"]}


def test_newer_gaps_hide_none_of_an_older_page(
    page: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "ROWS", 1)
    monkeypatch.setattr(history, "GAPS", 2)
    make_event(server, ago=300)
    make_event(server, ago=100)

    def make_gap(ago: float) -> str:
        at = NOW - timedelta(seconds=ago)
        key = first_id_at(at)
        Gap.objects.create(
            id=key, server=server, reason=Gap.Reason.DISCONNECTED, started_at=at, ended_at=at, after_id=key
        )
        return str(key)

    old, newer = make_gap(200), [make_gap(ago) for ago in (50, 40, 30)]

    def gaps(answer: dict[str, Any]) -> list[str]:
        return [item["id"] for item in answer["items"] if item["kind"] == "gap"]

    first = ask(page)
    assert gaps(first) == newer[:0:-1]
    assert first["gaps_cut"] is True
    second = ask(page, before=first["more"])
    assert gaps(second) == [old]
    assert second["gaps_cut"] is False


def test_pages_follow_each_other_without_a_hole_or_a_double(page: Client, server: Server) -> None:
    made = [str(make_event(server, ago=60 - n / 100).pk) for n in range(ROWS + 7)]
    first = ask(page)
    second = ask(page, before=first["more"])
    ids = [item["id"] for answer in (first, second) for item in answer["items"]]
    assert ids == list(reversed(made))
    assert second["more"] is None
    assert "bars" not in second


def test_each_condition_narrows_what_is_found(page: Client, server: Server) -> None:
    mine = make_event(
        server, name="Newchannel", Channel="PJSIP/100-1", Linkedid="7.1", Uniqueid="7.2", CallerIDNum="100"
    )
    make_event(server, Channel="PJSIP/200-1", Linkedid="8.1", Uniqueid="8.2", CallerIDNum="200")
    make_event(server, ago=7200, name="Newchannel", Channel="PJSIP/100-1", Linkedid="7.1", CallerIDNum="100")
    for address in (
        {"names": "newchannel, Queue*"},
        {"channel": "PJSIP/100-*"},
        {"linkedid": "7.1"},
        {"uniqueid": "7.2"},
        {"words": "10*"},
        {"text": "Channel:pjsip/1*"},
    ):
        assert found(page, **address) == [str(mine.pk)], address
    assert len(found(page, linkedid="7.1", range="86400")) == 2


def test_a_search_in_the_headers_says_how_many_it_has_read_and_has_no_bars(
    page: Client, server: Server
) -> None:
    for number in range(5):
        make_event(server, Channel=f"PJSIP/{number}-1")
    answer = ask(page, text="PJSIP/3")
    assert (len(answer["items"]), answer["scanned"], answer["bars"]) == (1, 5, None)


def test_an_answer_is_about_one_server_or_the_servers_of_a_tag(
    client: Client, server: Server, admin_user: User
) -> None:
    other = make_server(name="Paris")
    tag = Tag.objects.create(name="france")
    other.tags.add(tag)
    here, there = make_event(server), make_event(other)
    client.force_login(admin_user)
    assert len(found(client)) == 2
    assert found(client, server=str(server.pk)) == [str(here.pk)]
    assert found(client, tag=str(tag.pk)) == [str(there.pk)]
    assert found(client, server=str(server.pk), tag=str(tag.pk)) == []


def test_what_can_not_be_looked_for_is_told(page: Client) -> None:
    for address in ({"since": "now"}, {"before": "x"}, {"before": "9" * 30}, {"words": "***"}, {"text": "*"}):
        response = page.get(f"{PAGE}data/", address)
        assert response.status_code == 400
        assert response.json()["error"].endswith((".", "it."))


# The files


@pytest.fixture
def many(server: Server) -> Iterator[list[Event]]:
    yield [make_event(server, ago=600 - n / 10, Channel=f"PJSIP/{n}", CallerIDName="=1+1") for n in range(3)]


async def body(client: AsyncClient, url: str) -> bytes:
    response: Any = await client.get(url)
    assert response.status_code == 200
    parts = [part async for part in response.streaming_content]
    await sync_to_async(connections.close_all)()  # of the view's thread, which ends with this loop
    return b"".join(parts)


@pytest.mark.django_db(transaction=True)
def test_an_export_holds_all_that_was_found_and_no_formula(viewer: User, many: list[Event]) -> None:
    client = AsyncClient()
    client.force_login(viewer)
    text = asyncio.run(body(client, f"{PAGE}events.csv?channel=PJSIP/*")).decode("utf-8-sig")
    head, *rows = csv.reader(io.StringIO(text))
    assert head == ["Time (UTC)", "Server", "Event", "Channel", "Uniqueid", "Linkedid", "Headers"]
    assert [row[3] for row in rows] == ["PJSIP/2", "PJSIP/1", "PJSIP/0"]
    assert "Channel: PJSIP/2" in rows[0][6].splitlines()

    events = json.loads(asyncio.run(body(client, f"{PAGE}events.json")))
    assert [event["id"] for event in events] == [str(event.pk) for event in reversed(many)]
    assert events[0]["headers"] == many[-1].headers
    assert events[0]["server"] == "Berlin"
    assert json.loads(asyncio.run(body(client, f"{PAGE}events.json?names=Nothing"))) == []

    elsewhere = make_person("otto", "view_event")
    grant(elsewhere, Danger.READ, on=make_server(name="Paris"))
    client.force_login(elsewhere)
    server = many[0].server_id
    assert json.loads(asyncio.run(body(client, f"{PAGE}events.json?server={server}"))) == []
    assert len(asyncio.run(body(client, f"{PAGE}events.csv?server={server}")).splitlines()) == 1


def cut_short(client: AsyncClient, url: str, withdraw: Callable[[], object]) -> str:
    """What came of an export during which a right was withdrawn, which has to end with the error."""
    taken: list[bytes] = []

    async def take() -> None:
        response: Any = await client.get(url)
        with pytest.raises(RightWithdrawn):
            async for part in response.streaming_content:
                if not taken:
                    await sync_to_async(withdraw)()
                taken.append(part)
        await sync_to_async(connections.close_all)()

    asyncio.run(take())
    return b"".join(taken).decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("withdrawn", ["rule", "permission", "session"])
def test_an_export_ends_with_a_word_and_an_error_when_a_right_is_withdrawn(
    viewer: User, many: list[Event], monkeypatch: pytest.MonkeyPatch, withdrawn: str
) -> None:
    def withdraw() -> None:
        match withdrawn:
            case "rule":
                AccessRule.objects.all().delete()
            case "permission":
                viewer.user_permissions.clear()
            case "session":
                Session.objects.all().delete()

    monkeypatch.setattr(search, "RIGHTS_SECONDS", 0.0)
    monkeypatch.setattr(history_views, "PARTS_AT_ONCE", 2)
    client = AsyncClient()
    client.force_login(viewer)
    text = cut_short(client, f"{PAGE}events.{'csv' if withdrawn == 'rule' else 'json'}", withdraw)
    assert text.count("PJSIP/") < len(many)
    assert text.splitlines()[-1].strip('"').startswith("This isn't all: meanwhile you were logged out")
    with pytest.raises(json.JSONDecodeError):  # so that no program takes it for all
        json.loads(text)


@pytest.mark.django_db(transaction=True)
def test_an_export_goes_on_when_rights_on_other_servers_change(
    viewer: User, many: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "RIGHTS_SECONDS", 0.0)
    client = AsyncClient()
    client.force_login(viewer)
    grant(viewer, Danger.READ, on=make_server(name="Paris"))
    everything = asyncio.run(body(client, f"{PAGE}events.json?server={many[0].server_id}"))
    assert len(json.loads(everything)) == len(many)


def test_an_export_of_nonsense_is_refused(page: Client) -> None:
    response = page.get(f"{PAGE}events.csv", {"since": "x"})
    assert (response.status_code, response.content) == (
        400,
        "“x” is no time. Write it as in 2026-01-31T09:30:00Z.\n".encode(),
    )


# Who may


URLS = ("", "data/", "events.csv", "events.json")


def test_somebody_with_rights_on_another_server_finds_nothing_of_this_one(
    client: Client, server: Server
) -> None:
    make_event(server)
    person = make_person("otto", "view_event")
    grant(person, Danger.READ, on=make_server(name="Paris"))
    client.force_login(person)
    answer = ask(client, server=str(server.pk))
    assert answer["items"] == []
    assert sum(count for _, count in answer["bars"]) == 0
    assert [one["name"] for one in answer["servers"]] == ["Paris"]


@pytest.mark.parametrize("url", URLS)
def test_a_stranger_is_shown_nothing(client: Client, server: Server, url: str) -> None:
    make_event(server)
    client.force_login(make_person("eve", "view_server"))
    assert client.get(PAGE + url).status_code == 403
    client.logout()
    assert client.get(PAGE + url).status_code == 302


# Saved filters


def save(client: Client, name: str, query: str) -> Any:
    return client.post(f"{PAGE}save/", {"name": name, "query": query})


def test_a_filter_is_saved_replaced_and_forgotten(page: Client, viewer: User) -> None:
    assert save(page, " Calls  of 100 ", "words=100&nonsense=1&range=900").json() == {
        "saved": [{"name": "Calls of 100", "query": "words=100&range=900"}]
    }
    save(page, "Calls of 100", "words=101")
    (kept,) = SavedFilter.objects.filter(user=viewer)
    assert kept.query == "words=101"
    assert b"Calls of 100" in page.get(PAGE).content
    assert page.post(f"{PAGE}forget/", {"name": "Calls of 100"}).json() == {"saved": []}


@pytest.mark.parametrize(
    ("name", "query", "says"),
    [
        ("", "words=1", "Give the filter a name"),
        ("x" * 81, "words=1", "at most 80"),
        ("a\x07b", "words=1", "at most 80"),
        ("well", "since=never", "is no time"),
    ],
)
def test_a_filter_that_can_not_be_saved_is_refused_in_words(
    page: Client, name: str, query: str, says: str
) -> None:
    response = save(page, name, query)
    assert response.status_code == 400
    assert says in response.json()["error"]
    assert not SavedFilter.objects.exists()


def test_nobody_sees_or_forgets_the_filter_of_another(page: Client, client: Client, admin_user: User) -> None:
    save(page, "mine", "words=1")
    client.force_login(admin_user)
    assert client.post(f"{PAGE}forget/", {"name": "mine"}).json() == {"saved": []}
    assert b"mine" not in client.get(PAGE).content.partition(b"history-saved")[2][:200]
    assert SavedFilter.objects.filter(name="mine").exists()


def test_a_stranger_saves_and_forgets_nothing(client: Client) -> None:
    client.force_login(make_person("eve", "view_server"))
    assert save(client, "x", "").status_code == 403
    assert client.post(f"{PAGE}forget/", {"name": "x"}).status_code == 403


def test_a_page_of_history_takes_few_queries_however_many_servers(
    page: Client, viewer: User, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        other = make_server(name=f"S{number}")
        grant(viewer, Danger.READ, on=other)
        make_event(other)
    with django_assert_max_num_queries(20):
        assert len(found(page)) == 20
