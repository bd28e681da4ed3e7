"""How long the action log keeps runs, and what came back for them.

Both are days by the run's status (`settings.AMIWEB_RUN_RETENTION_DAYS` and `AMIWEB_RESULT_RETENTION_DAYS`):
what came back is large and soon of no use, who did what is small and asked for after months, and what ended
UNKNOWN may be wanted longest. Rows leave in small batches, each a transaction of its own, so that nobody who
writes in the log waits for the sweep. A run that isn't over never leaves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Min, QuerySet, Sum
from django.utils import timezone

from ami_integration.actions.models import ActionRun, FanOut, RunResult

#: Rows that one transaction removes.
BATCH = 500

_ENDED = tuple(
    status for status in ActionRun.Status if status not in (ActionRun.Status.QUEUED, ActionRun.Status.RUNNING)
)


def run_days(status: str) -> int:
    """Days that a run of this status is kept after its end."""
    days: dict[str, int] = settings.AMIWEB_RUN_RETENTION_DAYS
    return days.get(status, days[""])


def result_days(status: str) -> int:
    """Days that what came back for a run of this status is kept; never longer than the run."""
    days: dict[str, int] = settings.AMIWEB_RESULT_RETENTION_DAYS
    return min(days.get(status, days[""]), run_days(status))


def result_is_gone(run: ActionRun, *, now: datetime | None = None) -> bool:
    """Whether what came back for this run, if anything did, has left by its age."""
    if not run.ended or run.started_at is None or run.finished_at is None:
        return False
    return run.finished_at < (now or timezone.now()) - timedelta(days=result_days(run.status))


def log_prune(*, now: datetime | None = None, limit: int = BATCH, batches: int = 10) -> tuple[int, int]:
    """Remove what is too old, in batches.

    Args:
        now: the moment; the clock's if not given.
        limit: rows of one transaction.
        batches: transactions of one call, at most; the next call goes on.

    Returns:
        how many runs and how many results left. A run that leaves takes its result with it, uncounted.
    """
    now = now or timezone.now()
    results = runs = 0
    for due_runs in _due_runs(now):
        while batches > 0 and (found := list(due_runs.values_list("pk", flat=True)[:limit])):
            batches -= 1
            RunResult.objects.filter(pk__in=found).delete()
            runs += ActionRun.objects.filter(pk__in=found).delete()[1].get(ActionRun._meta.label, 0)
    for due in _due_results(now):
        while batches > 0 and (found := list(due.values_list("pk", flat=True)[:limit])):
            batches -= 1
            results += RunResult.objects.filter(pk__in=found).delete()[0]
    # A fan-out goes with the last of its runs.
    empty = FanOut.objects.exclude(status=FanOut.Status.ACTIVE).filter(runs=None)
    FanOut.objects.filter(pk__in=list(empty.values_list("pk", flat=True)[:limit])).delete()
    return runs, results


def log_due(*, now: datetime | None = None) -> tuple[int, int]:
    """How many runs, and how many results of other runs, `log_prune` would remove in the end."""
    now = now or timezone.now()
    runs = sum(due.count() for due in _due_runs(now))
    leaving = [due.order_by().values("pk") for due in _due_runs(now)]
    results = 0
    for due in _due_results(now):
        for pks in leaving:
            due = due.exclude(pk__in=pks)
        results += due.count()
    return runs, results


def _due_runs(now: datetime) -> Iterator[QuerySet[ActionRun]]:
    for status in _ENDED:
        end = now - timedelta(days=run_days(status))
        # Its creation, which is indexed with the status, lies before its end: where nothing is due, nothing
        # is looked at.
        due = ActionRun.objects.filter(status=status, created_at__lt=end, finished_at__lt=end)
        yield due.order_by("created_at")


def _due_results(now: datetime) -> Iterator[QuerySet[RunResult]]:
    for status in _ENDED:
        end = now - timedelta(days=result_days(status))
        yield RunResult.objects.filter(created_at__lt=end, run__status=status).order_by("created_at")


@dataclass(frozen=True)
class Holding:
    """What the log holds of one status today.

    Attributes:
        status: an `ActionRun.Status`, and `label` its word for people.
        runs: how many; `oldest` is when the oldest was asked for.
        results: how many of them have what came back; `bytes` is what that takes.
        run_days, result_days: how long each is kept; None for what isn't over.
    """

    status: str
    label: str
    runs: int
    oldest: datetime | None
    results: int
    bytes: int
    run_days: int | None
    result_days: int | None


def log_holdings(*, runs: QuerySet[ActionRun] | None = None) -> list[Holding]:
    """Today's size of the log by status, with the days of the settings.

    Args:
        runs: those that are counted; all by default.
    """
    runs = ActionRun.objects.all() if runs is None else runs
    results = RunResult.objects.filter(run__in=runs.order_by().values("pk"))
    counted: dict[str, Any] = {
        row["status"]: row
        for row in runs.order_by().values("status").annotate(runs=Count("pk"), oldest=Min("created_at"))
    }
    stored: dict[str, Any] = {
        row["run__status"]: row
        for row in results.values("run__status").annotate(results=Count("pk"), bytes=Sum("stored_size"))
    }
    holdings = []
    for status in ActionRun.Status:
        ended = status in _ENDED
        row: dict[str, Any] = counted.get(status, {})
        kept: dict[str, Any] = stored.get(status, {})
        holdings.append(
            Holding(
                status=status.value,
                label=status.label,
                runs=row.get("runs", 0),
                oldest=row.get("oldest"),
                results=kept.get("results", 0),
                bytes=kept.get("bytes") or 0,
                run_days=run_days(status) if ended else None,
                result_days=result_days(status) if ended else None,
            )
        )
    return holdings
