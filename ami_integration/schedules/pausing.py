"""The switch that keeps every schedule from starting anything, for emergencies.

The tick asks it for each planned time, within the transaction that takes that time. What had been submitted
and not begun when the switch was turned is taken back, since nobody who stops everything wants the rest of a
spread fleet to follow.
"""

import logging
from typing import Any

from django.db import OperationalError, transaction
from django.db.models import Q
from django.utils import timezone

from ami_integration.access.masking import visible
from ami_integration.access.services import user_may_pause_schedules
from ami_integration.actions.services import RunRefused
from ami_integration.audit.services import entry_write
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.submission import planned_take_back
from ami_integration.schedules.switch import SchedulesPause

logger = logging.getLogger(__name__)

#: How often a schedule's runs are tried to be taken back, where the database doesn't let it.
ATTEMPTS = 3
#: There is one row.
_ROW = 1


def schedules_switch() -> SchedulesPause | None:
    """The switch, however it is turned; None: nobody ever turned it."""
    return SchedulesPause.objects.filter(pk=_ROW).first()


def schedules_paused(*, lock: bool = False) -> SchedulesPause | None:
    """The switch, if it is turned so that nothing starts.

    Args:
        lock: in a transaction: nobody turns it until that ends.
    """
    if lock:
        SchedulesPause.objects.get_or_create(pk=_ROW)
        switch = SchedulesPause.objects.select_for_update().get(pk=_ROW)
        return switch if switch.paused else None
    return SchedulesPause.objects.filter(pk=_ROW, paused=True).first()


def pause_sentence(pause: SchedulesPause) -> str:
    """What to say where the switch kept something from starting."""
    why = f" ({visible(pause.reason)})" if pause.reason else ""
    return f"All schedules are paused, by {pause.username} since {pause.turned_at:%Y-%m-%d %H:%M} UTC{why}."


def schedules_pause_all(*, user: Any, reason: str = "", address: str = "") -> SchedulesPause:
    """Keep every schedule from starting anything, and take back what was submitted and not begun.

    Args:
        user: who does it.
        reason: why; shown where it holds.
        address: the IP address that asks, if any.

    Raises:
        RunRefused: this person may not; or the switch is turned, but the database didn't let all be taken
            back. Pausing again goes on with the rest.
    """
    switch = _turn(user, True, reason, address)
    now = timezone.now()
    # Those that are due just now, too: a tick that asked the switch a moment before holds their lock, and
    # what it submits is taken back once it lets go.
    touched = PlannedRun.objects.open().order_by().values("schedule_id")
    found = Schedule.objects.filter(Q(pk__in=touched) | Q(pk__in=Schedule.objects.due(now).values("pk")))
    kept = [
        schedule.name
        for schedule in found.order_by("pk").defer("payload")
        if not _taken_back(schedule, switch, user, address)
    ]
    if kept:
        shown = ", ".join(kept[:3]) + (f" and {len(kept) - 3} more" if len(kept) > 3 else "")
        raise RunRefused(
            f"All schedules are paused, but the database was too busy to take back what {shown} had "
            "submitted. Pause them again to do that."
        )
    return switch


def schedules_resume_all(*, user: Any, reason: str = "", address: str = "") -> SchedulesPause:
    """Let schedules start again. Planned times that passed meanwhile count as paused, also those that the
    clock, if it was down, takes only later.

    Raises:
        RunRefused: this person may not.
    """
    return _turn(user, False, reason, address)


def _taken_back(schedule: Schedule, switch: SchedulesPause, user: Any, address: str) -> bool:
    """Take back what of one schedule hasn't begun; each by itself, so that none keeps the others."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            planned_take_back(
                schedule=schedule,
                reason=f"Taken back: {switch.username} paused all schedules before it began.",
                actor=user,
                address=address,
            )
        except OperationalError as error:
            # A deadlock, for example, of which the database gave up this side.
            logger.warning(
                "What the schedule %s submitted can't be taken back (attempt %s): %s",
                schedule.pk,
                attempt,
                error,
            )
        else:
            return True
    return False


def _turn(user: Any, paused: bool, reason: str, address: str) -> SchedulesPause:
    if not user_may_pause_schedules(user=user):
        raise RunRefused(
            "You may not pause or resume all schedules. Ask an administrator for the permission “Can pause "
            "all schedules” and an access rule for every server."
        )
    with transaction.atomic():
        SchedulesPause.objects.get_or_create(pk=_ROW)
        switch = SchedulesPause.objects.select_for_update().get(pk=_ROW)
        if switch.paused == paused:
            return switch
        switch.turn(
            paused=paused, username=user.get_username(), reason=reason.strip()[:200], now=timezone.now()
        )
        switch.save()
        entry_write(
            actor=user,
            origin="admin",
            address=address,
            verb="schedules.pause" if paused else "schedules.resume",
            what={"reason": switch.reason},
            object_type="schedules",
            object_name="all schedules",
        )
    return switch
