"""The states of a run: every change is a compare-and-swap, and there is no way back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.actions.results import Result
from tests.actions.factories import make_run

pytestmark = pytest.mark.django_db
Status = ActionRun.Status


def test_a_run_is_claimed_once() -> None:
    run = make_run()
    assert ActionRun.objects.claim(run.pk, "one:1")
    assert not ActionRun.objects.claim(run.pk, "two:2")
    run.refresh_from_db()
    assert (run.status, run.worker) == (Status.RUNNING, "one:1")
    assert run.started_at == run.heartbeat_at is not None


def test_an_expired_run_is_not_claimed() -> None:
    run = make_run(expires_at=timezone.now() - timedelta(seconds=1))
    assert not ActionRun.objects.claim(run.pk, "one:1")


@pytest.mark.parametrize("status", [status for status in Status if status != Status.QUEUED])
def test_only_a_queued_run_is_claimed_cancelled_or_expired(status: str) -> None:
    run = make_run(status=status, expires_at=timezone.now() - timedelta(seconds=1))
    late = timezone.now() - timedelta(hours=1)
    assert not ActionRun.objects.claim(run.pk, "one:1", now=late)
    assert not ActionRun.objects.cancel(run.pk, "")
    assert not ActionRun.objects.expire(run.pk, "")


def test_only_the_worker_that_has_a_run_finishes_it() -> None:
    run = make_run()
    ActionRun.objects.claim(run.pk, "one:1")
    stranger = ActionRun(pk=run.pk, worker="two:2")
    assert not stranger.finish(Status.SUCCEEDED)
    run.refresh_from_db()
    assert run.finish(Status.SUCCEEDED, "Pong", result=Result([("Response", "Success")]))
    run.refresh_from_db()
    assert (run.status, run.reason, run.response) == (Status.SUCCEEDED, "Pong", [["Response", "Success"]])
    assert run.finished_at is not None


def test_a_run_that_was_given_up_stays_so() -> None:
    run = make_run()
    ActionRun.objects.claim(run.pk, "one:1")
    run.refresh_from_db()
    later = timezone.now() + timedelta(seconds=30)
    assert ActionRun.objects.reap(run.pk, "gone", lost_before=later)
    assert not run.finish(Status.SUCCEEDED)
    run.refresh_from_db()
    assert (run.status, run.reason) == (Status.UNKNOWN, "gone")


def test_an_action_id_belongs_to_one_run() -> None:
    run = make_run()
    with pytest.raises(IntegrityError):
        make_run(server=run.server, action_id=run.action_id)


def test_the_payload_is_encrypted_at_rest() -> None:
    run = make_run(headers=[("Secret", "hunter2")])
    stored = ActionRun.objects.get(pk=run.pk)
    assert "hunter2" not in stored.payload.token
    assert stored.headers_in_clear() == [("Secret", "hunter2")]


def test_the_log_outlives_server_and_person() -> None:
    run = make_run()
    assert run.server is not None
    run.server.delete()
    run.refresh_from_db()
    assert (run.server, run.server_name) == (None, "Berlin")
