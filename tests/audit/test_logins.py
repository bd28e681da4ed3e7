"""Who came in, who didn't, and who was refused a page."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.test import Client

from ami_integration.audit import bounded
from ami_integration.audit.models import AuditEntry

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", password="right-word", is_staff=True)


def log_in(client: Client, password: str, username: str = "ada") -> Any:
    return client.post(LOGIN, {"username": username, "password": password})


def entries(verb: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(verb=verb).order_by("pk"))


def test_a_login_and_its_end_are_told_with_the_address(client: Client, ada: User) -> None:
    assert log_in(client, "right-word").status_code == 302
    client.post("/admin/logout/")
    (done,), (end,) = entries("login.done"), entries("login.end")
    assert end.what == {"why": "asked"}
    for entry in (done, end):
        assert (entry.actor, entry.actor_name, entry.address) == (ada, "ada", "127.0.0.1")
        assert (entry.object_type, entry.object_id, entry.outcome) == ("user", str(ada.pk), "done")


def test_a_failed_login_names_whoever_has_that_name_and_nobody_else(client: Client, ada: User) -> None:
    log_in(client, "wrong-word")
    log_in(client, "", username="my-password-in-the-wrong-field")
    log_in(client, "x", username="my-password-in-the-wrong-field")
    known, unknown = entries("login.failed")
    assert (known.actor_name, known.outcome, known.address) == ("ada", "refused", "127.0.0.1")
    assert (unknown.actor_name, unknown.object_name, unknown.what) == ("", "", {"name": "nobody has it"})
    everything = str(list(AuditEntry.objects.values()))
    assert "wrong-word" not in everything and "wrong-field" not in everything


def test_who_is_locked_out_is_told_once_more(client: Client, ada: User, settings: Any) -> None:
    for _ in range(settings.AXES_FAILURE_LIMIT):
        log_in(client, "wrong-word")
    assert len(entries("login.failed")) == settings.AXES_FAILURE_LIMIT
    (locked, *_) = entries("login.locked")
    assert (locked.actor, locked.outcome, locked.address) == (ada, "refused", "127.0.0.1")


def test_a_page_that_is_refused_is_told_without_its_query(client: Client, ada: User) -> None:
    client.force_login(ada)
    assert client.get("/admin/auth/user/?q=secret").status_code == 403
    assert client.post("/admin/auth/group/add/", {"name": "mine"}).status_code == 403
    opened, posted = AuditEntry.objects.order_by("pk")
    assert (opened.verb, opened.object_name, opened.outcome) == ("page.open", "/admin/auth/user/", "refused")
    assert (posted.verb, posted.actor, posted.address) == ("page.post", ada, "127.0.0.1")
    assert "secret" not in str(opened.what)


def test_a_stranger_who_is_sent_to_the_login_leaves_no_entry(client: Client) -> None:
    assert client.get("/admin/auth/user/").status_code == 302
    assert not AuditEntry.objects.exists()


def test_who_was_idle_for_too_long_is_told_to_have_left_for_that_and_once(
    client: Client, ada: User, settings: Any
) -> None:
    log_in(client, "right-word")
    settings.AMIWEB_SESSION_IDLE = 0
    for _ in range(2):
        client.get("/admin/")
    (end,) = entries("login.end")
    assert (end.actor, end.what) == (ada, {"why": "idle"})


def test_what_a_program_tries_is_told_by_its_number(
    client: Client, ada: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    def hear(**_: Any) -> None:
        heard.append("failed")

    user_login_failed.connect(hear)
    try:
        for _ in range(25):
            log_in(client, "wrong-word")
        assert len(entries("login.failed")) == 10 and len(entries("login.locked")) <= 10
        later = bounded.time.monotonic() + 61
        monkeypatch.setattr(bounded.time, "monotonic", lambda: later)
        log_in(client, "wrong-word")
    finally:
        user_login_failed.disconnect(hear)
    told = entries("login.failed")
    assert len(told) + told[-1].what["left out before"] == len(heard)
