"""A run in the hands of a worker: from the ring to the stored end.

Whether it may begin just now, the claim, the sign of life, and the end, which must not get lost even if the
database is away when it comes. What is sent, and what becomes of the answer, is in `execution.py`.
"""

import contextlib
import enum
import logging
import random
import time
from datetime import datetime

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from ami_integration.access.masking import readable
from ami_integration.actions import doorbell
from ami_integration.actions.execution import Outcome, run_perform
from ami_integration.actions.heartbeat import heartbeat, worker_name
from ami_integration.actions.lanes import lanes
from ami_integration.actions.models import ActionRun
from ami_integration.actions.rights import run_note_end
from ami_integration.actions.services import run_ring, run_tell
from ami_integration.actions.watch import run_expire
from ami_integration.outage import Outage
from ami_integration.servers.sessions import pool, waiter_take
from ami_integration.servers.waiting import MustWait

logger = logging.getLogger(__name__)

#: Seconds for which a result waits for a database that is away, and the pause between two attempts.
FINISH_WITHIN = 60
FINISH_PAUSE = 1.0
#: Seconds for which a thread goes on with runs that wait for the session it has, before they are rung for.
FOLLOW_UP_SECONDS = 5.0
FOLLOW_UP_CHOICE = 8


def run_execute(*, run_id: int) -> bool:
    """Execute a queued run in this process, if nobody else does. Returns whether this call did.

    It stays queued, with the reason, while its server can't have another session (`servers.waiting`), or has
    its share of this process's threads (`lanes.py`). Runs that were put off are executed here too, for a
    while, so that the session needn't be handed to another process.
    """
    if _run_execute(run_id) is not Attempt.EXECUTED:
        return False
    server_id = ActionRun.objects.filter(pk=run_id).values_list("server_id", flat=True).first()
    until = time.monotonic() + FOLLOW_UP_SECONDS
    while server_id is not None and (following := _put_off_next(server_id)) is not None:
        if time.monotonic() >= until:
            run_ring(run_id=following)
            break
        if _run_execute(following) is Attempt.PUT_OFF:
            break  # somebody else was faster, and goes on with those who wait
    return True


def _put_off_next(server_id: int) -> int | None:
    """A run of this server that a worker had to put off, and that may be worth another look now."""
    waiter = waiter_take(server_id)
    if waiter is not None:
        return int(waiter)
    now = timezone.now()
    put_off = (
        ActionRun.objects.startable(now)
        .filter(Q(wait_until=None) | Q(wait_until__lte=now), server_id=server_id)
        .exclude(waiting_for="")
    )
    # Any of the oldest: other threads look, too.
    oldest = list(put_off.order_by("pk").values_list("pk", flat=True)[:FOLLOW_UP_CHOICE])
    return random.choice(oldest) if oldest else None  # noqa: S311


class Attempt(enum.Enum):
    """What came of a look at a queued run."""

    EXECUTED = enum.auto()
    #: It is queued still, and says why.
    PUT_OFF = enum.auto()
    #: Nothing to do: somebody else has it, it is over, or it is meant for a later moment.
    GONE = enum.auto()


def _run_execute(run_id: int) -> Attempt:
    run_expire(run_id=run_id)
    startable = ActionRun.objects.startable(timezone.now())
    run = startable.select_related("server", "user").filter(pk=run_id).first()
    if run is None:
        logger.info("Run %s is not queued any more, or not yet to be begun; nothing to do.", run_id)
        return Attempt.GONE
    if not lanes.enter(run.server_id, run_id):
        _run_put_off(run, "This worker has as many runs of the server in progress as it may.")
        return Attempt.PUT_OFF
    try:
        return Attempt.EXECUTED if _run_perform(run) else Attempt.GONE
    except MustWait as reason:
        _run_put_off(run, str(reason), until=reason.retry_at)
        return Attempt.PUT_OFF
    finally:
        waiting = lanes.leave(run.server_id)
        if waiting is not None:
            run_ring(run_id=waiting)


def _run_perform(run: ActionRun) -> bool:
    worker = worker_name()
    with contextlib.ExitStack() as alive:

        def claim() -> ActionRun | None:
            if not ActionRun.objects.claim(run.pk, worker):
                return None
            alive.enter_context(heartbeat.beating(run.pk))
            claimed = ActionRun.objects.select_related("server", "user").get(pk=run.pk)
            doorbell.push(run.pk)
            if claimed.fanout_id is not None:
                doorbell.push_fanout(claimed.fanout_id)
            return claimed

        outcome = run_perform(run=run, claim=claim)
        if outcome is None:
            logger.info("Run %s is not queued any more; nothing to do.", run.pk)
            return False
        run.worker = worker
        if not _run_finish(run, outcome):
            logger.warning("Run %s ended %s after it had been given up.", run.pk, outcome.status)
    run_tell(run_id=run.pk)
    return True


def _run_put_off(run: ActionRun, waiting_for: str, until: datetime | None = None) -> None:
    """Keep why a queued run can't begin just now, and tell the pages if that is news.

    Args:
        until: before this moment nobody rings for it.
    """
    if ActionRun.objects.put_off(run.pk, readable(waiting_for), until=until):
        logger.info("Run %s waits: %s", run.pk, waiting_for)
        doorbell.push(run.pk)
        if run.fanout_id is not None:
            doorbell.push_fanout(run.fanout_id)


def _run_finish(run: ActionRun, outcome: Outcome) -> bool:
    """Store how a run ended. A database that is away may come back: what is known must not get lost."""
    deadline = time.monotonic() + FINISH_WITHIN
    away = Outage(
        logger, f"run {run.pk} ended {outcome.status}, and the database is away; its result is kept"
    )
    while True:
        try:
            with transaction.atomic():
                finished = run.finish(outcome.status, outcome.reason, **outcome.results)
                if finished:
                    run_note_end(run=run, status=outcome.status, reason=outcome.reason)
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() >= deadline:
                logger.error("The result of run %s is lost: %s %s", run.pk, outcome.status, outcome.reason)
                raise
            away.failed(error)
            connection.close()
            time.sleep(FINISH_PAUSE)
        else:
            away.ended()
            return finished


def _ring_waiter(waiter: str) -> None:
    """An idle session of this process was closed for a run that waits: it is rung for."""
    try:
        run_ring(run_id=int(waiter))
    finally:
        connection.close()  # the thread is the pool's, and holds no connection between two of these


pool.on_free = _ring_waiter
