"""The page of one server, as an administrator, somebody with few rights and a stranger see it."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from ami_integration.access.danger import Danger
from ami_integration.audit.admin import about_url
from ami_integration.console.server_page import certificate_ending
from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Event, Gap
from ami_integration.servers.models import Server, ServerAbilities, ServerHealth
from ami_integration.servers.services import server_health_set
from tests.access.factories import grant, make_person
from tests.actions.factories import make_run
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db

#: Of the whole page, however much it shows: session, user, server, tags, runs, events, gaps, and what stands
#: around them.
QUERIES = 12


def address(server: Server) -> str:
    return reverse("admin:ami_integration_server_page", args=[server.pk])


def text(client: Client, server: Server) -> str:
    answer = client.get(address(server))
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


def client_of(username: str, *permissions: str, dangers: list[Danger] | None = None) -> Client:
    person = make_person(username, *permissions)
    if dangers is None:
        grant(person)
    elif dangers:
        grant(person, dangers=dangers)
    client = Client()
    client.force_login(person)
    return client


def make_events(server: Server, number: int, *, minutes_ago: int) -> None:
    at = timezone.now() - timedelta(minutes=minutes_ago)
    first = first_id_at(at)
    Event.objects.bulk_create(
        Event(id=first + count, server=server, at=at, name="Hangup", headers=[]) for count in range(number)
    )


def test_a_name_in_the_list_leads_to_the_page(admin_client: Client) -> None:
    server = make_server()
    listed = admin_client.get(reverse("admin:ami_integration_server_changelist")).content.decode()
    assert f'href="{address(server)}"' in listed
    assert "Berlin" in text(admin_client, server)


def test_a_new_server_says_what_is_not_known_and_what_to_do(admin_client: Client) -> None:
    page = text(admin_client, make_server())
    for words in (
        "No listener has told of it lately",
        "not known yet: it is asked at the login",
        "Nothing has run on it yet",
        "No stored event in the last hour",
        "Not known yet: amiweb asks when it reads the catalogue",
    ):
        assert words in page


def test_health_version_and_uptime_are_told(admin_client: Client) -> None:
    server = make_server()
    now = timezone.now()
    server_health_set(
        server_id=server.pk,
        state="online",
        error="Was away.",
        asterisk_version="22.10.1",
        ami_version="11.0.0",
        booted_at=now - timedelta(days=3, hours=4, minutes=1),
        reloaded_at=now - timedelta(hours=1),
        uptime_note="",
    )
    page = text(admin_client, server)
    for words in ("Online", "22.10.1", "11.0.0", "3 days, 4 hours", "Was away.", "Last reload"):
        assert words in page
    server_health_set(server_id=server.pk, state="offline")
    assert "It last started" in text(admin_client, server)


def test_a_wall_time_without_a_zone_is_counted_in_the_servers_and_said_so(admin_client: Client) -> None:
    server = make_server(timezone="Asia/Kolkata")
    local = (timezone.now() + timedelta(hours=5, minutes=30) - timedelta(hours=2, seconds=30)).replace(
        tzinfo=None
    )
    server_health_set(server_id=server.pk, state="online", booted_at=local, reloaded_at=local, uptime_note="")
    page = text(admin_client, server)
    assert "2 hours" in page
    assert "Counted in the time zone Asia/Kolkata" in page


def test_a_login_that_may_not_ask_for_the_uptime_is_said_with_its_cure(admin_client: Client) -> None:
    server = make_server()
    note = "The login may not ask: add system."
    server_health_set(server_id=server.pk, state="online", uptime_note=note)
    assert note in text(admin_client, server)


@pytest.mark.parametrize(
    ("left", "words", "state"),
    [
        (timedelta(days=200, hours=1), "expires in 200 days", "ok"),
        (timedelta(days=12, hours=1), "expires in 12 days", "soon"),
        (timedelta(days=6, hours=1), "expires in 6 days", "urgent"),
        (timedelta(hours=5), "expires in 5\xa0hours", "urgent"),
        (timedelta(days=-2, hours=-1), "expired 2\xa0days ago", "urgent"),
    ],
)
def test_a_certificate_tells_when_it_ends(left: timedelta, words: str, state: str) -> None:
    now = timezone.now()
    ending = certificate_ending(ServerHealth(certificate_not_after=now + left), now=now)
    assert (ending.words, ending.state) == (words, state)


def test_events_are_plotted_by_minute_with_gaps_and_as_a_table(admin_client: Client) -> None:
    server = make_server()
    make_events(server, 7, minutes_ago=5)
    make_events(server, 2, minutes_ago=20)
    make_events(server, 99, minutes_ago=90)
    now = timezone.now()
    Gap.objects.create(
        id=1,
        server=server,
        reason=Gap.Reason.DISCONNECTED,
        started_at=now - timedelta(minutes=12),
        ended_at=now - timedelta(minutes=10),
        after_id=1,
    )
    page = text(admin_client, server)
    assert "9 stored events in the last hour, 7 in the busiest minute." in page
    assert page.count('class="server-bar"') == 2
    assert page.count('class="server-gap"') in (2, 3)
    assert page.count("<td>yes</td>") == page.count('class="server-gap"')
    assert "style=" not in page[page.index("<svg") : page.index("</svg>")]


def test_what_the_login_may_do_is_told_with_the_line_that_would_give_more(admin_client: Client) -> None:
    server = make_server(action_username="doer", action_secret="another-secret")
    actions = {"Ping": "<none>", "Originate": "originate,all"}
    ServerAbilities.objects.create(server=server, actions=actions, read_at=timezone.now())
    page = text(admin_client, server)
    assert "Actions run as <strong>doer</strong>, which may run 2 actions." in page
    assert "Its write= has at least originate." in page
    assert "may</span> originate calls" in page
    assert "may not</span> run CLI commands" in page
    assert "add command to the write= line of [doer] in manager.conf" in page
    assert "The account <strong>amiweb</strong> only listens" in page


def test_the_last_ten_runs_are_shown_with_their_state(admin_client: Client) -> None:
    server = make_server()
    runs = [make_run(server=server, action=f"Ping{number}", status="succeeded") for number in range(12)]
    make_run(server=make_server(name="Bonn"), action="Elsewhere")
    page = text(admin_client, server)
    assert page.count('data-state="succeeded"') == 10
    assert reverse("admin:ami_integration_actionrun_change", args=[runs[-1].pk]) in page
    assert "Ping1<" not in page
    assert "Elsewhere" not in page


def test_a_stranger_finds_no_page_and_no_part_of_it() -> None:
    server = make_server()
    client = client_of("zoe", "view_server", "view_event", "view_actionrun", dangers=[])
    for name in ("page", "part"):
        where = reverse(f"admin:ami_integration_server_{name}", args=[server.pk])
        assert client.get(where).status_code == 404
        assert Client().get(where).status_code == 302


def test_who_may_see_the_server_alone_sees_neither_runs_nor_events_nor_what_changes_it() -> None:
    server = make_server()
    make_run(server=server, action="SecretiveAction")
    make_events(server, 5, minutes_ago=3)
    page = text(client_of("bob", "view_server", dangers=[Danger.ORIGINATE]), server)
    assert "You may not watch the events of this server" in page
    assert "server-bar" not in page
    assert "SecretiveAction" not in page
    for absent in ("Test connection</button>", ">Change<", "Its runs", "Its audit", "Live events</a>"):
        assert absent not in page


def test_an_administrator_finds_the_ways_on(admin_client: Client) -> None:
    server = make_server()
    page = text(admin_client, server)
    for name in ("change", "test"):
        assert reverse(f"admin:ami_integration_server_{name}", args=[server.pk]) in page
    for where in (
        f"/admin/live/?server={server.pk}",
        f"{reverse('admin:event_history')}?server={server.pk}",
        f"{reverse('admin:ami_integration_actionrun_changelist')}?server__id__exact={server.pk}",
        f"{reverse('admin:ami_integration_schedule_changelist')}?server={server.pk}",
    ):
        assert where in page
        assert admin_client.get(where).status_code == 200
    assert about_url("server", server.pk) in html.unescape(page)


def test_what_a_pbx_says_of_itself_is_text(admin_client: Client) -> None:
    server = make_server(notes="<script>notes</script>")
    server_health_set(
        server_id=server.pk, state="offline", error="<script>x</script>", asterisk_version="<b>22</b>"
    )
    page = text(admin_client, server)
    assert "<script>x" not in page
    assert "<script>notes" not in page
    assert "<b>22" not in page


def test_the_page_takes_few_queries_however_much_it_shows(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    server = make_server()
    server_health_set(server_id=server.pk, state="online")
    ServerAbilities.objects.create(server=server, actions={"Ping": "<none>"}, read_at=timezone.now())
    for _ in range(10):
        make_run(server=server)
    make_events(server, 20, minutes_ago=3)
    admin_client.get(address(server))
    with django_assert_max_num_queries(QUERIES):
        admin_client.get(address(server))
    with django_assert_max_num_queries(QUERIES):
        admin_client.get(reverse("admin:ami_integration_server_part", args=[server.pk]))
