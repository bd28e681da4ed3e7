"""A run as its page shows it: what the page is opened with, and what its WebSocket sends afterwards."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from ami_integration.actions.models import ActionRun

#: How the list of steps marks an outcome; the others are neither good nor bad.
OUTCOME_MARKS = {
    ActionRun.Status.SUCCEEDED: "ok",
    ActionRun.Status.FAILED: "failed",
    ActionRun.Status.ERRORED: "failed",
}
#: After this long in the queue the page says what may be the matter.
PATIENCE = timedelta(seconds=10)


def run_snapshot(run: ActionRun, *, now: datetime | None = None) -> dict[str, Any]:
    """All of a run that may change while somebody looks at it, ready for JSON. Nothing in it is secret."""
    now = now or timezone.now()
    return {
        "id": str(run.pk),
        "status": run.status,
        "label": run.get_status_display(),
        "ended": run.ended,
        "cancellable": run.status == ActionRun.Status.QUEUED,
        "retryable": run.status in ActionRun.RETRYABLE and run.server_id is not None,
        "waiting": waiting_reason(run, now=now),
        "reason": run.reason,
        "steps": run_steps(run),
        "worker": run.worker,
        "response": run.response,
        "items": run.items,
        "output": run.output,
        "traceback": run.traceback,
    }


def waiting_reason(run: ActionRun, *, now: datetime) -> str:
    """Why a queued run has not begun, or an empty string."""
    if run.status != ActionRun.Status.QUEUED:
        return ""
    if run.rung_at is None:
        return (
            "waiting: task queue unreachable. The run is kept and starts by itself when the task queue is "
            "back; see that Valkey (or Redis) runs."
        )
    if now - run.created_at > PATIENCE:
        return "waiting for a worker: all are busy, or busy with other runs of this server, or none runs."
    return "waiting for a worker."


def run_steps(run: ActionRun) -> list[dict[str, Any]]:
    """Queued, running and the outcome: when each began, and how long it took as far as it is over."""
    left_queue = run.started_at or run.finished_at
    steps = [_step("Queued", run.created_at, left_queue)]
    if run.started_at or not run.ended:
        steps.append(_step("Running", run.started_at, run.finished_at))
    if run.ended:
        steps.append(
            _step(run.get_status_display(), run.finished_at, None)
            | {"state": OUTCOME_MARKS.get(ActionRun.Status(run.status), "open")}
        )
    else:
        steps.append(_step("Outcome", None, None))
    return steps


def _step(name: str, began: datetime | None, ended: datetime | None) -> dict[str, Any]:
    return {
        "name": name,
        "at": began.isoformat() if began else None,
        "seconds": round((ended - began).total_seconds(), 3) if began and ended else None,
        "state": "ok" if ended else "current" if began else "waiting",
    }
