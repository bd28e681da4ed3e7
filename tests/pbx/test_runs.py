"""Runs on real Asterisks: what they answer, and what the log makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from ami_integration.actions import services
from ami_integration.actions.models import ActionRun
from ami_integration.actions.worker import run_execute
from ami_integration.ami import TCP
from tests.pbx.asterisk import Asterisk
from tests.servers.factories import make_server

pytestmark = [pytest.mark.pbx, pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
Status = ActionRun.Status


def run_on(
    asterisk: Asterisk, action: str, *headers: tuple[str, str], role: str = "admin", **values: Any
) -> ActionRun:
    """Submit, and execute as the worker does."""
    username, secret = asterisk.users[role]
    server = make_server(TCP(asterisk.host, asterisk.port), username=username, secret=secret)
    run = services.run_submit(
        user=None, origin="command", server=server, action=action, headers=headers, **values
    )
    assert run_execute(run_id=run.pk)
    run.refresh_from_db()
    return run


def test_a_ping_succeeds(asterisk: Asterisk) -> None:
    run = run_on(asterisk, "Ping")
    assert run.status == Status.SUCCEEDED, run.reason
    assert ["Ping", "Pong"] in run.response


def test_a_list_is_whole(asterisk: Asterisk) -> None:
    run = run_on(asterisk, "QueueStatus")
    assert run.status == Status.SUCCEEDED, run.reason
    names = {dict(item)["Event"] for item in run.items}
    assert "QueueParams" in names
    complete = dict(run.response)
    assert (complete["Event"], complete["EventList"]) == ("QueueStatusComplete", "Complete")
    assert int(complete["ListItems"]) == len(run.items)


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("core show version", Status.SUCCEEDED, "Asterisk "),
        ("core show nonsense", Status.FAILED, "No such command"),
    ],
)
def test_a_command_keeps_its_output(asterisk: Asterisk, command: str, status: str, words: str) -> None:
    run = run_on(asterisk, "Command", ("Command", command))
    assert run.status == status, run.reason
    assert words in run.output


def test_what_the_login_may_not_do_is_failed_with_the_line_that_mends_it(asterisk: Asterisk) -> None:
    run = run_on(asterisk, "CoreStatus", role="originate")
    assert run.status == Status.FAILED
    assert run.reason == (
        "The PBX refused: Permission denied. The login's write= classes in manager.conf don't allow it."
    )


@pytest.mark.parametrize("role", ["admin", "originate"])
def test_an_originate_that_is_answered_succeeds(asterisk: Asterisk, role: str) -> None:
    headers = [
        ("Channel", "Local/answer@phones"),
        ("Context", "office"),
        ("Exten", "answer"),
        ("Priority", "1"),
    ]
    run = run_on(asterisk, "Originate", *headers, role=role)
    assert (run.status, run.reason) == (Status.SUCCEEDED, "The call was answered.")
    assert dict(run.items[0])["Event"] == "OriginateResponse"


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        ("Local/busy@phones", "it was busy"),
        ("Local/congestion@phones", "congestion"),
        ("Local/ring@phones", "rang and nobody answered"),
        ("Local/nobody@nowhere", "no such channel"),
        ("PJSIP/nobody", "no such channel"),
    ],
)
def test_an_originate_that_fails_says_why(asterisk: Asterisk, channel: str, words: str) -> None:
    run = run_on(
        asterisk,
        "Originate",
        ("Channel", channel),
        ("Application", "Wait"),
        ("Data", "1"),
        ("Timeout", "1000"),
    )
    assert run.status == Status.FAILED, run.reason
    assert words in run.reason


def test_an_originate_of_a_login_that_sees_no_calls_is_unknown_and_says_why(asterisk: Asterisk) -> None:
    headers = [
        ("Channel", "Local/answer@phones"),
        ("Application", "Wait"),
        ("Data", "1"),
        ("Timeout", "1000"),
    ]
    run = run_on(asterisk, "Originate", *headers, role="nocall")
    assert run.status == Status.UNKNOWN
    assert "may lack call" in run.reason
    assert ["Response", "Success"] in run.response
