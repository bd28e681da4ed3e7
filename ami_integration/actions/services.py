"""The rules of running an action, for the admin, the API, schedules, tasks and commands alike.

`run_submit` writes a row and rings; a worker claims the row (`worker.py`), checks everything again and talks
to the PBX (`execution.py`); what nobody claimed, and what a dead worker left, is looked after from outside
(`watch.py`).
"""

import functools
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from ami_integration.access.danger import action_name
from ami_integration.actions import doorbell
from ami_integration.actions.calls import call_headers, originate_timeout
from ami_integration.actions.fanouts import fanout_release
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.rights import run_ask, run_entry_submit, run_may_be_stopped, run_note
from ami_integration.ami import Action, InvalidAction, new_action_id
from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import Server

logger = logging.getLogger(__name__)

#: The longest Timeout of an Originate, in seconds.
ORIGINATE_LIMIT = 600


class RunRefused(Exception):
    """amiweb doesn't run this.

    Attributes:
        field: what is at fault: ``server``, ``action``, ``headers``, or empty when it is none of them.
        header: which of the headers, if it is one.
    """

    def __init__(self, message: str, *, field: str = "", header: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.header = header


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
    if action_name(action) != action.lower():
        # Asterisk skips them before a name; whoever asks here what kind of an action it is must not miss it.
        raise RunRefused(
            "Leave out what stands before or behind the action's name: a blank, or a character that isn't "
            "seen.",
            field="action",
        )
    for name, _ in headers:
        if name.lower() in ("action", "actionid"):
            raise RunRefused(
                f"Leave the header {name} out: amiweb writes it itself.", field="headers", header=name
            )
    if action.lower() == "originate":
        _timeout_check(headers)
    try:
        Action(action).encode()
    except InvalidAction as error:
        raise RunRefused(str(error), field="action") from None
    try:
        Action(action, headers).encode()
    except InvalidAction as error:
        raise RunRefused(str(error), field="headers") from None


def _timeout_check(headers: Sequence[tuple[str, str]]) -> None:
    """Whether an Originate ends: a run holds its thread for as long as its call may ring."""
    try:
        milliseconds = originate_timeout(headers)
    except ValueError as error:
        raise RunRefused(
            f"Timeout: “{error}” is no whole number above 0. The header counts in milliseconds: 30000 lets "
            "it ring for 30 seconds.",
            field="headers",
            header="Timeout",
        ) from None
    if milliseconds is not None and milliseconds > ORIGINATE_LIMIT * 1000:
        raise RunRefused(
            f"Timeout: at most {ORIGINATE_LIMIT * 1000} milliseconds ({ORIGINATE_LIMIT // 60} minutes). The "
            "header counts in milliseconds: 30000 lets it ring for 30 seconds.",
            field="headers",
            header="Timeout",
        )


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
    hidden_by: int | None = None,
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
        hidden_by: the id of the person who wrote what is hidden of the headers; None: nobody knows.

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
    run = run_make(
        now=timezone.now(),
        user=user,
        server=current,
        action=action,
        pairs=pairs,
        origin=origin,
        origin_detail=origin_detail,
        expires_in=expires_in,
        timeout=timeout,
        retry_of=retry_of,
        action_id=action_id,
        address=address,
        fanout=fanout,
        held=fanout is not None,
        hidden_by=hidden_by,
    )
    try:
        with transaction.atomic():
            run.save(force_insert=True)
            run_entry_submit(run=run, decision=decision).save(force_insert=True)
    except IntegrityError:
        before = ActionRun.objects.filter(action_id=run.action_id).first()
        if before is None:
            raise
        raise AlreadySubmitted(before) from None
    if fanout is None:
        transaction.on_commit(functools.partial(run_ring, run_id=run.pk))
    return run


def run_make(
    *,
    now: datetime,
    user: Any,
    server: Server,
    action: str,
    pairs: Sequence[tuple[str, str]],
    origin: str,
    origin_detail: str,
    timeout: float | None,
    action_id: str,
    address: str,
    fanout: FanOut | None,
    held: bool,
    hidden_by: int | None,
    expires_in: float | None = None,
    retry_of: ActionRun | None = None,
    start_at: datetime | None = None,
) -> ActionRun:
    """The row of a run that is not written yet; arguments as of `run_submit`.

    Args:
        pairs: the headers as `headers_complete` makes them for this ActionID.
        held: whether its fan-out holds it back.
        start_at: no worker begins it before; None: at once.
    """
    run = ActionRun(
        server=server,
        server_name=server.name,
        action=action,
        action_id=action_id,
        timeout=timeout,
        origin=origin,
        origin_detail=origin_detail[:200],
        user=user,
        username=user.get_username() if user is not None else "",
        address=address,
        start_at=start_at,
        expires_at=max(now, start_at or now)
        + timedelta(seconds=settings.AMIWEB_RUN_EXPIRY if expires_in is None else expires_in),
        retry_of=retry_of,
        attempt=1 if retry_of is None else retry_of.attempt + 1,
        fanout=fanout,
        held=held,
    )
    run.keep_headers(pairs, hidden_by=hidden_by)
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
    """Tell the workers that these runs wait, and note in each row whether they could be told.

    A row that somebody else holds just now (claims, takes back) is left as it is. To wait for it, with the
    locks of others in hand, would be a deadlock with whoever takes all of them back.
    """
    try:
        rung = doorbell.ring(run_ids)
        missed = set(run_ids).difference(rung)
        for told, moment in ((rung, timezone.now()), (missed, None)):
            if told:
                with transaction.atomic():
                    free = ActionRun.objects.waiting().filter(pk__in=told).order_by()
                    free = free.select_for_update(skip_locked=True)
                    ActionRun.objects.filter(pk__in=free.values("pk")).update(rung_at=moment)
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
