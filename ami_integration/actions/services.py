"""The rules of running an action, for the admin, the API, schedules, tasks and commands alike.

`run_submit` writes a row and rings; a worker claims the row, checks everything again and talks to the PBX
(`execution.py`); `runs_sweep` and `runs_reap` look after rows that nobody claimed and rows whose worker
died. The last two are called from the listener, since what watches the workers must not be one.
"""

import contextlib
import enum
import functools
import json
import logging
import random
import re
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from ami_integration.actions import doorbell
from ami_integration.actions.calls import call_headers
from ami_integration.actions.execution import Outcome, run_perform
from ami_integration.actions.fanouts import fanout_release, fanouts_active
from ami_integration.actions.heartbeat import heartbeat, worker_name
from ami_integration.actions.lanes import lanes
from ami_integration.actions.masking import headers_mask, storable, storable_headers
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.rights import run_ask, run_may_be_stopped, run_note, run_note_end
from ami_integration.ami import Action, InvalidAction, new_action_id
from ami_integration.audit.models import AuditEntry
from ami_integration.outage import Outage
from ami_integration.servers.models import Server
from ami_integration.servers.sessions import pool, waiter_take
from ami_integration.servers.waiting import MustWait

logger = logging.getLogger(__name__)

#: Seconds that a queued run is left alone before the sweep rings for it.
SWEEP_AFTER = 5
#: The longest pause between two rings for one run: a busy worker isn't flooded, a lost ring isn't lost for
#: long.
SWEEP_AT_MOST = 20
#: Runs that one sweep rings for.
SWEEP_BATCH = 1000
#: Seconds for which a result waits for a database that is away, and the pause between two attempts.
FINISH_WITHIN = 60
FINISH_PAUSE = 1.0
#: Runs of one server that one sweep rings for, of those that a worker has put off.
SWEEP_PUT_OFF = 4
#: Seconds for which a thread goes on with runs that wait for the session it has, before they are rung for.
FOLLOW_UP_SECONDS = 5.0
FOLLOW_UP_CHOICE = 8
#: The longest Timeout of an Originate, in seconds.
ORIGINATE_LIMIT = 600


class RunRefused(Exception):
    """amiweb doesn't run this.

    Attributes:
        field: what is at fault: ``server``, ``action``, ``headers``, or empty when it is none of them.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class AlreadySubmitted(RunRefused):
    """The form was sent before. Attributes: `run`, what it became."""

    def __init__(self, run: ActionRun) -> None:
        super().__init__(f"This form was sent before: it is run {run.pk}.")
        self.run = run


def action_check(*, action: str, headers: Sequence[tuple[str, str]]) -> None:
    """Whether this can be put on the wire at all.

    Raises:
        RunRefused: what is wrong, with the field that it is in.
    """
    if not action.strip():
        raise RunRefused("Name an action, for example Ping or CoreShowChannels.", field="action")
    for name, value in headers:
        if name.lower() in ("action", "actionid"):
            raise RunRefused(f"Leave the header {name} out: amiweb writes it itself.", field="headers")
        # A run holds its thread for as long as its call may ring.
        if action.strip().lower() == "originate" and name.lower() == "timeout":
            milliseconds = re.match(r"\s*\+?(\d+)", value)  # as Asterisk's sscanf() reads it
            if milliseconds and int(milliseconds[1]) > ORIGINATE_LIMIT * 1000:
                raise RunRefused(
                    f"Timeout: at most {ORIGINATE_LIMIT * 1000} milliseconds ({ORIGINATE_LIMIT // 60} "
                    "minutes). The header counts in milliseconds: 30000 lets it ring for 30 seconds.",
                    field="headers",
                )
    try:
        Action(action).encode()
    except InvalidAction as error:
        raise RunRefused(str(error), field="action") from None
    try:
        Action(action, headers).encode()
    except InvalidAction as error:
        raise RunRefused(str(error), field="headers") from None


def run_submit(
    *,
    user: Any,
    server: Server,
    action: str,
    headers: Iterable[tuple[str, str]],
    origin: str = ActionRun.Origin.ADMIN,
    origin_detail: str = "",
    expires_in: float | None = None,
    timeout: float | None = None,
    retry_of: ActionRun | None = None,
    action_id: str | None = None,
    address: str = "",
    fanout: FanOut | None = None,
) -> ActionRun:
    """Put one action for one server into the queue.

    Args:
        user: with whose rights. None only from the command line, where the operating system has decided.
        server: the one PBX that is meant.
        action: the action's name.
        headers: pairs in order, without Action and ActionID.
        origin: an `ActionRun.Origin`.
        origin_detail: what exactly, for people: a schedule's name.
        expires_in: seconds after which it isn't sent any more; `AMIWEB_RUN_EXPIRY` by default.
        timeout: seconds to wait for the answer; `AMIWEB_ACTION_TIMEOUT` by default.
        retry_of: the run that this one repeats.
        action_id: chosen when the form was opened; the same one again is refused. At random by default.
        address: the IP address that asked for it, if any.
        fanout: of which it is a part. Then it is held back, and nobody is told, until `fanout_advance`.

    Raises:
        AlreadySubmitted: there is a run with this ActionID.
        RunRefused: no right, a server that is disabled, or something that can't be put on the wire.
    """
    current = Server.objects.enabled().select_related("abilities").filter(pk=server.pk).first()
    if current is None:
        raise RunRefused(
            f"{server.name} is disabled or gone. Enable the server first, or choose another.", field="server"
        )
    action_id = action_id or new_action_id()
    pairs = headers_complete(action=action, headers=headers, action_id=action_id)
    decision = run_ask(
        user=user, server=current, action=action, headers=pairs, origin=origin, address=address
    )
    if not decision.allowed:
        raise RunRefused(decision.reason)
    action_check(action=action, headers=pairs)
    run = ActionRun(
        server=current,
        server_name=current.name,
        action=action,
        payload=json.dumps(pairs),
        headers_masked=storable_headers(headers_mask(pairs)),
        action_id=action_id,
        timeout=timeout,
        origin=origin,
        origin_detail=origin_detail[:200],
        user=user,
        username=user.get_username() if user is not None else "",
        address=address,
        expires_at=timezone.now()
        + timedelta(seconds=settings.AMIWEB_RUN_EXPIRY if expires_in is None else expires_in),
        retry_of=retry_of,
        attempt=1 if retry_of is None else retry_of.attempt + 1,
        fanout=fanout,
        held=fanout is not None,
    )
    try:
        with transaction.atomic():
            run.save(force_insert=True)
            run_note(
                run=run,
                verb="run.submit",
                outcome=AuditEntry.Outcome.INTENT,
                actor=user,
                address=address,
                headers=run.headers_masked,
                danger=decision.danger,
                rule=decision.rule,
                origin_detail=run.origin_detail,
                retry_of=run.retry_of_id,
            )
    except IntegrityError:
        before = ActionRun.objects.filter(action_id=run.action_id).first()
        if before is None:
            raise
        raise AlreadySubmitted(before) from None
    if fanout is None:
        transaction.on_commit(functools.partial(run_ring, run_id=run.pk))
    return run


def headers_complete(
    *, action: str, headers: Iterable[tuple[str, str]], action_id: str = ""
) -> list[tuple[str, str]]:
    """The headers as they are sent: an Originate that doesn't say otherwise becomes asynchronous.

    A synchronous Originate blocks its whole session until somebody answers, and tells less about the
    outcome than the OriginateResponse event does.

    Args:
        action: the action's name.
        headers: what was asked for.
        action_id: the run's, where there is one already: its call gets a Uniqueid made of it, by which it
            is followed and hung up (`calls.py`).
    """
    pairs = [(str(name), str(value)) for name, value in headers]
    if action.lower() == "originate" and not any(name.lower() == "async" for name, _ in pairs):
        pairs.append(("Async", "true"))
    return call_headers(action=action, headers=pairs, action_id=action_id) if action_id else pairs


def run_ring(*, run_id: int) -> bool:
    """Tell the workers that a run waits. Never raises; returns whether the task queue took it."""
    return runs_ring(run_ids=[run_id]) == 1


def runs_ring(*, run_ids: Sequence[int]) -> int:
    """Tell the workers that these runs wait, and note in each row whether they could be told."""
    try:
        rung = doorbell.ring(run_ids)
        missed = [run_id for run_id in run_ids if run_id not in set(rung)]
        waiting = ActionRun.objects.waiting()
        waiting.filter(pk__in=rung).update(rung_at=timezone.now())
        waiting.filter(pk__in=missed).update(rung_at=None)
    except Exception:
        # After the commit there is nobody to tell; the row stands, and the sweep looks at it again.
        logger.exception("Ringing for runs failed in the database")
        return 0
    return len(rung)


def run_tell(*, run_id: int) -> None:
    """Tell whom it concerns that a run ended: its page, its fan-out and that one's page. Never raises."""
    doorbell.push(run_id)
    try:
        fanout_id = ActionRun.objects.filter(pk=run_id).values_list("fanout_id", flat=True).first()
        if fanout_id is not None:
            fanout_advance(fanout_id=fanout_id)
    except Exception:
        # The run itself is well; the sweep looks at its fan-out again.
        logger.exception("The fan-out of run %s could not be looked at", run_id)


def fanout_advance(*, fanout_id: int) -> int:
    """Let go what a fan-out may let go now, ring for it, and tell the pages. Returns how many it let go."""
    released = fanout_release(fanout_id=fanout_id)
    if released.run_ids:
        runs_ring(run_ids=released.run_ids)
    for run_id in released.cancelled_ids:
        doorbell.push(run_id)
    doorbell.push_fanout(fanout_id)
    return len(released.run_ids)


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
    put_off = (
        ActionRun.objects.waiting()
        .filter(Q(wait_until=None) | Q(wait_until__lte=timezone.now()), server_id=server_id)
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
    #: It isn't queued any more: somebody else has it, or it is over.
    GONE = enum.auto()


def _run_execute(run_id: int) -> Attempt:
    run_expire(run_id=run_id)
    run = ActionRun.objects.waiting().select_related("server", "user").filter(pk=run_id).first()
    if run is None:
        logger.info("Run %s is not queued any more; nothing to do.", run_id)
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
    if ActionRun.objects.put_off(run.pk, storable(waiting_for), until=until):
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


def run_cancel(*, user: Any, run: ActionRun, address: str = "") -> bool:
    """Take a queued run back.

    Returns:
        whether it was still queued; what a worker has begun can't be taken back.

    Raises:
        RunRefused: this person may not.
    """
    if not run_may_be_stopped(user=user, run=run):
        run_note(run=run, verb="run.cancel", outcome=AuditEntry.Outcome.REFUSED, actor=user, address=address)
        raise RunRefused(
            "You may not cancel this run: that needs the right to run the same, or to have done so."
        )
    reason = f"Cancelled by {user.get_username()} before it was sent."
    with transaction.atomic():
        if not ActionRun.objects.cancel(run.pk, reason):
            return False
        run_note(run=run, verb="run.cancel", outcome=AuditEntry.Outcome.DONE, actor=user, address=address)
    transaction.on_commit(functools.partial(run_tell, run_id=run.pk))
    return True


def call_hang_up(*, user: Any, run: ActionRun, address: str = "") -> bool:
    """Have an Originate's call hung up while it dials or rings.

    Returns:
        whether it was still dialling and nobody had asked before. The run ends by what the PBX says.

    Raises:
        RunRefused: this person may not.
    """
    if not run_may_be_stopped(user=user, run=run):
        run_note(run=run, verb="run.hangup", outcome=AuditEntry.Outcome.REFUSED, actor=user, address=address)
        raise RunRefused(
            "You may not hang up this call: that needs the right to start the same, or to have done so."
        )
    with transaction.atomic():
        asked = run.action.lower() == "originate" and ActionRun.objects.ask_hangup(
            run.pk, user.get_username()
        )
        if asked:
            run_note(
                run=run, verb="run.hangup", outcome=AuditEntry.Outcome.INTENT, actor=user, address=address
            )
    return asked


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
        ActionRun.objects.waiting()
        .filter(Q(rung_at=None) | Q(rung_at__lte=quiet), created_at__lte=quiet)
        .exclude(wait_until__gt=now)
        .order_by(F("rung_at").asc(nulls_first=True), "pk")
        .values_list("pk", "server_id", "waiting_for", "created_at", "rung_at", "wait_until")
    )
    due: list[int] = []
    put_off: dict[int | None, list[int]] = {}
    for pk, server_id, waiting_for, created, rung_at, until in candidates.iterator():
        if _ring_due(created, rung_at, until, now):
            (put_off.setdefault(server_id, []) if waiting_for else due).append(pk)
    due = due[:SWEEP_BATCH] + [pk for of_one in put_off.values() for pk in sorted(of_one)[:SWEEP_PUT_OFF]]
    rung = runs_ring(run_ids=due) if due else 0
    return len(expired) + rung + sum(fanout_advance(fanout_id=pk) for pk in fanouts_active())


def _ring_due(created: datetime, rung: datetime | None, until: datetime | None, now: datetime) -> bool:
    if rung is None or (until is not None and rung < until):
        return True
    pause = min(max(rung - created, timedelta(seconds=SWEEP_AFTER)), timedelta(seconds=SWEEP_AT_MOST))
    return now - rung >= pause


def runs_reap(*, now: datetime | None = None) -> int:
    """Give up runs whose worker shows no sign of life; returns how many."""
    now = now or timezone.now()
    lost_before = now - timedelta(seconds=settings.AMIWEB_HEARTBEAT_LOST)
    reaped = 0
    for run in (
        ActionRun.objects.running().filter(heartbeat_at__lt=lost_before).only("pk", "worker", "heartbeat_at")
    ):
        reason = storable(
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


def _ring_waiter(waiter: str) -> None:
    """An idle session of this process was closed for a run that waits: it is rung for."""
    try:
        run_ring(run_id=int(waiter))
    finally:
        connection.close()  # the thread is the pool's, and holds no connection between two of these


pool.on_free = _ring_waiter
