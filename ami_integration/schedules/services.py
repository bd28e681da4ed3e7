"""The rules of schedules: what happens when one is saved, and what the tick does.

A tick takes each due schedule in a transaction of its own: the compare-and-swap on `next_at`, the row of
the planned time under its unique key, and the run are committed together or not at all, so that no planned
time is lost or submitted twice wherever the process dies. Then the run goes its way like everybody else's.
"""

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from ami_integration.access.services import decide, user_may_run
from ami_integration.actions.masking import headers_mask, storable_headers
from ami_integration.actions.models import ActionRun
from ami_integration.actions.rights import run_ask
from ami_integration.actions.services import RunRefused, action_check, headers_complete, run_submit
from ami_integration.schedules.calendar import BadTiming, Timing, next_times, timing_check, timing_words
from ami_integration.schedules.models import PlannedRun, Schedule
from ami_integration.servers.encryption import SecretUnreadable
from ami_integration.servers.models import Server

__all__ = [
    "BadTiming",
    "Timing",
    "next_times",
    "schedule_save",
    "schedules_tick",
    "timing_check",
    "timing_words",
]

logger = logging.getLogger(__name__)

#: How late a planned run may start, in seconds. Later, it is recorded as misfired: an action is meant for
#: its time.
GRACE = 60
#: Planned times that one tick writes down one by one when many were missed; the rest is told in a sentence.
MISFIRES_LISTED = 100
#: Schedules that one tick takes; the next one comes a second later.
TICK_BATCH = 1000
#: Planned times of one schedule that one tick submits, when it is late but within the grace.
CATCH_UP = GRACE

_TIMING_FIELDS = ("kind", "crontab", "interval_seconds", "timezone")


def schedule_save(
    *,
    user: Any,
    schedule: Schedule,
    headers: Iterable[tuple[str, str]],
    now: datetime | None = None,
    address: str = "",
    hidden_by: int | None = None,
) -> Schedule:
    """Save a new or edited schedule; the edit holds at once.

    Whoever saves it becomes its owner: it runs with their rights, and nobody borrows another's by editing.

    Args:
        user: who saves it.
        schedule: with the fields as they shall be; what is derived (`next_at`, the anchor, the owner) is
            set here.
        headers: the action's headers in clear.
        now: the moment; the clock's if not given.
        address: the IP address that asks, if any.
        hidden_by: the id of the person who wrote what is hidden of the headers, not always the owner; None:
            nobody knows.

    Raises:
        RunRefused: no right to run this, or something that can't be put on the wire.
        BadTiming: the calendar can't be read, or has no time left.
    """
    now = now or timezone.now()
    pairs = headers_complete(action=schedule.action, headers=headers)
    if refusal := schedule_ask(
        user=user, server=schedule.server, action=schedule.action, headers=pairs, address=address
    ):
        raise RunRefused(refusal)
    action_check(action=schedule.action, headers=pairs)
    timing_check(timing=schedule)
    schedule.payload = json.dumps(pairs)
    schedule.headers_masked = storable_headers(headers_mask(pairs))
    schedule.hidden_by_id = hidden_by
    schedule.owner = user
    schedule.owner_name = user.get_username()
    with transaction.atomic():
        before = Schedule.objects.select_for_update().filter(pk=schedule.pk).first() if schedule.pk else None
        retimed = before is None or any(
            getattr(before, name) != getattr(schedule, name) for name in _TIMING_FIELDS
        )
        if retimed:
            schedule.anchor_at = now
        if not schedule.enabled:
            schedule.next_at = None
        elif retimed or not (before and before.enabled):
            times = next_times(timing=schedule, after=now, count=1)
            if not times:
                raise BadTiming("crontab", "No day of the calendar fits this crontab (like 31 February).")
            schedule.next_at = times[0]
        elif before is not None:
            # Not even a planned time that is due this very second gets lost by a change of the name.
            schedule.next_at = before.next_at
        schedule.save()
    return schedule


def schedule_ask(
    *, user: Any, server: Server, action: str, headers: Iterable[tuple[str, str]], address: str = ""
) -> str:
    """Why this person may not have this run by itself, or "". A no is audited.

    The switches of the server are not asked: they are about now, and each run is asked about in its own time.
    """
    pairs = headers_complete(action=action, headers=headers)
    decision = decide(user=user, server=server, action=action, headers=pairs)
    if decision.allowed or decision.switched_off:
        return ""
    run_ask(
        user=user,
        server=server,
        action=action,
        headers=pairs,
        origin=ActionRun.Origin.SCHEDULE,
        address=address,
        verb="schedule.save",
    )
    return f"A schedule runs with the rights of whoever saves it. {decision.reason}"


def schedules_tick(*, now: datetime | None = None) -> int:
    """Take every schedule that is due; returns how many planned times were dealt with.

    Args:
        now: the moment; the clock's if not given.
    """
    now = now or timezone.now()
    dealt = 0
    for schedule in Schedule.objects.due(now).select_related("server", "owner")[:TICK_BATCH]:
        try:
            dealt += _schedule_take(schedule, now)
        except (OperationalError, InterfaceError) as error:
            # A lock, a deadlock, a connection that broke: nothing of it is stored, so its time still stands.
            logger.warning(
                "The schedule %s can't be taken now; the next tick takes it again: %s", schedule.pk, error
            )
        except Exception as error:
            # One broken schedule must not stop the others, nor be tried again every second.
            logger.exception("The schedule %s can't be taken", schedule.pk)
            _schedule_give_up(schedule, error)
    return dealt


def _schedule_take(schedule: Schedule, now: datetime) -> int:
    """Deal with all that is due of one schedule."""
    dealt = 0
    while schedule.next_at is not None and schedule.next_at <= now and dealt < CATCH_UP:
        due_at = schedule.next_at
        misfired = due_at < now - timedelta(seconds=GRACE)
        with transaction.atomic():
            if misfired:
                taken, schedule.next_at = _misfire(schedule, due_at, now)
            else:
                taken, schedule.next_at = _submit(schedule, due_at)
        if not taken:
            break  # another tick has it, or it was edited meanwhile: then the next tick sees it as it is now
        dealt += taken
    return dealt


def _submit(schedule: Schedule, due_at: datetime) -> tuple[int, datetime | None]:
    """Submit the run of one planned time. Returns how many were taken (1, or 0: not ours) and the next."""
    following = next(iter(next_times(timing=schedule, after=due_at, count=1)), None)
    if not Schedule.objects.advance(schedule, due_at, following):
        return 0, None
    planned, created = PlannedRun.objects.get_or_create(
        schedule_id=schedule.pk, planned_at=due_at, defaults={"outcome": PlannedRun.Outcome.SUBMITTED}
    )
    if not created:
        return 1, following
    try:
        run = _run_submit(schedule)
    except (RunRefused, SecretUnreadable) as error:
        planned.outcome = PlannedRun.Outcome.REFUSED
        planned.reason = str(error)
        planned.save(update_fields=("outcome", "reason"))
        return 1, following
    planned.run = run
    planned.save(update_fields=("run",))
    return 1, following


def _run_submit(schedule: Schedule) -> ActionRun:
    owner = schedule.owner
    if not user_may_run(user=owner):
        who = schedule.owner_name or "its owner"
        why = (
            "was deleted"
            if owner is None
            else "is not active"
            if not owner.is_active
            else "may not run actions"
        )
        raise RunRefused(
            f"This schedule runs with the rights of {who}, who {why}. Somebody who may run actions must "
            "save it again."
        )
    return run_submit(
        user=owner,
        server=schedule.server,
        action=schedule.action,
        headers=schedule.headers_in_clear(),
        origin=ActionRun.Origin.SCHEDULE,
        origin_detail=schedule.name,
        hidden_by=schedule.hidden_by_id,
    )


def _misfire(schedule: Schedule, due_at: datetime, now: datetime) -> tuple[int, datetime | None]:
    """Write down the times that passed while nothing ticked; go on with the first within the grace."""
    latest = now - timedelta(seconds=GRACE)
    missed = [due_at, *next_times(timing=schedule, after=due_at, count=MISFIRES_LISTED)]
    following = next((time for time in missed if time >= latest), None)
    missed = [time for time in missed[:MISFIRES_LISTED] if time < latest]
    more = following is None
    if more:
        # `next_times` answers strictly later than `after`, and a time exactly at the grace is still within
        # it.
        after = latest - timedelta(microseconds=1)
        following = next(iter(next_times(timing=schedule, after=after, count=1)), None)
    if not Schedule.objects.advance(schedule, due_at, following):
        return 0, None
    reason = (
        f"Not run: it was due more than {GRACE} s before amiweb got to it "
        f"({now.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC). The clock (the processes beat and "
        "ticker) was not running, or could not reach the task queue or the database."
    )
    rows = [
        PlannedRun(
            schedule_id=schedule.pk, planned_at=time, outcome=PlannedRun.Outcome.MISFIRED, reason=reason
        )
        for time in missed
    ]
    if more and len(rows) == MISFIRES_LISTED:
        rows[-1].reason += " The planned times after this one were missed too, and are not listed one by one."
    PlannedRun.objects.bulk_create(rows, ignore_conflicts=True)
    logger.warning("Schedule %s: %s planned runs misfired.", schedule.pk, len(rows))
    return len(rows), following


def _schedule_give_up(schedule: Schedule, error: Exception) -> None:
    """A planned time that amiweb itself failed on: recorded, and not tried again."""
    due_at = schedule.next_at
    if due_at is None:
        return
    try:
        following = next(iter(next_times(timing=schedule, after=max(due_at, timezone.now()), count=1)), None)
    except BadTiming:
        following = None
    with transaction.atomic():
        if Schedule.objects.advance(schedule, due_at, following):
            PlannedRun.objects.get_or_create(
                schedule_id=schedule.pk,
                planned_at=due_at,
                defaults={
                    "outcome": PlannedRun.Outcome.REFUSED,
                    "reason": f"amiweb itself failed ({type(error).__name__}); its log says more.",
                },
            )
