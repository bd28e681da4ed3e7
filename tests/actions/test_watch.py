"""What happens to runs that nobody looks after."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.actions.watch import runs_reap, runs_sweep
from tests.actions.factories import make_run
from tests.processes import Valkey

pytestmark = pytest.mark.django_db
Status = ActionRun.Status
SECONDS = timedelta(seconds=1)


def test_the_sweep_rings_for_what_nobody_claimed(valkey: Valkey) -> None:
    now = timezone.now()
    unrung = make_run(rung_at=None, created_at=now - 6 * SECONDS)
    server = unrung.server
    forgotten = make_run(server=server, rung_at=now - 6 * SECONDS, created_at=now - 6 * SECONDS)
    make_run(server=server, rung_at=now - 2 * SECONDS, created_at=now - 60 * SECONDS)  # rung just now
    make_run(server=server, rung_at=None, created_at=now)  # its own ring is on its way
    assert runs_sweep(now=now) == 2
    for run in (unrung, forgotten):
        run.refresh_from_db()
        assert run.rung_at is not None
        assert run.rung_at >= now
    valkey.flush()


def test_the_sweep_rings_less_and_less_often_while_workers_are_busy(valkey: Valkey) -> None:
    now = timezone.now()
    busy = make_run(created_at=now - 30 * SECONDS, rung_at=now - 12 * SECONDS)  # 18 s old at its last ring
    assert runs_sweep(now=now) == 0
    old = make_run(server=busy.server, created_at=now - 250 * SECONDS, rung_at=now - 21 * SECONDS)
    assert runs_sweep(now=now) == 1
    old.refresh_from_db()
    assert old.rung_at is not None
    assert old.rung_at >= now
    valkey.flush()


def test_the_sweep_ends_what_waited_too_long_unsent(valkey: Valkey) -> None:
    run = make_run(expires_at=timezone.now() - SECONDS)
    assert runs_sweep() == 1
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
    assert runs_reap(now=now) == 1
    run.refresh_from_db()
    alive.refresh_from_db()
    assert (run.status, alive.status) == (Status.UNKNOWN, Status.RUNNING)
    assert "box:7 showed no sign of life any more" in run.reason
    assert "look there before you run it again" in run.reason
    assert runs_reap(now=now) == 0
