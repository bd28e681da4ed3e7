"""What leaves the action log, and when."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from ami_integration.actions.models import ActionRun, FanOut, RunResult
from ami_integration.actions.retention import log_due, log_holdings, log_prune, result_days, result_is_gone
from amiweb.configuration import ENDED
from tests.actions.factories import make_run
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
Status = ActionRun.Status


def aged(days: float, status: str = "succeeded", **values: Any) -> ActionRun:
    """A run that ended so many days ago, with a result."""
    server = values.pop("server", None) or make_server(name=f"server {ActionRun.objects.count()}")
    moment = timezone.now() - timedelta(days=days)
    return make_run(
        server=server,
        status=status,
        created_at=moment,
        finished_at=moment,
        response=[("Response", "Success")],
        **values,
    )


def test_the_settings_know_every_status_that_ends() -> None:
    assert {*ENDED, Status.QUEUED, Status.RUNNING} == set(Status)


def test_runs_leave_after_90_days_and_their_results_after_30() -> None:
    old, middle, young = aged(91), aged(31), aged(29)
    assert log_due() == (1, 1)
    assert log_prune() == (1, 1)
    assert set(ActionRun.objects.values_list("pk", flat=True)) == {middle.pk, young.pk}
    assert [row.pk for row in RunResult.objects.all()] == [young.pk]
    assert old.pk not in ActionRun.objects.values_list("pk", flat=True)
    assert log_due() == (0, 0)


def test_a_status_may_have_days_of_its_own(settings: Any) -> None:
    settings.AMIWEB_RUN_RETENTION_DAYS = {"": 10, "unknown": 365}
    settings.AMIWEB_RESULT_RETENTION_DAYS = {"": 30, "failed": 1}
    unknown, failed = aged(100, "unknown"), aged(5, "failed")
    aged(11)
    log_prune()
    assert set(ActionRun.objects.values_list("pk", flat=True)) == {unknown.pk, failed.pk}
    assert not RunResult.objects.exists()
    assert result_days("succeeded") == 10, "a result never outlives its run"


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_what_is_not_over_stays_however_old_it_is(status: str) -> None:
    make_run(status=status, created_at=timezone.now() - timedelta(days=1000))
    assert log_prune() == (0, 0)
    assert ActionRun.objects.count() == 1


def test_batches_are_small_and_the_next_call_goes_on(django_assert_max_num_queries: Any) -> None:
    server = make_server()
    for _ in range(7):
        aged(91, server=server)
    assert log_prune(limit=2, batches=2) == (4, 0)
    assert log_prune(limit=2, batches=2) == (3, 0)
    assert log_prune() == (0, 0)


def test_a_repetition_outlives_what_it_repeats() -> None:
    first = aged(91)
    second = aged(1, retry_of=first)
    log_prune()
    second.refresh_from_db()
    assert second.retry_of is None


def test_a_fan_out_goes_with_the_last_of_its_runs() -> None:
    gone, stays, active = (
        FanOut.objects.create(key=key, action="Ping", payload="[]", status=status)
        for key, status in (("one", "finished"), ("two", "finished"), ("three", "active"))
    )
    aged(91, fanout=gone)
    aged(91, fanout=stays)
    aged(1, fanout=stays)
    log_prune()
    assert set(FanOut.objects.values_list("pk", flat=True)) == {stays.pk, active.pk}
    assert gone.pk not in FanOut.objects.values_list("pk", flat=True)


def test_a_page_can_say_that_a_result_is_gone() -> None:
    began = timezone.now() - timedelta(days=40)
    assert result_is_gone(aged(31, started_at=began))
    assert not result_is_gone(aged(29, started_at=began))
    assert not result_is_gone(aged(31, "expired")), "nothing came back for what was never sent"
    assert not result_is_gone(make_run(server=make_server(name="Bonn")))


def test_the_size_of_today_is_told_by_status() -> None:
    aged(1)
    aged(2)
    aged(3, "failed")
    holdings = {holding.status: holding for holding in log_holdings()}
    assert (holdings["succeeded"].runs, holdings["succeeded"].results) == (2, 2)
    assert holdings["succeeded"].bytes == sum(
        row.stored_size for row in RunResult.objects.filter(run__status="succeeded")
    )
    assert (holdings["failed"].run_days, holdings["failed"].result_days) == (90, 30)
    assert (holdings["queued"].runs, holdings["queued"].run_days) == (0, None)
    assert (timezone.now() - holdings["succeeded"].oldest).days == 2  # type: ignore[operator]


def command(*args: str) -> str:
    out = io.StringIO()
    call_command("prune_runs", *args, stdout=out)
    return out.getvalue()


def test_the_command_says_what_would_leave_and_then_removes_it() -> None:
    aged(91)
    aged(31)
    assert "1 runs and 1 results of other runs would be removed" in command("--dry-run")
    assert ActionRun.objects.count() == 2
    assert "Removed 1 runs and 1 results" in command()
    assert ActionRun.objects.count() == 1
    assert not RunResult.objects.exists()
