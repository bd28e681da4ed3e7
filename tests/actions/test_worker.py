"""The end of a run in a worker: known, it must not get lost."""

from __future__ import annotations

import sqlite3
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection

from ami_integration.actions import worker
from ami_integration.actions.models import ActionRun
from ami_integration.actions.worker import run_execute
from tests.actions.factories import make_run
from tests.ami.scripted import Peer, scripted
from tests.polling import wait_until
from tests.processes import Valkey
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
Status = ActionRun.Status
SECONDS = timedelta(seconds=1)


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
    monkeypatch.setattr(worker, "FINISH_PAUSE", 0.05)
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
            run_execute(run_id=run.pk)
        finally:
            connection.close()

    with scripted(answers) as transport:
        run = make_run(server=make_server(transport))
        thread = threading.Thread(target=execute)
        thread.start()
        wait_until(lambda: "the database is away; its result is kept" in caplog.text, seconds=15, what="it")
        database.mend()
        thread.join(20)
    assert not thread.is_alive()
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

    monkeypatch.setattr(worker, "FINISH_PAUSE", 0.01)
    monkeypatch.setattr(worker, "FINISH_WITHIN", 0.2)
    monkeypatch.setattr(ActionRun, "finish", away)
    with scripted(answers) as transport:
        run = make_run(server=make_server(transport))
        with pytest.raises(OperationalError):
            run_execute(run_id=run.pk)
    assert f"The result of run {run.pk} is lost: succeeded" in caplog.text
