"""The pages of the catalogue, as a stranger, a viewer and somebody with rights on another server see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.test import Client

from ami_integration.actions import doorbell
from ami_integration.actions.catalogue.descriptions import Argument, EventDescription
from ami_integration.actions.catalogue.models import Catalogue, ServerCatalogue
from ami_integration.servers.models import Server
from tests.access.factories import grant, make_person
from tests.actions.catalogue.making import MUTE, NEWCHANNEL, ORIGINATE, PING, make_catalogue
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
ACTIONS = "/admin/ami_integration/catalogueaction/"
EVENTS = "/admin/ami_integration/catalogueevent/"
CATALOGUES = "/admin/ami_integration/catalogue/"


@pytest.fixture
def berlin() -> Server:
    return make_server()


@pytest.fixture
def paris() -> Server:
    return make_server(name="Paris")


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def viewer_of(server: Server, *permissions: str) -> Client:
    person = make_person(f"viewer of {server}", "view_catalogueaction", "add_actionrun", *permissions)
    grant(person, "read", on=server)
    return client_of(person)


def text_of(client: Client, url: str, **query: str) -> str:
    response = client.get(url, query)
    assert response.status_code == 200, response
    return response.content.decode()


def test_a_stranger_sees_nothing(berlin: Server) -> None:
    make_catalogue(servers=[berlin])
    assert Client().get(ACTIONS).status_code == 302
    outsider = client_of(make_person("outsider", "view_event"))
    for url in (ACTIONS, f"{ACTIONS}Ping/", EVENTS, f"{EVENTS}Newchannel/", CATALOGUES):
        assert outsider.get(url).status_code in (403, 404)
    stranger = client_of(make_person("stranger"))
    assert "MuteAudio" not in text_of(stranger, ACTIONS)
    assert "Newchannel" not in text_of(stranger, EVENTS)
    assert "Berlin" not in text_of(stranger, CATALOGUES)
    assert stranger.get(f"{ACTIONS}Ping/").status_code == 404
    assert stranger.get(f"{EVENTS}Newchannel/").status_code == 404


def test_one_sees_what_one_s_own_servers_have(berlin: Server, paris: Server) -> None:
    make_catalogue("22.10.1", servers=[berlin])
    make_catalogue("16.28.0", [PING], [], servers=[paris])
    ours, theirs = viewer_of(berlin), viewer_of(paris)
    assert "MuteAudio" in text_of(ours, ACTIONS)
    assert "MuteAudio" not in text_of(theirs, ACTIONS)
    assert theirs.get(f"{ACTIONS}MuteAudio/").status_code == 404
    assert "Berlin" not in text_of(theirs, f"{ACTIONS}Ping/")
    assert "22.10.1" not in text_of(theirs, f"{ACTIONS}Ping/")
    assert "Newchannel" in text_of(ours, EVENTS)
    assert "Newchannel" not in text_of(theirs, EVENTS)
    assert "Paris" not in text_of(ours, CATALOGUES)


@pytest.mark.parametrize(
    ("query", "found", "missing"),
    [
        ({"q": "exten"}, "Originate", "MuteAudio"),
        ({"q": "silence"}, "MuteAudio", "Originate"),
        ({"danger": "read"}, "Ping", "Originate"),
        ({"danger": "originate"}, "Originate", "MuteAudio"),
    ],
)
def test_actions_are_searched(berlin: Server, query: dict[str, str], found: str, missing: str) -> None:
    make_catalogue(servers=[berlin])
    page = text_of(viewer_of(berlin), ACTIONS, **query)
    assert f"{ACTIONS}{found}/" in page
    assert f"{ACTIONS}{missing}/" not in page


def test_a_search_without_a_hit_says_what_to_do(berlin: Server) -> None:
    make_catalogue(servers=[berlin])
    client = viewer_of(berlin)
    assert "Show everything" in text_of(client, ACTIONS, q="nonsense")
    assert "Show everything" in text_of(client, EVENTS, q="nonsense")


def test_before_the_first_reading_the_pages_say_so(berlin: Server) -> None:
    client = viewer_of(berlin)
    assert "No server was read yet" in text_of(client, ACTIONS)
    assert "No server was read yet" in text_of(client, EVENTS)
    assert "not read yet" in text_of(client, CATALOGUES)


def test_pbxs_that_describe_no_event_are_told_from_unread_ones(berlin: Server) -> None:
    make_catalogue(events=[], servers=[berlin])
    assert "describe none" in text_of(viewer_of(berlin), EVENTS)


def test_an_action_s_page_shows_its_headers_and_its_danger(berlin: Server) -> None:
    make_catalogue(servers=[berlin])
    page = text_of(viewer_of(berlin), f"{ACTIONS}originate/")
    assert "Who is called." in page
    assert "required" in page
    assert 'data-danger="originate"' in page
    assert "not safe" in page
    assert "one of originate, all" in page
    assert "/admin/ami_integration/actionrun/add/?action=Originate" in page


def test_an_action_s_page_says_where_it_is_and_what_differs(berlin: Server, paris: Server) -> None:
    make_catalogue("22.10.1", servers=[berlin])
    older = replace(ORIGINATE, arguments=(*ORIGINATE.arguments[:3], Argument("Codecs")))
    make_catalogue("16.28.0", [PING, older], servers=[paris])
    root = client_of(User.objects.create_superuser("root"))
    page = text_of(root, f"{ACTIONS}Originate/")
    assert "new header: Codecs" in page
    assert "header no more: Variable" in page
    assert "The same in all of them." in text_of(root, f"{ACTIONS}Ping/")
    assert "have it" in text_of(root, f"{ACTIONS}MuteAudio/")


def test_an_event_s_page_shows_every_description(berlin: Server) -> None:
    again = EventDescription("Newchannel", synopsis="Another reason.", arguments=(Argument("Why"),))
    make_catalogue(events=[replace(NEWCHANNEL, others=(again,))], servers=[berlin])
    page = text_of(viewer_of(berlin), f"{EVENTS}newchannel/")
    assert "A channel came." in page
    assert "Another reason." in page


def test_catalogues_are_compared(berlin: Server, paris: Server) -> None:
    new = make_catalogue("22.10.1", servers=[berlin])
    old = make_catalogue("16.28.0", [PING, replace(MUTE, arguments=())], servers=[paris])
    root = client_of(User.objects.create_superuser("root"))
    assert "Compare" in text_of(root, CATALOGUES)
    page = text_of(root, f"{CATALOGUES}compare/", old=str(old.pk), new=str(new.pk))
    assert "Originate" in page
    assert "new headers: Channel, Direction" in page
    one = {"old": str(old.pk), "new": str(new.pk)}
    assert viewer_of(berlin).get(f"{CATALOGUES}compare/", one).status_code == 404


def test_words_of_a_pbx_are_text(berlin: Server) -> None:
    evil = "<script>alert(1)</script>"
    bad = replace(PING, synopsis=evil, description=evil, arguments=(Argument("A", text=evil),))
    make_catalogue(actions=[bad], servers=[berlin])
    client = viewer_of(berlin)
    assert evil not in text_of(client, ACTIONS) + text_of(client, f"{ACTIONS}Ping/")


# Having servers read


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []

    def ring(ids: list[int], *, task: str) -> list[int]:
        found.extend(ids)
        return ids

    monkeypatch.setattr(doorbell, "ring", ring)
    return found


def test_the_button_has_a_server_read(berlin: Server, paris: Server, rung: list[int]) -> None:
    client = viewer_of(berlin, "change_server")
    response = client.post(f"{CATALOGUES}read/", {"server": [berlin.pk, paris.pk]}, follow=True)
    assert "The catalogue of 1 server is being read" in response.content.decode()
    assert rung == [berlin.pk]  # Paris is not hers to see


def test_the_button_takes_the_permission_to_change_servers(berlin: Server, rung: list[int]) -> None:
    client = viewer_of(berlin)
    assert client.post(f"{CATALOGUES}read/", {"server": berlin.pk}).status_code == 403
    assert client.get(f"{CATALOGUES}read/").status_code == 405
    assert rung == []
    assert "Read berlin" not in text_of(client, CATALOGUES)


def test_the_list_of_servers_has_a_bulk_action(berlin: Server, paris: Server, rung: list[int]) -> None:
    make_server(name="Off", enabled=False)
    make_server(name="Under the knife", maintenance=True)
    root = client_of(User.objects.create_superuser("root"))
    chosen = [str(server.pk) for server in Server.objects.all()]
    values = {"action": "read_catalogue", "_selected_action": chosen}
    page = root.post("/admin/ami_integration/server/", values, follow=True).content.decode()
    assert "The catalogue of 2 servers is being read" in page
    assert "disabled or in maintenance aren&#x27;t read" in page
    assert sorted(rung) == [berlin.pk, paris.pk]


def test_a_task_queue_that_is_away_is_told(berlin: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring", lambda ids, *, task: [])
    client = viewer_of(berlin, "change_server")
    page = client.post(f"{CATALOGUES}read/", {"server": berlin.pk}, follow=True).content.decode()
    assert "task queue can&#x27;t be reached" in page


def test_a_failed_reading_is_shown_with_what_was_known(berlin: Server) -> None:
    make_catalogue(servers=[berlin])
    ServerCatalogue.objects.update(error="Nobody listens there.")
    page = text_of(viewer_of(berlin), CATALOGUES)
    assert "Nobody listens there." in page
    assert "Asterisk 22.10.1" in page


@pytest.mark.parametrize("url", [ACTIONS, f"{ACTIONS}Ping/", EVENTS, CATALOGUES])
def test_pages_ask_the_database_no_more_often_for_many_servers(
    berlin: Server, url: str, django_assert_max_num_queries: Callable[..., object]
) -> None:
    make_catalogue(servers=[berlin, *(make_server(name=f"Nr {n}") for n in range(30))])
    root = client_of(User.objects.create_superuser("root"))
    with django_assert_max_num_queries(14):  # type: ignore[attr-defined]
        text_of(root, url)
    assert Catalogue.objects.count() == 1
