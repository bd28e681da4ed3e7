"""A run as its page shows it: what the page is opened with, and what its WebSocket sends afterwards.

What came back is not in it, only that there is something: it may be megabytes, never changes, and the page
fetches it once.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.utils import timezone

from ami_integration.access.services import AnyUser
from ami_integration.actions.models import ActionRun, RunResult
from ami_integration.actions.retries import run_retryable

#: How the list of steps marks an outcome; the others are neither good nor bad.
OUTCOME_MARKS = {
    ActionRun.Status.SUCCEEDED: "ok",
    ActionRun.Status.FAILED: "failed",
    ActionRun.Status.ERRORED: "failed",
}
#: What the page of what runs now shows at most: of what isn't over, and of what ended within `RECENT`.
ROWS = 200
ENDED_ROWS = 20
RECENT = timedelta(minutes=1)
WORDS = 160
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
        "hangable": run_hangable(run),
        "retryable": run_retryable(run),
        "waiting": waiting_reason(run, now=now) or hangup_pending(run),
        "reason": run.reason,
        "steps": run_steps(run),
        "spent": run_spent(run),
        "worker": run.worker,
        "result": _result_facts(run),
        "traceback": run.traceback,
    }


def running_snapshot(user: AnyUser, *, now: datetime | None = None) -> dict[str, Any]:
    """What runs now of what this person may see, and what ended a moment ago; ready for JSON.

    The longest in progress come first, then those that wait, in the order in which they came.
    """
    now = now or timezone.now()
    runs = ActionRun.objects.visible_to(user).defer("payload", "traceback", "headers_masked")
    in_progress = runs.running()
    waiting = runs.queued()
    shown = [
        *in_progress.order_by("started_at")[:ROWS],
        *waiting.order_by("pk")[:ROWS],
    ][:ROWS]
    recent = runs.filter(finished_at__gte=now - RECENT).exclude(pk__in=[run.pk for run in shown])
    return {
        "running": in_progress.count(),
        "waiting": waiting.count(),
        "rows": [_row(run, now) for run in shown],
        "ended": [_row(run, now) for run in recent.order_by("-finished_at")[:ENDED_ROWS]],
    }


def _row(run: ActionRun, now: datetime) -> dict[str, Any]:
    since = run.finished_at or run.started_at or run.created_at
    return {
        "id": str(run.pk),
        "status": run.status,
        "label": ActionRun.Call(run.call_steps[-1][0]).label
        if run.status == ActionRun.Status.RUNNING and run.call_steps
        else run.get_status_display(),
        "action": run.action,
        "server": run.server_name,
        "by": run.username or run.get_origin_display(),
        "since": since.isoformat(),
        "words": (waiting_reason(run, now=now) or hangup_pending(run) or run.reason)[:WORDS],
    }


def _result_facts(run: ActionRun) -> dict[str, Any] | None:
    """What is known of a result without opening it; None while there is none, or no more."""
    if not run.ended:
        return None
    hidden = ExpressionWrapper(Q(hidden__isnull=False), output_field=BooleanField())
    found = RunResult.objects.filter(run_id=run.pk).annotate(has_hidden=hidden)
    row = found.values("size", "item_count", "note", "has_hidden").first()
    if row is None:
        return None
    return {
        "size": row["size"],
        "items": row["item_count"],
        "note": row["note"],
        "hidden": row["has_hidden"],
    }


def run_hangable(run: ActionRun) -> bool:
    """Whether a call of this run may still be dialling, so that hanging up makes sense."""
    return (
        run.status == ActionRun.Status.RUNNING
        and run.action.lower() == "originate"
        and not run.hangup_asked_by
        and not {step[0] for step in run.call_steps} & {ActionRun.Call.ANSWERED, ActionRun.Call.FAILED}
    )


def hangup_pending(run: ActionRun) -> str:
    """What the page says while a call is being hung up."""
    if run.ended or not run.hangup_asked_by:
        return ""
    return f"{run.hangup_asked_by} has it hung up."


def waiting_reason(run: ActionRun, *, now: datetime) -> str:
    """Why a queued run has not begun, or an empty string."""
    if run.status != ActionRun.Status.QUEUED:
        return ""
    if run.start_at is not None and run.start_at > now:
        begins, today = timezone.localtime(run.start_at), timezone.localtime(now).date()
        day = "" if begins.date() == today else f"{begins:%Y-%m-%d} "
        return f"starts at {day}{begins:%H:%M:%S %Z} (spread)."
    turned = run_turned(run)
    if run.rung_at is None and (run.start_at is None or now - turned > PATIENCE):
        return (
            "waiting: task queue unreachable. The run is kept and starts by itself when the task queue is "
            "back; see that Valkey (or Redis) runs."
        )
    if run.waiting_for:
        # A worker looked at it and couldn't begin.
        again = (
            f" It is tried again at {timezone.localtime(run.wait_until):%H:%M:%S}." if run.wait_until else ""
        )
        return f"waiting: {run.waiting_for}{again}"
    if now - turned > PATIENCE:
        return "waiting for a worker: all are busy, or busy with other runs of this server, or none runs."
    return "waiting for a worker."


def run_turned(run: ActionRun) -> datetime:
    """From when on a worker could have begun a run: what is spread over a fleet has a moment of its own."""
    return max(run.created_at, run.start_at or run.created_at)


def run_steps(run: ActionRun) -> list[dict[str, Any]]:
    """Queued, running, how its call went, and the outcome: when each began, and how long it took."""
    left_queue = run.started_at or run.finished_at
    steps = [_step("Queued", run.created_at, left_queue)]
    calls = [(state, datetime.fromisoformat(at), channel) for state, at, channel in run.call_steps]
    if run.started_at or not run.ended:
        steps.append(_step("Running", run.started_at, calls[0][1] if calls else run.finished_at))
    ends = [at for _, at, _ in calls[1:]] + [run.finished_at]
    for (state, at, channel), end in zip(calls, ends, strict=False):
        step = _step(ActionRun.Call(state).label, at, end)
        mark = {ActionRun.Call.ANSWERED: "ok", ActionRun.Call.FAILED: "failed"}.get(ActionRun.Call(state))
        steps.append(step | {"detail": channel} | ({"state": mark, "seconds": None} if mark else {}))
    if run.ended:
        steps.append(
            _step(run.get_status_display(), run.finished_at, None)
            | {"state": OUTCOME_MARKS.get(ActionRun.Status(run.status), "open")}
        )
    else:
        steps.append(_step("Outcome", None, None))
    return steps


def run_spent(run: ActionRun) -> list[tuple[str, float]]:
    """Where the time went, in seconds, as far as it is known: queued, connect, login, answer."""
    # A run begins with a session at hand: until then it was queued, or its worker connected and logged in.
    opening = (run.connect_seconds or 0) + (run.login_seconds or 0)
    queued = (run.started_at - run_turned(run)).total_seconds() - opening if run.started_at else None
    spent: Iterable[tuple[str, float | None]] = (
        ("queued", None if queued is None else max(0.0, queued)),
        ("connect", run.connect_seconds),
        ("login", run.login_seconds),
        ("answer", run.answer_seconds),
    )
    return [(name, round(seconds, 4)) for name, seconds in spent if seconds is not None]


def _step(name: str, began: datetime | None, ended: datetime | None) -> dict[str, Any]:
    return {
        "name": name,
        "at": began.isoformat() if began else None,
        "seconds": round((ended - began).total_seconds(), 3) if began and ended else None,
        "state": "ok" if ended else "current" if began else "waiting",
        "detail": "",
    }
