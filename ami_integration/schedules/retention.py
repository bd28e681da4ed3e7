"""How long it is kept what became of planned times: as long as the action log keeps runs of the same status.

What was never a run (skipped, missed, refused …), or ran on several servers with different ends, is kept as
long as the statuses that the setting doesn't name. What isn't over never leaves.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.utils import timezone

from ami_integration.actions.retention import BATCH, run_days
from ami_integration.schedules.planned import PlannedRun

_OPEN = (PlannedRun.Outcome.WAITING, PlannedRun.Outcome.SUBMITTED)


def planned_prune(*, now: datetime | None = None, limit: int = BATCH, batches: int = 10) -> int:
    """Remove what is too old, in batches.

    Args:
        now: the moment; the clock's if not given.
        limit: rows of one transaction.
        batches: transactions of one call, at most; the next call goes on.

    Returns:
        how many planned times left.
    """
    pruned = 0
    for due in _due(now or timezone.now()):
        while batches > 0 and (found := list(due.values_list("pk", flat=True)[:limit])):
            batches -= 1
            pruned += PlannedRun.objects.filter(pk__in=found).delete()[0]
    return pruned


def planned_due(*, now: datetime | None = None) -> int:
    """How many planned times `planned_prune` would remove in the end."""
    return sum(due.count() for due in _due(now or timezone.now()))


def _due(now: datetime) -> Iterator[QuerySet[PlannedRun]]:
    rows = PlannedRun.objects.order_by("planned_at")
    for result in PlannedRun.Result:
        end = now - timedelta(days=run_days(result))
        if result == PlannedRun.Result.NONE:
            yield rows.filter(planned_at__lt=end, result=result).exclude(outcome__in=_OPEN)
        else:
            # With jitter, or held back, it may have ended long after its time.
            yield rows.filter(planned_at__lt=end, result=result).exclude(finished_at__gte=end)
