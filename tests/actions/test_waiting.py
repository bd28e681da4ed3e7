"""Runs that can't begin just now: they stay queued with the reason, and are rung for again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from ami_integration.actions import lanes, services, watch, worker
from ami_integration.actions.lanes import Lanes
from ami_integration.actions.models import ActionRun
from ami_integration.actions.snapshots import run_snapshot
from ami_integration.actions.watch import runs_sweep
from ami_integration.actions.worker import run_execute
from ami_integration.ami import TCP
from ami_integration.servers import slots
from ami_integration.servers.circuits import FAILURES
from ami_integration.servers.models import Server
from ami_integration.servers.sessions import pool
from tests.actions.factories import make_operator, make_run
from tests.ami.scripted import BANNER, Peer, scripted
from tests.polling import wait_until
from tests.processes import Valkey
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("action_sessions", "rung")]
Status = ActionRun.Status


def pings(peer: Peer) -> None:
    peer.log_in()
    while True:
        peer.answer(peer.hear(), "Ping: Pong")


@contextmanager
def pbx(**values: object) -> Iterator[Server]:
    with scripted(pings, pings) as transport:
        yield make_server(transport, **values)
        pool.close_idle()


def state(run: ActionRun) -> tuple[str, str]:
    run.refresh_from_db()
    return run.status, run.waiting_for


def test_a_run_of_a_server_at_its_limit_stays_queued_and_says_so(rung: list[int]) -> None:
    with pbx(max_sessions=1) as server:
        assert slots.slot_take(server_id=server.pk, token="another worker's", limit=1)
        run = make_run(server=server)
        assert not run_execute(run_id=run.pk)
        status, why = state(run)
        assert (status, run.started_at, run.worker) == (Status.QUEUED, None, "")
        assert "All action sessions of Berlin are in use: it may have 1 at once." in why
        slots.slot_release(server_id=server.pk, token="another worker's")
        assert run_execute(run_id=run.pk)
        assert state(run) == (Status.SUCCEEDED, "")


def test_whoever_has_the_session_executes_those_who_wait_for_it(rung: list[int]) -> None:
    with pbx(max_sessions=1) as server:
        runs = [make_run(server=server) for _ in range(3)]
        assert slots.slot_take(server_id=server.pk, token="another worker's", limit=1)
        for run in runs[1:]:
            assert not run_execute(run_id=run.pk)
        slots.slot_release(server_id=server.pk, token="another worker's")
        assert run_execute(run_id=runs[0].pk)
        assert [state(run)[0] for run in runs] == [Status.SUCCEEDED] * 3
        assert [run.connect_seconds is None for run in runs] == [False, True, True]


def test_after_a_while_those_who_wait_are_rung_for_instead(
    rung: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "FOLLOW_UP_SECONDS", 0.0)
    with pbx(max_sessions=1) as server:
        first, second = make_run(server=server), make_run(server=server)
        assert slots.slot_take(server_id=server.pk, token="another worker's", limit=1)
        run_execute(run_id=second.pk)
        slots.slot_release(server_id=server.pk, token="another worker's")
        run_execute(run_id=first.pk)
        assert state(second)[0] == Status.QUEUED
        assert rung == [second.pk]


def test_of_many_runs_that_were_put_off_the_sweep_rings_for_the_first_few_of_each_server(
    rung: list[int],
) -> None:
    before = timezone.now() - timedelta(seconds=60)
    values = {"waiting_for": "Berlin can't be reached.", "created_at": before, "rung_at": before}
    one, other = make_server(), make_server(name="Munich")
    runs = [make_run(server=one, **values) for _ in range(20)]
    others = [make_run(server=other, **values) for _ in range(2)]
    fresh = make_run(server=one, created_at=before, rung_at=before)
    runs_sweep()
    assert sorted(rung) == sorted(run.pk for run in [*runs[: watch.SWEEP_PUT_OFF], *others, fresh])


def test_whoever_reaches_the_server_again_goes_on_with_the_runs_that_were_put_off(rung: list[int]) -> None:
    with pbx() as server:
        waited = [make_run(server=server, waiting_for="Berlin can't be reached.") for _ in range(3)]
        later = timezone.now() + timedelta(seconds=60)
        not_yet = make_run(server=server, waiting_for="Berlin can't be reached.", wait_until=later)
        run = make_run(server=server)
        assert run_execute(run_id=run.pk)
        assert [state(one)[0] for one in [*waited, run]] == [Status.SUCCEEDED] * 4
        assert state(not_yet)[0] == Status.QUEUED


@pytest.mark.django_db(transaction=True)
def test_a_run_that_another_worker_waits_with_is_rung_for_when_an_idle_session_is_given_up(
    rung: list[int],
) -> None:
    with pbx(max_sessions=1) as server:
        run_execute(run_id=make_run(server=server).pk)
        assert pool.counts(server.pk) == (1, 1)
        waiting = make_run(server=server)
        # Another worker's attempt.
        assert not slots.slot_take(server_id=server.pk, token="other", limit=1, waiter=str(waiting.pk))
        wait_until(lambda: rung == [waiting.pk], seconds=10, what="the waiting run is rung for")
        assert pool.counts(server.pk) == (0, 0)


def refusing() -> TCP:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return TCP("127.0.0.1", free.getsockname()[1])


def test_runs_of_a_server_that_refuses_fail_first_and_then_wait_for_its_circuit(rung: list[int]) -> None:
    server = make_server(refusing())
    runs = [make_run(server=server) for _ in range(FAILURES + 1)]
    for run in runs:
        run_execute(run_id=run.pk)
    assert [state(run)[0] for run in runs] == [Status.FAILED] * FAILURES + [Status.QUEUED]
    assert "Not sent" in runs[0].reason
    waiting = runs[-1]
    assert "Berlin can't be reached" in waiting.waiting_for
    assert "Nothing listens" in waiting.waiting_for
    shown = run_snapshot(waiting)["waiting"]
    assert shown.startswith("waiting: Berlin can't be reached")
    assert "It is tried again at" in shown
    assert waiting.wait_until is not None
    # The sweep lets it be until the moment at which it is worth a try, and rings then, once.
    assert waiting.created_at < waiting.wait_until
    ActionRun.objects.filter(pk=waiting.pk).update(
        created_at=waiting.created_at - timedelta(seconds=30), rung_at=timezone.now() - timedelta(seconds=21)
    )
    runs_sweep(now=waiting.wait_until - timedelta(seconds=0.1))
    assert rung == []
    runs_sweep(now=waiting.wait_until + timedelta(seconds=0.1))
    assert rung == [waiting.pk]


def test_a_run_beyond_the_rate_of_its_server_waits(rung: list[int]) -> None:
    with pbx(rate_per_minute=1) as server:
        first, second = make_run(server=server), make_run(server=server)
        assert run_execute(run_id=first.pk)
        assert not run_execute(run_id=second.pk)
        status, why = state(second)
        assert (status, why) == (Status.QUEUED, "Berlin has had as many actions as it may in a minute: 1.")
        assert second.wait_until is not None
        assert 50 < (second.wait_until - timezone.now()).total_seconds() <= 60


def test_with_valkey_away_a_run_that_was_taken_before_waits(action_sessions: Valkey) -> None:
    run = make_run()
    action_sessions.kill()
    assert not run_execute(run_id=run.pk)
    status, why = state(run)
    assert status == Status.QUEUED
    assert "Valkey (or Redis) is away" in why


def test_a_run_beyond_its_servers_share_of_the_threads_waits_for_one_of_them(
    rung: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "lanes", Lanes(2))
    with pbx() as server:
        run = make_run(server=server)
        assert worker.lanes.enter(server.pk, 0)
        assert not run_execute(run_id=run.pk)
        assert state(run)[0] == Status.QUEUED
        assert "as many runs of the server" in run.waiting_for
        assert worker.lanes.leave(server.pk) == run.pk
        assert lanes.SHARE < 1


def test_what_expires_while_it_waits_says_what_it_waited_for() -> None:
    server = make_server(max_sessions=1)
    slots.slot_take(server_id=server.pk, token="another worker's", limit=1)
    run = make_run(server=server)
    run_execute(run_id=run.pk)
    ActionRun.objects.update(expires_at=run.created_at)
    runs_sweep()
    assert state(run)[0] == Status.EXPIRED
    assert "All action sessions of Berlin are in use: it may have 1 at once." in run.reason


# -- what is being connected is queued still


@pytest.mark.django_db(transaction=True)
def test_a_run_can_be_cancelled_while_its_worker_connects(rung: list[int]) -> None:
    connecting, go_on = threading.Event(), threading.Event()
    heard: list[str] = []

    def slow(peer: Peer) -> None:
        connecting.set()
        go_on.wait(30)
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Authentication accepted")
        heard.append(peer.hear().name)

    ada = make_operator()
    with scripted(slow) as transport:
        run = make_run(server=make_server(transport), user=ada, username="ada")

        def execute() -> None:
            run_execute(run_id=run.pk)
            connection.close()

        worker = threading.Thread(target=execute)
        worker.start()
        assert connecting.wait(30)
        assert services.run_cancel(user=ada, run=run)
        go_on.set()
        worker.join(30)
        assert state(run)[0] == Status.CANCELLED
        # The session wasn't in vain: it is kept.
        assert pool.counts(run.server_id or 0) == (1, 1)
        pool.close_idle()
    assert heard in ([], ["Logoff"])


def test_a_kept_session_that_ends_before_the_action_leaves_gives_way_to_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []

    def ends(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "Ping: Pong")

    def lives(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        heard.append(action.name)
        peer.answer(action, "Ping: Pong")

    with scripted(ends, lives) as transport:
        server = make_server(transport)
        run_execute(run_id=make_run(server=server).pk)
        [session] = pool._idle[server.pk]
        wait_until(lambda: not session.client.alive(), seconds=10, what="the session ended")
        # It ends between the look at it and the sending.
        monkeypatch.setattr(type(session), "usable", lambda self, fingerprint: True)
        run = make_run(server=server)
        run_execute(run_id=run.pk)
        assert state(run)[0] == Status.SUCCEEDED, run.reason
        pool.close_idle()
    assert heard == ["Ping"]


def test_the_switches_of_a_server_hold_when_a_run_is_executed(rung: list[int]) -> None:
    with pbx() as server:
        ada = make_operator()
        ada.is_superuser = True
        ada.save()
        run = make_run(server=server, user=ada, username="ada", action="QueuePause")
        Server.objects.update(read_only=True)
        run_execute(run_id=run.pk)
        assert state(run)[0] == Status.FAILED
        assert "Not sent: Berlin is read-only" in run.reason
        other = make_run(server=server, user=ada, username="ada")
        Server.objects.update(read_only=False, maintenance=True)
        run_execute(run_id=other.pk)
        assert state(other)[0] == Status.FAILED
        assert "Berlin is in maintenance" in other.reason
        assert pool.counts(server.pk) == (0, 0)
