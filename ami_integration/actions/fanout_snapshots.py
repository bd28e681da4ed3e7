"""A fan-out as its page shows it: a summary, and a row for each run that the person may see."""

from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef
from django.utils import timezone

from ami_integration.actions.fanouts import Tally, fanout_tally
from ami_integration.actions.models import ActionRun, FanOut, RunResult
from ami_integration.actions.retries import runs_to_retry
from ami_integration.actions.snapshots import waiting_reason
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import server_label

#: In this order the bar shows them, from the good to what is still to come.
ORDER = ("succeeded", "failed", "errored", "unknown", "expired", "cancelled", "running", "queued")


def fanout_snapshot(fanout: FanOut, *, user: Any, now: datetime | None = None) -> dict[str, Any]:
    """All of a fan-out that may change while somebody looks at it, ready for JSON. Nothing in it is secret.

    Args:
        fanout: freshly read.
        user: who looks; of runs on servers that this person may not see it is told only that there are any.
    """
    now = now or timezone.now()
    runs = (
        ActionRun.objects.visible_to(user)
        .filter(fanout=fanout)
        .select_related("server")
        .annotate(kept=Exists(RunResult.objects.filter(run=OuterRef("pk"))))
    )
    shown = list(runs.defer("payload", "headers_masked", "traceback").order_by("pk"))
    tally = Tally.of((run.status, run.held) for run in shown)
    whole = fanout_tally(fanout=fanout)
    active = fanout.status == FanOut.Status.ACTIVE
    return {
        "summary": {
            "status": fanout.status,
            "label": fanout.get_status_display(),
            "reason": fanout.reason,
            "active": active,
            "total": tally.total,
            "ended": tally.ended,
            "counts": [
                {"status": status, "label": ActionRun.Status(status).label, "count": tally.statuses[status]}
                for status in ORDER
                if tally.statuses[status]
            ],
            "queued": tally.statuses[ActionRun.Status.QUEUED],
            "retryable": 0 if whole.in_progress or whole.held else _retryable(fanout, user),
            "unseen": whole.total > tally.total,
        },
        "rows": [_row(run, now) for run in shown],
    }


def _row(run: Any, now: datetime) -> dict[str, Any]:
    waiting = "waits for its turn." if run.held else waiting_reason(run, now=now)
    seconds = None
    if run.started_at and run.finished_at:
        seconds = round((run.finished_at - run.started_at).total_seconds(), 2)
    return {
        "id": str(run.pk),
        "server": server_label(run.server_name, simulated=run.server is not None and run.server.simulated),
        "status": run.status,
        "label": run.get_status_display(),
        "kept": run.kept,
        "reason": waiting or run.reason or _call(run),
        "seconds": seconds,
    }


def _call(run: ActionRun) -> str:
    """How far the call of an Originate in progress is."""
    return f"{ActionRun.Call(run.call_steps[-1][0]).label}." if run.call_steps else ""


def _retryable(fanout: FanOut, user: Any) -> int:
    try:
        return len(runs_to_retry(fanout=fanout, user=user))
    except SecretUnreadable:
        return 0
