"""How long a login lasts, and what is activity."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from ami_integration.access.logins import SEEN
from tests.access.factories import make_person

pytestmark = pytest.mark.django_db

PAGE = "/admin/ami_integration/server/"


@pytest.fixture
def person() -> User:
    return make_person("anna", "view_server", "view_serverhealth")


@pytest.fixture
def client(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def idle_for(client: Client, seconds: float) -> None:
    session = client.session
    session[SEEN] = int(time.time() - seconds)
    session.save()


def seen_ago(client: Client) -> float:
    return time.time() - client.session[SEEN]


def test_somebody_who_does_something_stays(client: Client, settings: Settings) -> None:
    idle_for(client, settings.AMIWEB_SESSION_IDLE - 60)
    assert client.get(PAGE).status_code == 200
    assert seen_ago(client) < 60


def test_after_a_while_without_activity_one_has_to_log_in_and_is_told_why(
    client: Client, settings: Settings
) -> None:
    idle_for(client, settings.AMIWEB_SESSION_IDLE + 1)
    answer = client.get(PAGE)
    assert answer.headers["Location"] == f"/admin/login/?next={PAGE}"
    assert "nothing was done here for 30 minutes" in client.get(answer.headers["Location"]).content.decode()
    assert "_auth_user_id" not in client.session


def test_what_is_posted_after_that_is_not_done(client: Client, settings: Settings) -> None:
    idle_for(client, settings.AMIWEB_SESSION_IDLE + 1)
    assert client.post("/admin/session/stay/").status_code == 302
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize("address", ["/admin/status/data/", "/admin/status/glance/", "/admin/session/"])
def test_what_pages_ask_by_themselves_is_no_activity(
    client: Client, address: str, settings: Settings, valkey: object
) -> None:
    idle_for(client, settings.AMIWEB_SESSION_IDLE - 10)
    assert client.get(address).status_code == 200
    assert seen_ago(client) > 60
    idle_for(client, settings.AMIWEB_SESSION_IDLE + 1)
    assert client.get(address).status_code == 200, "it may go on"
    assert client.head(PAGE).status_code == 200, "which is how live pages ask whether they may"
    assert client.get(PAGE).status_code == 302, "but a click is no watching"


def test_a_click_is_not_written_down_each_time(client: Client) -> None:
    idle_for(client, 20)
    client.get(PAGE)
    assert seen_ago(client) > 15


def test_the_login_ends_at_its_limit_whatever_one_does(client: Client, settings: Settings) -> None:
    expires = client.session.get_expiry_date()
    for _ in range(2):
        idle_for(client, 120)  # so that the session is saved, which must not prolong it
        client.get(PAGE)
    assert client.session.get_expiry_date() == expires
    assert abs(expires - timezone.now() - timedelta(hours=12)) < timedelta(minutes=1)
    session = client.session
    session.set_expiry(timezone.now() - timedelta(seconds=1))
    session.save()
    assert client.get(PAGE).status_code == 302
    assert client.get("/admin/status/glance/").status_code == 302


def test_pages_know_how_long_the_login_lasts(client: Client) -> None:
    assert client.get("/admin/session/").json() == {
        "idle": pytest.approx(1800, abs=5),
        "limit": pytest.approx(43200, abs=60),
    }
    page = client.get(PAGE).content.decode()
    assert 'id="aw-session"' in page and 'data-url="/admin/session/"' in page


def test_somebody_says_that_they_are_here(client: Client, settings: Settings) -> None:
    idle_for(client, settings.AMIWEB_SESSION_IDLE - 100)
    assert client.post("/admin/session/stay/").json()["idle"] > settings.AMIWEB_SESSION_IDLE - 100
    assert client.get("/admin/session/stay/").status_code == 405


def test_a_stranger_is_told_nothing(db: None) -> None:
    assert Client().get("/admin/session/").status_code == 302
    assert Client().post("/admin/session/stay/").status_code == 302
