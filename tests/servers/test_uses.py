"""Each use of a server's secrets stands in the audit."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from ami_integration.ami import (
    AMIError,
    ConnectRefused,
    ConnectTimeout,
    LoginFailed,
    NoBanner,
    SSHFailed,
    TLSFailed,
)
from ami_integration.audit.models import AuditEntry
from ami_integration.events import health
from ami_integration.events.health import HealthReporter
from ami_integration.servers.sessions import action_session, open_session
from ami_integration.servers.uses import Login, Use, login_for_actions, use_told, uses_write
from tests.ami.scripted import BANNER, Peer, scripted
from tests.processes import Valkey
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
TCP_LOGIN = Login(1, "Berlin", "amiweb", "stored", False, "actions")
SSH_LOGIN = Login(1, "Berlin", "amiweb", "file", True, "actions")


def answers(peer: Peer) -> None:
    peer.log_in()
    while True:
        peer.answer(peer.hear(), "Ping: Pong")


def refuses(peer: Peer) -> None:
    peer.say(BANNER)
    peer.answer(peer.hear(), "Challenge: 1")
    peer.answer(peer.hear(), "Message: Authentication failed", response="Error")


@pytest.mark.parametrize(
    ("login", "error", "secrets"),
    [
        (TCP_LOGIN, None, ("AMI",)),
        (TCP_LOGIN, LoginFailed("no"), ("AMI",)),
        (TCP_LOGIN, AMIError("it ended", sent=True), ("AMI",)),
        (TCP_LOGIN, ConnectRefused("no"), ()),
        (TCP_LOGIN, TLSFailed("no"), ()),
        (TCP_LOGIN, NoBanner("no"), ()),
        (SSH_LOGIN, None, ("SSH", "AMI")),
        (SSH_LOGIN, LoginFailed("no"), ("SSH", "AMI")),
        (SSH_LOGIN, SSHFailed("no", reason="auth"), ("SSH",)),
        (SSH_LOGIN, SSHFailed("no", reason="host_key"), ()),
        (SSH_LOGIN, SSHFailed("no", reason="forbidden"), ("SSH",)),
        (SSH_LOGIN, ConnectTimeout("no", phase="banner"), ("SSH",)),
        (SSH_LOGIN, ConnectRefused("no"), ()),
    ],
)
def test_what_was_used_follows_from_where_it_ended(
    login: Login, error: AMIError | None, secrets: tuple[str, ...]
) -> None:
    use = login.used(error)
    assert (use.secrets if use else ()) == secrets


def test_a_login_for_an_action_is_told_once_for_all_actions_of_its_session(action_sessions: Valkey) -> None:
    with scripted(answers) as transport:
        server = make_server(transport)
        for _ in range(2):
            with action_session(server) as session:
                assert session.client.action("Ping").success
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.outcome, entry.origin) == ("secret.use", "done", "worker")
    assert (entry.object_type, entry.object_id, entry.object_name) == ("server", str(server.pk), "Berlin")
    assert entry.what["for"] == "actions"
    assert entry.what["account"] == "amiweb"
    assert entry.what["secrets are"] == "stored"
    assert entry.what["process"].endswith(f":{os.getpid()}")


def test_a_refused_login_is_told_with_its_reason(action_sessions: Valkey) -> None:
    with scripted(refuses) as transport:
        server = make_server(transport, action_username="acting", action_secret="word")
        with pytest.raises(LoginFailed), action_session(server):
            pass
    entry = AuditEntry.objects.get()
    assert (entry.outcome, entry.what["account"]) == ("failed", "acting")
    assert "Authentication failed" in entry.what["why"]


def test_an_attempt_that_ended_before_the_login_used_nothing(action_sessions: Valkey) -> None:
    with scripted(answers) as transport:
        gone = transport
    with pytest.raises(AMIError), action_session(make_server(gone)):
        pass
    assert not AuditEntry.objects.exists()


def test_a_session_by_hand_is_told_with_its_purpose() -> None:
    with scripted(answers) as transport, open_session(make_server(transport), purpose="a look") as client:
        assert client.action("Ping").success
    entry = AuditEntry.objects.get()
    assert (entry.origin, entry.what["for"]) == ("command", "a look")


def test_what_can_not_be_audited_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr("ami_integration.servers.uses.entries_write", away)
    with pytest.raises(OperationalError), use_told(login_for_actions(make_server(), "a test")):
        pass


def test_no_entry_holds_a_secret() -> None:
    use = Use(TCP_LOGIN, ("AMI",), why="x" * 10_000, at=timezone.now() - timedelta(hours=1))
    uses_write([use])
    entry = AuditEntry.objects.get()
    assert entry.at == use.at
    assert len(entry.what["why"]) == 500


class Database:
    """Runs what the listener wants written, or says that it is away."""

    away = False

    async def __call__(self, work: Any) -> None:
        if self.away:
            raise OperationalError("away")
        return await asyncio.to_thread(self._run, work)

    def _run(self, work: Any) -> None:
        work()
        connection.close()  # of the thread, which is another one each time


@pytest.mark.django_db(transaction=True)
def test_while_the_database_is_away_uses_are_kept_and_beyond_a_bound_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "USES_KEPT", 3)
    database = Database()
    reporter = HealthReporter(database)

    async def listen() -> None:
        database.away = True
        reporter.used(None)
        for _ in range(5):
            reporter.used(TCP_LOGIN.used(None))
            await reporter.flush()
        database.away = False
        await reporter.flush()
        await reporter.flush()  # and nothing twice

    asyncio.run(listen())
    entries = list(AuditEntry.objects.order_by("pk"))
    assert [entry.what.get("uses", 1) for entry in entries] == [1, 1, 1, 2]
    assert {entry.verb for entry in entries} == {"secret.use"}
