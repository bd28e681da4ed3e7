"""Failed logins: who guesses has to wait, and nobody else has."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

pytestmark = pytest.mark.django_db

HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(autouse=True)
def person() -> User:
    return User.objects.create_superuser("eve", password="the right word")


def tries(name: str = "eve", word: str = "a wrong word", *, address: str = HERE) -> int:
    """What is answered to a login: 200 the form again, 302 welcome, 429 wait."""
    data = {"username": name, "password": word, "next": "/admin/"}
    return Client(REMOTE_ADDR=address).post("/admin/login/", data).status_code


def lock_out(name: str = "eve") -> None:
    assert [tries(name) for _ in range(5)] == [200, 200, 200, 200, 429]


def test_who_failed_too_often_waits_even_with_the_right_password() -> None:
    lock_out()
    assert tries(word="the right word") == 429


def test_others_are_not_kept_out_by_that() -> None:
    lock_out()
    assert tries(word="the right word", address=THERE) == 302
    User.objects.create_superuser("adam", password="word")
    assert tries("adam", "word") == 302


def test_a_name_that_nobody_has_is_locked_as_well() -> None:
    lock_out("nobody")


def test_a_success_forgets_the_failures_before_it() -> None:
    for _ in range(3):
        assert [tries() for _ in range(4)] == [200] * 4
        assert tries(word="the right word") == 302


def test_what_a_browser_claims_of_its_address_is_not_believed() -> None:
    lock_out()
    data = {"username": "eve", "password": "the right word"}
    client = Client(REMOTE_ADDR=HERE)
    assert client.post("/admin/login/", data, headers={"X-Forwarded-For": THERE}).status_code == 429


def test_the_lock_ends_by_itself_and_trying_meanwhile_does_not_prolong_it() -> None:
    lock_out()
    start = timezone.now()
    with time_machine.travel(start + timedelta(minutes=14), tick=True):
        assert tries(word="the right word") == 429
    with time_machine.travel(start + timedelta(minutes=15, seconds=30), tick=True):
        assert tries(word="the right word") == 302


def test_the_operator_lets_somebody_in_at_once() -> None:
    lock_out()
    call_command("axes_reset_username", "eve")
    assert tries(word="the right word") == 302


def test_the_page_is_ours_says_what_to_do_and_does_not_name_the_password() -> None:
    lock_out()
    answer = Client(REMOTE_ADDR=HERE).post("/admin/login/", {"username": "eve", "password": "hunter2"})
    page = answer.content.decode()
    assert "Too many failed logins" in page and "15 minutes" in page and "amiweb.css" in page
    assert "hunter2" not in page
    assert answer["Retry-After"] == "900"
    assert "unsafe" not in answer["Content-Security-Policy"]


def test_no_password_is_kept_of_those_who_failed() -> None:
    tries(word="hunter2")
    attempt = AccessAttempt.objects.get()
    assert "hunter2" not in attempt.post_data
    assert (attempt.username, attempt.ip_address) == ("eve", HERE)
