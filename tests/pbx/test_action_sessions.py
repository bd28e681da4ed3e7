"""Kept action sessions with real Asterisks: what they save, and what becomes of them."""

from __future__ import annotations

import time

import pytest

from ami_integration.actions import services
from ami_integration.actions.models import ActionRun
from ami_integration.actions.worker import run_execute
from ami_integration.ami import TCP, TLS, AMIClient
from ami_integration.servers import sessions
from ami_integration.servers.models import Server
from ami_integration.servers.sessions import pool
from tests.pbx.asterisk import Asterisk
from tests.polling import wait_until
from tests.servers.factories import make_server

pytestmark = [pytest.mark.pbx, pytest.mark.django_db, pytest.mark.usefixtures("action_sessions")]
Status = ActionRun.Status
CALL = [("Channel", "Local/answer@phones"), ("Context", "office"), ("Exten", "answer"), ("Priority", "1")]


def server_of(asterisk: Asterisk, *, role: str = "admin", tls: bool = False, **values: object) -> Server:
    username, secret = asterisk.users[role]
    ca = asterisk.ca_file.read_text()
    transport = TLS("localhost", asterisk.tls_port) if tls else TCP(asterisk.host, asterisk.port)
    return make_server(transport, username=username, secret=secret, tls_ca=ca if tls else "", **values)


def run_on(server: Server, action: str, *headers: tuple[str, str], timeout: float | None = None) -> ActionRun:
    run = services.run_submit(
        user=None, origin="command", server=server, action=action, headers=headers, timeout=timeout
    )
    assert run_execute(run_id=run.pk)
    run.refresh_from_db()
    return run


@pytest.mark.parametrize("tls", [False, True], ids=["TCP", "TLS"])
def test_the_second_run_uses_the_first_ones_session(asterisk: Asterisk, tls: bool) -> None:
    server = server_of(asterisk, tls=tls)
    first, second = run_on(server, "Ping"), run_on(server, "CoreStatus")
    assert [first.status, second.status] == [Status.SUCCEEDED] * 2, (first.reason, second.reason)
    assert first.connect_seconds is not None
    assert first.login_seconds is not None
    assert (second.connect_seconds, second.login_seconds) == (None, None)
    assert pool.counts(server.pk) == (1, 1)


def test_an_originate_turns_events_on_for_itself_alone(asterisk: Asterisk) -> None:
    server = server_of(asterisk)
    assert run_on(server, "Ping").status == Status.SUCCEEDED
    call = run_on(server, "Originate", *CALL)
    assert (call.status, call.connect_seconds) == (Status.SUCCEEDED, None), call.reason
    [session] = pool._idle[server.pk]
    # Another call on this PBX tells the kept session nothing.
    username, secret = server.account
    with AMIClient(server.ami_transport(), username=username, secret=secret.reveal(), events="call") as other:
        assert other.action("Originate", [*CALL, ("Async", "true")]).success
        assert any(event.name == "OriginateResponse" for event in other.events(timeout=5))
    assert session.client.action("Ping").success
    assert list(session.client.events(timeout=0)) == []
    assert run_on(server, "QueueStatus").connect_seconds is None


def test_a_session_that_asterisk_ended_is_replaced(private_asterisk: Asterisk) -> None:
    server = server_of(private_asterisk)
    assert run_on(server, "Ping").status == Status.SUCCEEDED
    private_asterisk.restart()
    again = run_on(server, "Ping")
    assert again.status == Status.SUCCEEDED, again.reason
    assert again.connect_seconds is not None


def test_a_pbx_that_never_answers_holds_a_run_no_longer_than_its_time_limit(
    private_asterisk: Asterisk,
) -> None:
    server = server_of(private_asterisk)
    assert run_on(server, "Ping").status == Status.SUCCEEDED
    private_asterisk.freeze()
    try:
        began = time.monotonic()
        run = run_on(server, "CoreStatus", timeout=1)
        assert time.monotonic() - began < 3
        assert run.status == Status.UNKNOWN
        # Not kept: the next one needs a login, for which nobody is there.
        assert pool.counts(server.pk) == (0, 0)
        unsent = run_on(server, "CoreStatus", timeout=1)
        assert unsent.status == Status.FAILED
        assert unsent.reason.startswith("Not sent: ")
    finally:
        private_asterisk.thaw()
    assert run_on(server, "Ping").status == Status.SUCCEEDED


def test_a_kept_session_of_a_frozen_pbx_is_found_out_before_anything_is_sent(
    private_asterisk: Asterisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "ASK_AFTER", 0.0)
    monkeypatch.setattr(sessions, "ASK_LIMIT", 0.5)
    server = server_of(private_asterisk)
    assert run_on(server, "Ping").status == Status.SUCCEEDED
    private_asterisk.freeze()
    try:
        run = run_on(server, "CoreStatus")
    finally:
        private_asterisk.thaw()
    assert run.status == Status.FAILED
    assert run.reason.startswith("Not sent: ")


def test_corrected_rights_count_from_the_next_run_on(private_asterisk: Asterisk) -> None:
    server = server_of(private_asterisk, role="readonly")
    refused = run_on(server, "Command", ("Command", "core show uptime"))
    assert "Permission denied" in refused.reason
    configuration = private_asterisk.folder / "etc" / "manager.conf"
    text = configuration.read_text()
    configuration.write_text(text.replace("write =\n", "write = command\n"))
    private_asterisk.cli("manager reload")

    def allowed() -> bool:
        return run_on(server, "Command", ("Command", "core show uptime")).status == Status.SUCCEEDED

    wait_until(allowed, seconds=15, what="the login may run commands")


def test_an_account_that_allows_one_session_says_so_and_a_second_account_helps(
    private_asterisk: Asterisk,
) -> None:
    configuration = private_asterisk.folder / "etc" / "manager.conf"
    configuration.write_text(
        configuration.read_text().replace("allowmultiplelogin = yes", "allowmultiplelogin = no")
    )
    private_asterisk.restart()  # accounts that are there keep what they allow
    server = server_of(private_asterisk)
    username, secret = server.account
    with AMIClient(server.ami_transport(), username=username, secret=secret.reveal()):
        run = run_on(server, "Ping")
        assert run.status == Status.FAILED
        assert "Login Already In Use" in run.reason
        assert "give the server a second account for actions" in run.reason
        server.action_username, secret = private_asterisk.users["nocall"]
        server.action_secret = secret  # type: ignore[assignment]
        server.save()
        assert run_on(server, "Ping").status == Status.SUCCEEDED
