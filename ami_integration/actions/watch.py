"""Looking after runs that nobody looks after: those that no worker claimed, and those whose worker died.

`runs_sweep` and `runs_reap` are called from the listener, since what watches the workers must not be one.
`runs_begin` rings for runs whose moment has come; the tick of the schedules calls it every second, and the
sweep finds what it missed.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from ami_integration.access.masking import readable
from ami_integration.actions.fanouts import fanouts_active
from ami_integration.actions.models import ActionRun
from ami_integration.actions.rights import run_note_end
from ami_integration.actions.services import fanout_advance, run_tell, runs_ring

logger = logging.getLogger(__name__)

#: Seconds that a queued run is left alone before the sweep rings for it.
SWEEP_AFTER = 5
#: The longest pause between two rings for one run: a busy worker isn't flooded, a lost ring isn't lost for
#: long.
SWEEP_AT_MOST = 20
#: Runs that one sweep rings for.
SWEEP_BATCH = 1000
#: Runs of one server that one sweep rings for, of those that a worker has put off.
SWEEP_PUT_OFF = 4


def run_expire(*, run_id: int, now: datetime | None = None) -> bool:
    """End a run that waited past its expiry, unsent."""
    now = now or timezone.now()
    late = ActionRun.objects.waiting().filter(pk=run_id, expires_at__lte=now)
    waited = late.values_list("waiting_for", flat=True).first()
    if waited is None:
        return False
    reason = (
        f"Not sent: it expired while it waited. {waited} See to that, then run it again."
        if waited
        else "Not sent: no worker took it before it expired. Either none ran (see that the worker runs and "
        "the task queue can be reached), or they were busy. Then run it again."
    )
    with transaction.atomic():
        expired = ActionRun.objects.expire(run_id, reason, now=now)
        if expired:
            _note_end(run_id, ActionRun.Status.EXPIRED, reason)
    if expired:
        run_tell(run_id=run_id)
    return expired


def _note_end(run_id: int, status: str, reason: str) -> None:
    """Tell the audit how a run ended that amiweb itself gave up."""
    run = ActionRun.objects.select_related("user").defer("payload").get(pk=run_id)
    run_note_end(run=run, status=status, reason=reason)


def runs_begin(*, now: datetime | None = None) -> int:
    """Ring for the runs that were meant for a later moment, once it has come. Returns for how many."""
    now = now or timezone.now()
    due = (
        ActionRun.objects.waiting()
        .filter(Q(rung_at=None) | Q(rung_at__lt=F("start_at")), start_at__lte=now)
        .order_by("start_at", "pk")
        .values_list("pk", flat=True)
    )
    run_ids = list(due[:SWEEP_BATCH])
    return runs_ring(run_ids=run_ids) if run_ids else 0


def runs_sweep(*, now: datetime | None = None) -> int:
    """Look after runs that nobody claimed: end those past their expiry, ring again for the others.

    A run is rung for after 5 s, and then at growing distances (it doubles, up to 20 s): when the workers
    are only busy, a thousand waiting runs must not become a flood of messages. One that waits for a certain
    moment (its server's circuit, or rate) is rung for after that. Of those that a worker had to put off, only
    the first few of each server are: whoever executes one goes on with the others.

    Returns:
        how many rows it ended or rang for.
    """
    now = now or timezone.now()
    expired = [
        run_id
        for run_id in ActionRun.objects.waiting().filter(expires_at__lte=now).values_list("pk", flat=True)
        if run_expire(run_id=run_id, now=now)
    ]
    quiet = now - timedelta(seconds=SWEEP_AFTER)
    candidates = (
        ActionRun.objects.startable(quiet)
        .filter(Q(rung_at=None) | Q(rung_at__lte=quiet), created_at__lte=quiet)
        .exclude(wait_until__gt=now)
        .order_by(F("rung_at").asc(nulls_first=True), "pk")
        .annotate(turned=Greatest("created_at", Coalesce("start_at", "created_at")))
        .values_list("pk", "server_id", "waiting_for", "turned", "rung_at", "wait_until")
    )
    due: list[int] = []
    put_off: dict[int | None, list[int]] = {}
    for pk, server_id, waiting_for, turned, rung_at, until in candidates.iterator():
        if _ring_due(turned, rung_at, until, now):
            (put_off.setdefault(server_id, []) if waiting_for else due).append(pk)
    due = due[:SWEEP_BATCH] + [pk for of_one in put_off.values() for pk in sorted(of_one)[:SWEEP_PUT_OFF]]
    rung = runs_ring(run_ids=due) if due else 0
    return len(expired) + rung + sum(fanout_advance(fanout_id=pk) for pk in fanouts_active())


def _ring_due(turned: datetime, rung: datetime | None, until: datetime | None, now: datetime) -> bool:
    """Whether to ring for a run again.

    Args:
        turned: from when on it could have begun.
        rung: when it was rung for last.
        until: before which moment it wasn't worth another look.
    """
    if rung is None or rung < turned or (until is not None and rung < until):
        return True
    pause = min(max(rung - turned, timedelta(seconds=SWEEP_AFTER)), timedelta(seconds=SWEEP_AT_MOST))
    return now - rung >= pause


def runs_reap(*, now: datetime | None = None) -> int:
    """Give up runs whose worker shows no sign of life; returns how many."""
    now = now or timezone.now()
    lost_before = now - timedelta(seconds=settings.AMIWEB_HEARTBEAT_LOST)
    reaped = 0
    for run in (
        ActionRun.objects.running().filter(heartbeat_at__lt=lost_before).only("pk", "worker", "heartbeat_at")
    ):
        reason = readable(
            f"The worker {run.worker} showed no sign of life any more while this run was in progress (last "
            f"one {run.heartbeat_at:%H:%M:%S} UTC): it stopped, or couldn't reach the database. The PBX may "
            "or may not have carried the action out: look there before you run it again. amiweb doesn't send "
            "it a second time."
        )
        with transaction.atomic():
            lost = ActionRun.objects.reap(run.pk, reason, lost_before=lost_before, now=now)
            if lost:
                _note_end(run.pk, ActionRun.Status.UNKNOWN, reason)
        if lost:
            reaped += 1
            logger.warning(
                "Run %s is unknown: its worker %s showed no sign of life any more.", run.pk, run.worker
            )
            run_tell(run_id=run.pk)
    return reaped
