"""The rules of running an action: who, where, what; and what happens to rows that nobody looks after."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from ami_integration.access.masking import MASK
from ami_integration.actions import services
from ami_integration.actions.models import ActionRun
from tests.actions.factories import make_operator, make_run, make_user
from tests.processes import Valkey
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
Status = ActionRun.Status
SECONDS = timedelta(seconds=1)


def submit(**values: object) -> ActionRun:
    values = {"user": None, "origin": "command", "action": "Ping", "headers": []} | values
    if "server" not in values:
        values["server"] = make_server()
    return services.run_submit(**values)  # type: ignore[arg-type]


# -- submitting


def test_a_submitted_run_waits_with_all_that_the_log_needs() -> None:
    ada = make_operator()
    run = submit(
        user=ada, origin="admin", action="QueueAdd", headers=[("Queue", "sales"), ("Secret", "hunter2")]
    )
    run.refresh_from_db()
    assert (run.status, run.username, run.server_name, run.origin) == (
        Status.QUEUED,
        "ada",
        "Berlin",
        "admin",
    )
    assert run.headers_masked == [["Queue", "sales"], ["Secret", MASK]]
    assert run.headers_in_clear() == [("Queue", "sales"), ("Secret", "hunter2")]
    assert 299 < (run.expires_at - run.created_at).total_seconds() <= 301


def test_who_has_no_right_to_run_actions_runs_none() -> None:
    stranger = make_user("eve", "view_actionrun")
    with pytest.raises(services.RunRefused, match="may not run actions"):
        submit(user=stranger, origin="admin")
    assert not ActionRun.objects.exists()


def test_an_inactive_person_runs_nothing() -> None:
    ada = make_operator()
    ada.is_active = False
    with pytest.raises(services.RunRefused):
        submit(user=ada, origin="admin")


@pytest.mark.parametrize("origin", ["admin", "api", "schedule"])
def test_nobody_runs_nothing_except_on_the_command_line(origin: str) -> None:
    with pytest.raises(services.RunRefused):
        submit(user=None, origin=origin)


def test_a_disabled_server_takes_no_action() -> None:
    server = make_server()
    type(server).objects.update(enabled=False)  # while a form with it was open
    with pytest.raises(services.RunRefused, match="disabled") as refused:
        submit(server=server)
    assert refused.value.field == "server"


@pytest.mark.parametrize(
    ("action", "headers", "field"),
    [
        ("", [], "action"),
        ("  ", [], "action"),
        ("Ping\r\nAction: Originate", [], "action"),
        ("Ping", [("Variable", "a\r\nAction: Originate")], "headers"),
        ("Ping", [("Variable", "a\x00b")], "headers"),
        ("Ping", [("Bad name", "x")], "headers"),
        ("Ping", [("Data", "x" * 1100)], "headers"),
        ("Ping", [("Variable", "x")] * 127, "headers"),
        ("Ping", [("actionid", "mine")], "headers"),
        ("Ping", [("Action", "Originate")], "headers"),
        ("originate", [("timeout", "600001")], "headers"),
        *(
            ("Originate", [("Timeout", value)], "headers")
            for value in ("0", "-1", "0x10", "120000ms", "soon", "٣")
        ),
    ],
)
def test_what_cannot_go_on_the_wire_is_refused_with_its_field(
    action: str, headers: list[tuple[str, str]], field: str
) -> None:
    with pytest.raises(services.RunRefused) as refused:
        submit(action=action, headers=headers)
    assert refused.value.field == field
    assert not ActionRun.objects.exists()


@pytest.mark.parametrize(
    ("action", "timeout"),
    [("Originate", "600000"), ("Originate", ""), ("Originate", " +5000 "), ("QueueAdd", "600001")],
)
def test_a_timeout_that_holds_nobody_up_is_taken(action: str, timeout: str) -> None:
    run = submit(action=action, headers=[("Timeout", timeout)])
    assert ("Timeout", timeout) in run.headers_in_clear()


def test_a_form_that_is_sent_twice_is_one_run() -> None:
    server = make_server()
    run = submit(server=server, action_id="0" * 32)
    with pytest.raises(services.AlreadySubmitted) as refused:
        submit(server=server, action_id="0" * 32)
    assert refused.value.run == run
    assert ActionRun.objects.count() == 1


def test_an_originate_becomes_asynchronous_unless_it_says_otherwise() -> None:
    server = make_server()
    run = submit(server=server, action="Originate", headers=[("Channel", "Local/1")])
    assert run.headers_in_clear()[1:] == [("Async", "true"), ("ChannelId", f"amiweb-{run.action_id}")]
    run = submit(server=server, action="originate", headers=[("async", "false")])
    assert run.headers_in_clear() == [("async", "false")]


def test_with_the_task_queue_away_a_run_is_kept_and_says_so(
    valkey: Valkey, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    valkey.stop()
    try:
        began = time.monotonic()
        with django_capture_on_commit_callbacks(execute=True):
            run = submit()
        assert time.monotonic() - began < 3
    finally:
        valkey.start()
    run.refresh_from_db()
    assert (run.status, run.rung_at) == (Status.QUEUED, None)


def test_ringing_is_noted_in_the_row(
    valkey: Valkey, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        run = submit()
    run.refresh_from_db()
    assert run.rung_at is not None
    valkey.flush()


# -- cancelling


def test_a_queued_run_is_cancelled_with_the_name_of_who_did(valkey: Valkey) -> None:
    ada = make_operator()
    run = make_run()
    assert services.run_cancel(user=ada, run=run)
    run.refresh_from_db()
    assert run.status == Status.CANCELLED
    assert "ada" in run.reason


def test_a_running_run_is_not_cancelled() -> None:
    run = make_run(status=Status.RUNNING)
    assert not services.run_cancel(user=make_operator(), run=run)


def test_who_may_not_run_actions_cancels_none() -> None:
    run = make_run()
    with pytest.raises(services.RunRefused):
        services.run_cancel(user=make_user("eve", "view_actionrun"), run=run)
    run.refresh_from_db()
    assert run.status == Status.QUEUED


@pytest.mark.parametrize("action", ["\x01Originate", "\x1f\x02Command", " Ping", "Ping "])
def test_a_name_is_taken_without_what_asterisk_would_skip(action: str) -> None:
    """Else an Originate would pass for something else, and wait for no call."""
    with pytest.raises(services.RunRefused, match="before or behind") as refused:
        services.action_check(action=action, headers=[])
    assert refused.value.field == "action"


@pytest.mark.django_db(transaction=True)
def test_a_ring_waits_for_no_row_that_somebody_else_holds(valkey: Valkey) -> None:
    """Who takes back many runs holds some and wants the others: with a ring that waits, a deadlock."""
    server = make_server()
    runs = [make_run(server=server, rung_at=None) for _ in range(2)]
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            ActionRun.objects.select_for_update().get(pk=runs[1].pk)
            held.set()
            over.wait(30)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    postgresql = connection.vendor == "postgresql"
    try:
        if postgresql:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '1s'")
        else:  # whose locks are of the whole database
            over.set()
            holder.join(30)
        assert services.runs_ring(run_ids=[run.pk for run in runs]) == 2
    finally:
        over.set()
        holder.join(30)
        connection.close()
    for run in runs:
        run.refresh_from_db()
    assert [run.rung_at is not None for run in runs] == [True, not postgresql]
    valkey.flush()
