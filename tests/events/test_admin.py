"""The read-only pages of stored events and gaps."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ami_integration.access.danger import Danger
from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.events.tables import is_partitioned
from ami_integration.servers.models import Server
from tests.access.factories import grant, make_person
from tests.servers.factories import make_server

EVENTS = "/admin/ami_integration/event/"
GAPS = "/admin/ami_integration/gap/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Server:
    return make_server()


@pytest.fixture
def viewer() -> Client:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_event", "view_gap")))
    grant(user, Danger.READ)
    client = Client()
    client.force_login(user)
    return client


def store(server: Server, name: str = "Newchannel", *, minutes_ago: float = 0, number: int = 0) -> Event:
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    return Event.objects.create(
        id=first_id_at(at) + number,
        server=server,
        at=at,
        name=name,
        linkedid="17.1",
        headers=[["Event", name], ["CallerIDName", "<b>Ada</b>"]],
    )


def names(client: Client, query: str = "") -> list[str]:
    page = client.get(EVENTS + query)
    assert page.status_code == 200
    return re.findall(r'field-name">(\w+)<', page.content.decode())


def test_events_are_filtered_by_server_time_and_name(viewer: Client, server: Server) -> None:
    other = make_server(name="Oslo")
    store(server, "Recent")
    store(server, "Old", minutes_ago=120)
    store(other, "Elsewhere", number=1)
    assert names(viewer) == ["Elsewhere", "Recent", "Old"]
    assert names(viewer, f"?server={server.pk}") == ["Recent", "Old"]
    assert names(viewer, "?time=60") == ["Elsewhere", "Recent"]
    assert names(viewer, "?q=Old") == ["Old"]


def test_people_look_up_events_of_servers_that_they_may_read_and_of_no_others(server: Server) -> None:
    other = make_server(name="Oslo")
    here, there = store(server, "Here"), store(other, "There", number=1)
    stranger, viewer, neighbour = (make_person(name) for name in ("stranger", "viewer", "neighbour"))
    grant(viewer, Danger.READ, on=server)
    grant(neighbour, on=other)
    grant(neighbour, Danger.OPERATE, on=server)
    for user, seen in ((stranger, []), (viewer, ["Here"]), (neighbour, ["There"])):
        client = Client()
        client.force_login(user)
        assert names(client) == seen
        assert names(client, f"?server={other.pk}") == [name for name in seen if name == "There"]
        for event in (here, there):
            page = client.get(f"{EVENTS}{event.pk}/change/")
            assert (page.status_code == 200) == (event.name in seen)


def test_an_event_shows_all_its_headers_as_text(viewer: Client, server: Server) -> None:
    page = viewer.get(f"{EVENTS}{store(server).pk}/change/").content.decode()
    assert "CallerIDName: &lt;b&gt;Ada&lt;/b&gt;" in page


def test_events_of_a_deleted_server_are_shown_nowhere_and_hinder_nothing(
    viewer: Client, server: Server
) -> None:
    store(server)
    server.delete()
    assert names(viewer) == []


def test_nothing_can_be_changed(server: Server, admin_client: Client) -> None:
    event = store(server)
    assert admin_client.get(f"{EVENTS}add/").status_code == 403
    assert admin_client.post(f"{EVENTS}{event.pk}/change/", {"name": "x"}).status_code == 403
    assert admin_client.post(f"{EVENTS}{event.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_member_of_staff_without_the_permission_sees_nothing(server: Server) -> None:
    client = Client()
    client.force_login(User.objects.create_user("stranger", is_staff=True))
    for page in (EVENTS, GAPS, "/admin/live/"):
        assert client.get(page).status_code == 403


def test_the_list_never_counts_the_whole_table(viewer: Client, server: Server) -> None:
    for number in range(150):
        store(server, number=number)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        viewer.get(EVENTS)
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert counts
    assert all("LIMIT 10000" in sql for sql in counts)
    assert len(queries) < 10


def test_a_gap_is_listed_with_its_reason(viewer: Client, server: Server) -> None:
    now = datetime.now(UTC)
    Gap.objects.create(
        id=first_id_at(now), server=server, reason=Gap.Reason.OVERLOAD, started_at=now, after_id=1, lost=7
    )
    page = viewer.get(GAPS).content.decode()
    assert "More events than could be taken" in page
    assert 'field-lost">7<' in page


def test_the_live_page_is_for_those_who_may_watch(viewer: Client, client: Client) -> None:
    page = viewer.get("/admin/live/")
    assert page.status_code == 200
    assert "Live events" in page.content.decode()
    assert client.get("/admin/live/").status_code == 302  # to the login


def test_the_size_of_the_store_stands_beside_its_settings(viewer: Client, server: Server) -> None:
    page = viewer.get(f"{EVENTS}size/").content.decode()
    assert "None is stored yet" in page
    store(server, minutes_ago=60 * 24 * 400)
    page = viewer.get(f"{EVENTS}size/").content.decode()
    assert "7 days" in page
    assert "AMIWEB_EVENT_RETENTION_GB" in page
    assert "VarSet" in page
    if is_partitioned():
        assert "1 event of days that have no partition" in page
        assert f"{datetime.now(UTC):%Y-%m-%d}" in page
    assert "size/" in viewer.get(EVENTS).content.decode()


def test_a_stranger_does_not_learn_the_size_of_the_store() -> None:
    client = Client()
    client.force_login(User.objects.create_user("stranger", is_staff=True))
    assert client.get(f"{EVENTS}size/").status_code == 403


def test_an_empty_list_of_events_says_what_to_do(viewer: Client, server: Server) -> None:
    assert "No event is stored yet" in viewer.get(EVENTS).content.decode()
    assert "No stored event matches" in viewer.get(f"{EVENTS}?q=Nothing").content.decode()
    assert "No gap: amiweb has heard every server" in viewer.get(GAPS).content.decode()
    assert "No gap matches" in viewer.get(f"{GAPS}?time=60").content.decode()
    assert "No snapshot yet" in viewer.get("/admin/ami_integration/snapshot/").content.decode()


def test_a_snapshot_shows_its_items_as_text_to_those_who_may_read_its_server(server: Server) -> None:
    now = datetime.now(UTC)
    snapshot = Snapshot.objects.create(
        id=first_id_at(now),
        server=server,
        at=now,
        after_id=1,
        action="CoreShowChannels",
        items=[[["Event", "CoreShowChannel"], ["CallerIDName", "<b>Ada</b>"]]],
    )
    stranger, viewer = make_person("stranger"), make_person("viewer")
    grant(viewer, Danger.READ, on=server)
    path = f"/admin/ami_integration/snapshot/{snapshot.pk}/change/"
    client = Client()
    client.force_login(viewer)
    assert "CallerIDName: &lt;b&gt;Ada&lt;/b&gt;" in client.get(path).content.decode()
    assert "CoreShowChannels" in client.get("/admin/ami_integration/snapshot/").content.decode()
    client.force_login(stranger)
    assert client.get(path).status_code != 200


def test_lists_show_seconds_and_the_zone_and_utc_on_hover(viewer: Client, server: Server) -> None:
    at = datetime(2026, 1, 31, 19, 11, 5, 120_000, tzinfo=UTC)
    Event.objects.create(id=first_id_at(at), server=server, at=at, name="Newchannel", linkedid="", headers=[])
    Gap.objects.create(
        id=first_id_at(at), server=server, reason="cut", started_at=at, ended_at=at, after_id=1
    )
    shown = 'title="2026-01-31 19:11:05.120 UTC">2026-01-31 19:11:05 UTC</time>'
    assert viewer.get(EVENTS).content.decode().count(shown) == 1
    assert viewer.get(GAPS).content.decode().count(shown) == 2
    assert shown in viewer.get(f"{GAPS}{first_id_at(at)}/change/").content.decode()


def test_show_all_is_offered_only_where_something_is_filtered(viewer: Client, server: Server) -> None:
    store(server)
    assert "Show all" not in viewer.get(EVENTS).content.decode()
    assert "Show all" in viewer.get(f"{EVENTS}?q=Newchannel").content.decode()
