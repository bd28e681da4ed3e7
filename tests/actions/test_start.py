"""Runs that are meant for a later moment: nobody begins them before it, and they are not forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from ami_integration.access.services import decide
from ami_integration.actions.fanouts import fanout_release
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.snapshots import run_snapshot
from ami_integration.actions.unattended import Submitted, unattended_submit
from ami_integration.actions.watch import SWEEP_AFTER, runs_begin, runs_sweep
from ami_integration.actions.worker import run_execute
from ami_integration.console.services import _oldest_waiting_run
from ami_integration.servers.models import Server
from ami_integration.servers.sessions import pool
from tests.actions.factories import make_operator, make_run
from tests.ami.scripted import Peer, scripted
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("action_sessions", "rung")]
Status = ActionRun.Status
SECONDS = timedelta(seconds=1)


def pings(peer: Peer) -> None:
    peer.log_in()
    while True:
        peer.answer(peer.hear(), "Ping: Pong")


@contextmanager
def pbx() -> Iterator[Server]:
    with scripted(pings) as transport:
        yield make_server(transport)
        pool.close_idle()


def test_no_worker_begins_a_run_before_its_moment() -> None:
    run = make_run(start_at=timezone.now() + 60 * SECONDS)
    assert not ActionRun.objects.claim(run.pk, "one:1")
    assert not run_execute(run_id=run.pk)
    run.refresh_from_db()
    assert (run.status, run.waiting_for) == (Status.QUEUED, "")
    assert ActionRun.objects.claim(run.pk, "one:1", now=run.start_at)


def test_a_run_is_executed_once_its_moment_has_come() -> None:
    with pbx() as server:
        run = make_run(server=server, start_at=timezone.now() - SECONDS)
        assert run_execute(run_id=run.pk)
    run.refresh_from_db()
    assert run.status == Status.SUCCEEDED


def submit(start_at: datetime) -> Submitted:
    """What nobody looks at while it is submitted, for one server."""
    server, user = make_server(), make_operator()
    decision = decide(user=user, server=server, action="Ping", headers=[])
    return unattended_submit(
        user=user,
        servers=[server],
        decisions={server.pk: decision},
        action="Ping",
        headers=[],
        key="one",
        action_ids={server.pk: "one"},
        origin=ActionRun.Origin.SCHEDULE,
        origin_detail="Nightly",
        start_at={server.pk: start_at},
    )


def test_its_expiry_counts_from_its_start_and_nobody_is_rung_for(
    rung: list[int], django_capture_on_commit_callbacks: object, settings: Any
) -> None:
    settings.AMIWEB_RUN_EXPIRY = 10
    later = timezone.now() + 3600 * SECONDS
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        submitted = submit(later)
    run = ActionRun.objects.get()
    assert (run.start_at, run.expires_at) == (later, later + 10 * SECONDS)
    assert (rung, submitted.to_ring) == ([], [])


def test_a_run_that_came_late_expires_counted_from_its_submission() -> None:
    before = timezone.now()
    submit(before - 60 * SECONDS)
    early = ActionRun.objects.get()
    assert early.expires_at >= before + 300 * SECONDS


def test_a_run_whose_moment_has_come_is_rung_for_once(rung: list[int]) -> None:
    now = timezone.now()
    due = make_run(start_at=now - SECONDS, rung_at=None)
    make_run(server=due.server, start_at=now + SECONDS, rung_at=None)
    make_run(server=due.server, start_at=now - SECONDS, rung_at=None, held=True)
    make_run(server=due.server, rung_at=None)
    assert runs_begin(now=now) == 1
    assert runs_begin(now=now) == 0
    assert rung == [due.pk]


def test_the_sweep_finds_what_nobody_rang_for_and_leaves_the_rest_to_its_moment(rung: list[int]) -> None:
    now = timezone.now()
    hour_ago = now - 3600 * SECONDS
    forgotten = make_run(start_at=now - (SWEEP_AFTER + 1) * SECONDS, rung_at=None, created_at=hour_ago)
    make_run(server=forgotten.server, start_at=now + SECONDS, rung_at=None, created_at=hour_ago)
    make_run(server=forgotten.server, start_at=now - SECONDS, rung_at=None, created_at=hour_ago)
    runs_sweep(now=now)
    assert rung == [forgotten.pk]


def test_pauses_between_rings_grow_from_its_moment_on(rung: list[int]) -> None:
    now = timezone.now()
    run = make_run(
        created_at=now - 3600 * SECONDS, start_at=now - 12 * SECONDS, rung_at=now - 6 * SECONDS
    )  # it was rung for 6 s after its moment
    runs_sweep(now=now)
    assert rung == [run.pk]


def test_its_page_says_when_it_starts_and_doesnt_complain_before() -> None:
    now = timezone.now()
    run = make_run(start_at=now + 60 * SECONDS, rung_at=None, created_at=now - 600 * SECONDS)
    shown = run_snapshot(run, now=now)["waiting"]
    day = "" if run.start_at.date() == now.date() else f"{run.start_at:%Y-%m-%d} "
    assert shown == f"starts at {day}{run.start_at:%H:%M:%S} UTC (spread)."
    tomorrow = now + 86400 * SECONDS
    run.start_at = tomorrow
    assert run_snapshot(run, now=now)["waiting"] == f"starts at {tomorrow:%Y-%m-%d %H:%M:%S} UTC (spread)."
    run.start_at = now + 60 * SECONDS
    assert run_snapshot(run, now=now + 62 * SECONDS)["waiting"] == "waiting for a worker."
    assert "task queue unreachable" in run_snapshot(run, now=now + 90 * SECONDS)["waiting"]


def test_the_time_before_its_moment_is_no_time_in_the_queue() -> None:
    now = timezone.now()
    run = make_run(
        status=Status.RUNNING, created_at=now - 600 * SECONDS, start_at=now - 5 * SECONDS, started_at=now
    )
    assert dict(run_snapshot(run)["spent"])["queued"] == 5
    assert _oldest_waiting_run() == 0
    make_run(server=run.server, created_at=now - 600 * SECONDS, start_at=now + 60 * SECONDS)
    assert _oldest_waiting_run() == 0


def test_a_fan_out_lets_go_what_starts_later_without_ringing_for_it(rung: list[int]) -> None:
    now = timezone.now()
    fanout = FanOut.objects.create(key="k", action="Ping", payload="[]")
    values = {"fanout": fanout, "held": True, "expires_at": now, "rung_at": None}
    soon = make_run(**values)
    later = make_run(server=soon.server, start_at=now + 600 * SECONDS, **values)
    assert fanout_release(fanout_id=fanout.pk).run_ids == (soon.pk,)
    later.refresh_from_db()
    assert not later.held
    assert later.expires_at >= now + 900 * SECONDS
