"""The rules of running an action: who, where, what; and what happens to rows that nobody looks after."""

from __future__ import annotations

import sqlite3
import threading
import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from ami_integration.actions import services
from ami_integration.actions.masking import MASK
from ami_integration.actions.models import ActionRun
from tests.actions.factories import make_operator, make_run, make_user
from tests.ami.scripted import Peer, scripted
from tests.polling import wait_until
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
        ("Originate", [("Timeout", "30000"), ("Timeout", " +99999999999s")], "headers"),
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
    [("Originate", "600000"), ("Originate", ""), ("Originate", "soon"), ("QueueAdd", "600001")],
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


# -- looking after rows


def test_the_sweep_rings_for_what_nobody_claimed(valkey: Valkey) -> None:
    now = timezone.now()
    unrung = make_run(rung_at=None, created_at=now - 6 * SECONDS)
    server = unrung.server
    forgotten = make_run(server=server, rung_at=now - 6 * SECONDS, created_at=now - 6 * SECONDS)
    make_run(server=server, rung_at=now - 2 * SECONDS, created_at=now - 60 * SECONDS)  # rung just now
    make_run(server=server, rung_at=None, created_at=now)  # its own ring is on its way
    assert services.runs_sweep(now=now) == 2
    for run in (unrung, forgotten):
        run.refresh_from_db()
        assert run.rung_at is not None
        assert run.rung_at >= now
    valkey.flush()


def test_the_sweep_rings_less_and_less_often_while_workers_are_busy(valkey: Valkey) -> None:
    now = timezone.now()
    busy = make_run(created_at=now - 30 * SECONDS, rung_at=now - 12 * SECONDS)  # 18 s old at its last ring
    assert services.runs_sweep(now=now) == 0
    old = make_run(server=busy.server, created_at=now - 250 * SECONDS, rung_at=now - 21 * SECONDS)
    assert services.runs_sweep(now=now) == 1
    old.refresh_from_db()
    assert old.rung_at is not None
    assert old.rung_at >= now
    valkey.flush()


def test_the_sweep_ends_what_waited_too_long_unsent(valkey: Valkey) -> None:
    run = make_run(expires_at=timezone.now() - SECONDS)
    assert services.runs_sweep() == 1
    run.refresh_from_db()
    assert run.status == Status.EXPIRED
    assert "Not sent" in run.reason
    assert run.finished_at is not None


def test_the_reaper_gives_up_a_run_without_a_heartbeat_in_words(valkey: Valkey) -> None:
    now = timezone.now()
    run = make_run(status=Status.RUNNING, worker="box:7", heartbeat_at=now - 21 * SECONDS)
    alive = make_run(
        server=run.server, status=Status.RUNNING, worker="box:8", heartbeat_at=now - 19 * SECONDS
    )
    assert services.runs_reap(now=now) == 1
    run.refresh_from_db()
    alive.refresh_from_db()
    assert (run.status, alive.status) == (Status.UNKNOWN, Status.RUNNING)
    assert "box:7 showed no sign of life any more" in run.reason
    assert "look there before you run it again" in run.reason
    assert services.runs_reap(now=now) == 0


# -- the end of a run


class BrokenDatabase:
    """The test's database, failing for the thread that executes a run until `mend`."""

    def __init__(self) -> None:
        self.sqlite: sqlite3.Connection | None = None
        self.session = 0

    def prepare(self) -> None:
        """Called by the thread that is to meet the failure."""
        if connection.vendor == "sqlite":
            # A copy, since all threads share the dictionary.
            settings = connection.settings_dict
            connection.settings_dict = settings | {"OPTIONS": settings["OPTIONS"] | {"timeout": 0.1}}
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (self.session,) = cursor.fetchone()

    def cut(self) -> None:
        """PostgreSQL ends its session; SQLite is locked by somebody."""
        if connection.vendor == "sqlite":
            name = connection.settings_dict["NAME"]
            self.sqlite = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
            self.sqlite.execute("BEGIN IMMEDIATE")
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", (self.session,))
        connection.close()

    def mend(self) -> None:
        if self.sqlite is not None:
            self.sqlite.close()


@pytest.mark.django_db(transaction=True)
def test_a_result_survives_a_database_that_is_away_when_the_run_ends(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(services, "FINISH_PAUSE", 0.05)
    database = BrokenDatabase()

    def answers(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        database.cut()
        peer.answer(action, "Ping: Pong")
        peer.hear()

    def execute() -> None:
        database.prepare()
        try:
            services.run_execute(run_id=run.pk)
        finally:
            connection.close()

    with scripted(answers) as transport:
        run = make_run(server=make_server(transport))
        worker = threading.Thread(target=execute)
        worker.start()
        wait_until(lambda: "the database is away; its result is kept" in caplog.text, seconds=15, what="it")
        database.mend()
        worker.join(20)
    assert not worker.is_alive()
    run.refresh_from_db()
    assert run.status == Status.SUCCEEDED, run.reason
    assert ["Ping", "Pong"] in run.response
    assert caplog.text.count("its result is kept") == 2  # the beginning and the end


@pytest.mark.django_db(transaction=True)
def test_a_result_waits_for_the_database_only_so_long(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> bool:
        raise OperationalError("the server closed the connection")

    def answers(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "Ping: Pong")
        peer.hear()

    monkeypatch.setattr(services, "FINISH_PAUSE", 0.01)
    monkeypatch.setattr(services, "FINISH_WITHIN", 0.2)
    monkeypatch.setattr(ActionRun, "finish", away)
    with scripted(answers) as transport:
        run = make_run(server=make_server(transport))
        with pytest.raises(OperationalError):
            services.run_execute(run_id=run.pk)
    assert f"The result of run {run.pk} is lost: succeeded" in caplog.text
