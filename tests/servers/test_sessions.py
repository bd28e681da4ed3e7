"""Sessions with a stored server."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from celery.signals import worker_process_shutdown
from cryptography.fernet import Fernet
from django.db import OperationalError
from pytest_django import Settings

from ami_integration.ami import TCP, ActionTimeout, AMIError, LoginFailed
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers import sessions, slots, uses
from ami_integration.servers.circuits import FAILURES
from ami_integration.servers.models import Server
from ami_integration.servers.sessions import action_session, open_session, pool
from ami_integration.servers.slots import slots_used
from ami_integration.servers.uses import Use
from ami_integration.servers.waiting import CircuitOpen, LimitsUnknown, RateExceeded, SessionsBusy
from tests.ami.scripted import BANNER, Peer, scripted, served
from tests.polling import wait_until
from tests.processes import ROOT, Valkey
from tests.servers.factories import make_server


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[Use]:
    """What the audit would be told: here is no database. `test_uses.py` has one."""
    told: list[Use] = []
    monkeypatch.setattr(uses, "uses_write", told.extend)
    return told


def test_a_session_is_logged_in_within_its_block_and_logged_off_after_it() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "Ping: Pong")
        assert peer.hear().name == "Logoff"
        assert [action.name for action in peer.seen] == ["Challenge", "Login", "Ping", "Logoff"]
        assert peer.seen[1].get("Events") == "off"

    with scripted(script) as transport:
        server = Server(host=transport.host, port=transport.port, username="amiweb", secret="word")
        with open_session(server, purpose="a test") as client:
            assert client.action("Ping").success
        assert not client.connected


def test_a_refused_login_is_an_error_at_the_head_of_the_block() -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Authentication failed", response="Error")

    with scripted(script) as transport:
        server = Server(host=transport.host, port=transport.port, username="amiweb", secret="word")
        with pytest.raises(LoginFailed), open_session(server, purpose="a test"):
            pytest.fail("the block ran without a login")


def test_with_an_unreadable_secret_nothing_is_connected(settings: Settings) -> None:
    server = Server(host="192.0.2.1", username="amiweb", secret="word")
    settings.AMIWEB_ENCRYPTION_KEYS = {"other": Fernet.generate_key().decode()}
    with pytest.raises(SecretUnreadable), open_session(server, purpose="a test"):
        pytest.fail("the block ran without a secret")


# -- action sessions


def server_at(transport: TCP, **values: object) -> Server:
    given = {"pk": 1, "name": "Berlin", "username": "amiweb", "secret": "word", "max_sessions": 2} | values
    return Server(host=transport.host, port=transport.port, **given)  # type: ignore[arg-type]


def pings(peer: Peer) -> None:
    """A PBX that answers for as long as it is asked."""
    peer.log_in()
    while True:
        peer.answer(peer.hear(), "Ping: Pong")


def answers_once(peer: Peer) -> None:
    peer.log_in()
    peer.answer(peer.hear(), "Ping: Pong")


def ping(server: Server) -> bool:
    """One action; returns whether its session was a kept one."""
    with action_session(server) as session:
        assert session.client.action("Ping").success
        return session.reused


def test_a_session_is_kept_for_the_next_action_with_events_off(action_sessions: Valkey) -> None:
    seen: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        seen.append(peer.seen[1].get("Events") or "")
        for _ in range(2):
            peer.answer(peer.hear(), "Ping: Pong")

    with scripted(script) as transport:
        server = server_at(transport)
        with action_session(server) as first:
            assert first.client.action("Ping").success
            assert first.connect_seconds is not None
            assert first.login_seconds is not None
        with action_session(server) as second:
            assert second.client.action("Ping").success
            assert (second.reused, second.connect_seconds) == (True, None)
        assert second is first
        assert pool.counts(1) == (1, 1)
        pool.close_idle()
    assert seen == ["off"]
    assert pool.counts(1) == (0, 0)
    assert slots_used(server_id=1) == 0


def test_a_session_is_used_by_one_action_at_a_time(action_sessions: Valkey) -> None:
    with scripted(pings) as one, scripted(pings) as other:
        server = server_at(one)
        with action_session(server) as first:
            # A scripted PBX serves one connection after the other: the second session goes to another.
            with action_session(server_at(other)) as second:
                assert second is not first
            assert slots_used(server_id=1) == 2
        pool.close_idle()


def test_a_session_that_the_pbx_closed_is_not_used_again(action_sessions: Valkey) -> None:
    with scripted(answers_once, pings) as transport:
        server = server_at(transport)
        assert not ping(server)
        wait_until(lambda: _closed(server), seconds=10, what="the end of the first session arrived")
        assert not ping(server)
        pool.close_idle()


def _closed(server: Server) -> bool:
    [session] = pool._idle[server.pk]
    return not session.client.alive()


def test_a_session_that_was_idle_for_long_is_asked_before_it_is_used(
    action_sessions: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "ASK_AFTER", 0.0)
    monkeypatch.setattr(sessions, "ASK_LIMIT", 0.2)
    heard: list[str] = []

    def falls_silent(peer: Peer) -> None:
        """As when a firewall forgot the connection: nothing comes, not even its end."""
        peer.log_in()
        peer.answer(peer.hear(), "Ping: Pong")
        heard.append(peer.hear().name)
        peer.hear()

    with scripted(falls_silent, pings) as transport:
        server = server_at(transport)
        assert not ping(server)
        assert not ping(server)
        pool.close_idle()
    assert heard == ["Ping"]


@pytest.mark.parametrize(
    "changed", [{"secret": "other"}, {"username": "other"}, {"action_username": "acting"}]
)
def test_a_kept_session_is_dropped_when_the_account_changed(
    action_sessions: Valkey, changed: dict[str, str]
) -> None:
    with scripted(pings, pings) as transport:
        server = server_at(transport, action_secret="acting-word")
        assert not ping(server)
        assert ping(server)
        for name, value in changed.items():
            setattr(server, name, value)
        assert not ping(server)
        assert pool.counts(1) == (1, 1)
        pool.close_idle()


def test_actions_log_in_with_the_second_account(action_sessions: Valkey) -> None:
    names: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        names.append(peer.seen[1].get("Username") or "")
        peer.answer(peer.hear(), "Ping: Pong")

    with scripted(script) as transport:
        server = server_at(transport, action_username="acting", action_secret="acting-word")
        ping(server)
    assert names == ["acting"]


def test_a_session_whose_action_failed_is_closed(action_sessions: Valkey) -> None:
    def silent(peer: Peer) -> None:
        peer.log_in()
        peer.hear()
        peer.hear()

    with scripted(silent) as transport:
        with pytest.raises(ActionTimeout), action_session(server_at(transport)) as session:
            session.client.action("Ping", timeout=0.1)
        assert pool.counts(1) == (0, 0)
    assert slots_used(server_id=1) == 0


def test_only_so_many_idle_sessions_are_kept(action_sessions: Valkey, settings: Settings) -> None:
    settings.AMIWEB_IDLE_SESSIONS = 0
    with scripted(pings) as transport:
        ping(server_at(transport))
        assert pool.counts(1) == (0, 0)


def test_an_idle_session_is_closed_after_a_while(action_sessions: Valkey, settings: Settings) -> None:
    settings.AMIWEB_IDLE_SECONDS = 0.1
    with scripted(pings) as transport:
        ping(server_at(transport))
        wait_until(lambda: pool.counts(1) == (0, 0), seconds=10, what="the keeper closes it")
    assert slots_used(server_id=1) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("switch", [{"enabled": False}, {"maintenance": True}, None])
def test_the_idle_sessions_of_a_server_that_is_switched_off_are_closed(
    action_sessions: Valkey, switch: dict[str, bool] | None
) -> None:
    with served(pings) as transport:
        berlin, oslo = (
            make_server(name=name, host=transport.host, port=transport.port) for name in ("Berlin", "Oslo")
        )
        for server in (berlin, oslo):
            ping(server)
        pool.close_unwanted()
        assert pool.counts(berlin.pk) == pool.counts(oslo.pk) == (1, 1)
        mine = Server.objects.filter(pk=berlin.pk)
        mine.delete() if switch is None else mine.update(**switch)
        with action_session(oslo):  # one that is in use stays with its action
            pool.close_unwanted()
        assert pool.counts(berlin.pk) == (0, 0)
        assert pool.counts(oslo.pk) == (1, 1)
        assert slots_used(server_id=berlin.pk) == 0


@pytest.mark.django_db(transaction=True)
def test_the_keeper_looks_by_itself_whether_a_server_was_switched_off(
    action_sessions: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "LOOK_EVERY", 0.1)
    with served(pings) as transport:
        server = make_server(host=transport.host, port=transport.port)
        ping(server)
        pool.close_unwanted()
        assert pool.counts(server.pk) == (1, 1)
        Server.objects.update(maintenance=True)
        wait_until(lambda: pool.counts(server.pk) == (0, 0), seconds=10, what="the keeper closes it")


def test_with_the_database_away_idle_sessions_stay_and_that_is_said_once(
    action_sessions: Valkey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> None:
        raise OperationalError("it is away")

    with served(pings) as transport:
        server = server_at(transport)
        ping(server)
        monkeypatch.setattr(Server.objects, "enabled", away)
        pool.close_unwanted()
        pool.close_unwanted()
        assert pool.counts(1) == (1, 1)
    assert len([record for record in caplog.records if "the database is away" in record.message]) == 1


# -- the end


def test_a_pool_that_is_stopped_has_no_thread_and_nothing_to_say_and_begins_anew(
    action_sessions: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    with served(pings) as transport:
        server = server_at(transport)
        with action_session(server):
            pool.stop()
            assert "action-sessions" not in {thread.name for thread in threading.enumerate()}
        assert pool.counts(1) == (1, 1)
        pool.stop()
        assert pool.counts(1) == (0, 0)
        ping(server)
        assert "action-sessions" in {thread.name for thread in threading.enumerate()}
        action_sessions.kill()
        importlib.import_module("ami_integration.actions.tasks")  # as every worker does
        worker_process_shutdown.send(sender=None)  # and as a child of a prefork worker ends
        assert "action-sessions" not in {thread.name for thread in threading.enumerate()}
    assert not [record for record in caplog.records if record.name == sessions.__name__]


def test_a_process_that_ends_gives_its_sessions_up_without_a_word(action_sessions: Valkey) -> None:
    uses = (
        "import sys, django; django.setup()\n"
        "from ami_integration.servers import uses\n"
        "uses.uses_write = list  # here is no database\n"
        "from ami_integration.servers.models import Server\n"
        "from ami_integration.servers.sessions import action_session\n"
        "server = Server(pk=1, name='Berlin', host='127.0.0.1', port=int(sys.argv[1]), username='a',\n"
        "                secret='s', max_sessions=1)\n"
        "with action_session(server): pass\n"
        "print('used', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with scripted(pings) as transport:
        process = subprocess.Popen(
            [sys.executable, "-c", uses, str(transport.port)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "used\n"
            assert slots_used(server_id=1) == 1
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, said) == (0, "")
    assert slots_used(server_id=1) == 0


def test_at_the_limit_of_all_workers_who_wants_a_session_is_told_to_wait(action_sessions: Valkey) -> None:
    for token in ("elsewhere-1", "elsewhere-2"):
        assert slots.slot_take(server_id=1, token=token, limit=2)
    server = server_at(TCP("192.0.2.1"))
    began = time.monotonic()
    with (
        pytest.raises(SessionsBusy, match="it may have 2 at once"),
        action_session(server, waiter="7"),
    ):
        pytest.fail("there was one session too many")
    assert time.monotonic() - began < 1
    assert sessions.waiter_take(1) == "7"


def test_an_idle_session_is_given_up_when_another_worker_waits_and_he_is_told(
    action_sessions: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(pool, "on_free", told.append)
    with scripted(pings) as transport:
        ping(server_at(transport, max_sessions=1))
        assert pool.counts(1) == (1, 1)
        assert not slots.slot_take(server_id=1, token="elsewhere", limit=1, waiter="7")
        wait_until(lambda: told == ["7"], seconds=10, what="the session was given up")
        assert slots.slot_take(server_id=1, token="elsewhere", limit=1)
    assert pool.counts(1) == (0, 0)


def test_the_leases_of_a_process_that_is_killed_end(
    action_sessions: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "LEASE_SECONDS", 3.0)
    holds = (
        "import sys, django; django.setup()\n"
        "from ami_integration.servers import uses\n"
        "uses.uses_write = list  # here is no database\n"
        "from ami_integration.servers import slots\n"
        "slots.LEASE_SECONDS = 3.0\n"
        "from ami_integration.servers.models import Server\n"
        "from ami_integration.servers.sessions import action_session\n"
        "server = Server(pk=1, name='Berlin', host='127.0.0.1', port=int(sys.argv[1]), username='a',\n"
        "                secret='s', max_sessions=1)\n"
        "with action_session(server) as session:\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with scripted(pings) as transport:
        process = subprocess.Popen(
            [sys.executable, "-c", holds, str(transport.port)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            # Held for longer than its lease: it is renewed.
            with pytest.raises(AssertionError, match="not within"):
                wait_until(lambda: _free(), seconds=4, what="the lease of a living process ended")
        finally:
            process.kill()
            process.communicate()
        wait_until(lambda: _free(), seconds=12, what="the lease of a dead process ended", step=0.2)


def _free() -> bool:
    return slots_used(server_id=1) == 0


def refusing() -> TCP:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return TCP("127.0.0.1", free.getsockname()[1])


def test_a_server_that_refuses_connections_is_soon_not_tried_any_more(action_sessions: Valkey) -> None:
    server = server_at(refusing())
    for _ in range(FAILURES):
        with pytest.raises(AMIError), action_session(server):
            pytest.fail("somebody listened there")
    with pytest.raises(CircuitOpen, match="Nothing listens"), action_session(server):
        pytest.fail("the circuit was closed")
    assert slots_used(server_id=1) == 0
    # Corrected settings begin anew.
    with scripted(pings) as transport:
        assert not ping(server_at(transport))
        pool.close_idle()


def test_a_login_in_use_says_what_a_second_account_is_for_and_opens_no_circuit(
    action_sessions: Valkey,
) -> None:
    def in_use(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Login Already In Use", response="Error")

    times = FAILURES + 1
    with scripted(*[in_use] * times) as transport:
        server = server_at(transport)
        for _ in range(times):
            with (
                pytest.raises(LoginFailed, match="Login Already In Use.*second account"),
                action_session(server),
            ):
                pytest.fail("the login was in use")


def test_a_server_that_had_its_actions_of_the_minute_keeps_its_session(action_sessions: Valkey) -> None:
    with scripted(pings) as transport:
        server = server_at(transport, rate_per_minute=2)
        ping(server)
        ping(server)
        with pytest.raises(RateExceeded), action_session(server):
            pytest.fail("that was the third")
        assert pool.counts(1) == (1, 1)
        pool.close_idle()


def test_with_valkey_away_a_new_session_waits_and_says_why(action_sessions: Valkey) -> None:
    action_sessions.kill()
    with pytest.raises(LimitsUnknown, match="Valkey"), action_session(server_at(TCP("192.0.2.1"))):
        pytest.fail("nobody knew how many there were")


def test_threads_share_sessions_without_ever_exceeding_the_limit(action_sessions: Valkey) -> None:
    """Forty threads want one of three sessions of a PBX that counts its connections."""
    open_now: list[int] = []
    most = 0
    lock = threading.Lock()

    def counts(peer: Peer) -> None:
        nonlocal most
        with lock:
            open_now.append(1)
            most = max(most, len(open_now))
        try:
            pings(peer)
        finally:
            with lock:
                open_now.pop()

    done: list[int] = []
    with served(counts) as transport:
        server = server_at(transport, max_sessions=3)

        def want(number: int) -> None:
            def had() -> bool:
                try:
                    ping(server)
                except SessionsBusy:
                    return False
                return True

            wait_until(had, seconds=60, what="a session was had", step=0.01)
            done.append(number)

        for thread in _started(want, 40):
            thread.join(60)
        pool.close_idle()
    assert len(done) == 40
    assert most <= 3


def _started(target: Callable[[int], None], count: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=target, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads
