"""Signs of life of a process that executes runs."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from ami_integration.actions.heartbeat import Heartbeat, worker_name
from ami_integration.actions.models import ActionRun
from tests.actions.factories import make_run
from tests.polling import wait_until


def old_run(**values: object) -> ActionRun:
    values = {"status": ActionRun.Status.RUNNING, "worker": worker_name()} | values
    return make_run(heartbeat_at=timezone.now() - timedelta(seconds=60), **values)


def age(run: ActionRun) -> float:
    run.refresh_from_db()
    assert run.heartbeat_at is not None
    return (timezone.now() - run.heartbeat_at).total_seconds()


@pytest.mark.django_db
def test_a_beat_stamps_the_runs_of_this_process_only() -> None:
    mine = old_run()
    theirs = old_run(server=mine.server, worker="box:1")
    heartbeat = Heartbeat()
    with heartbeat.beating(mine.pk), heartbeat.beating(theirs.pk):
        assert heartbeat.beat() == 1
    assert age(mine) < 30
    assert age(theirs) > 30


@pytest.mark.django_db
def test_a_run_that_was_given_up_gets_no_sign_of_life() -> None:
    run = old_run(status=ActionRun.Status.UNKNOWN)
    heartbeat = Heartbeat()
    with heartbeat.beating(run.pk):
        assert heartbeat.beat() == 0


@pytest.mark.django_db(transaction=True)
def test_the_thread_beats_while_a_run_goes_on_and_ends_after_it(settings: Settings) -> None:
    settings.AMIWEB_HEARTBEAT_INTERVAL = 0.05
    run = old_run()
    heartbeat = Heartbeat()
    with heartbeat.beating(run.pk):
        wait_until(lambda: age(run) < 30, seconds=10, what="a sign of life")
    wait_until(
        lambda: not any(thread.name == "heartbeat" for thread in threading.enumerate()),
        seconds=10,
        what="the end of the thread",
    )


@pytest.mark.django_db(transaction=True)
def test_runs_that_follow_each_other_closely_all_get_signs_of_life(settings: Settings) -> None:
    settings.AMIWEB_HEARTBEAT_INTERVAL = 0.01
    heartbeat = Heartbeat()
    first = old_run()
    for _ in range(20):
        run = old_run(server=first.server)
        with heartbeat.beating(run.pk):
            wait_until(lambda run=run: age(run) < 30, seconds=10, what="a sign of life", step=0.01)
