"""The switch that keeps every schedule from starting anything, for emergencies.

The tick asks it for each planned time, within the transaction that takes that time. What had been submitted
and not begun when the switch was turned is taken back, since nobody who stops everything wants the rest of a
spread fleet to follow.
"""

from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from ami_integration.access.services import user_may_pause_schedules
from ami_integration.actions.services import RunRefused
from ami_integration.audit.services import entry_write
from ami_integration.schedules.models import PlannedRun, Schedule, SchedulesPause
from ami_integration.schedules.submission import planned_take_back

#: There is one row.
_ROW = 1


def schedules_paused() -> SchedulesPause | None:
    """The switch, if it is turned so that nothing starts."""
    return SchedulesPause.objects.filter(pk=_ROW, paused=True).first()


def pause_sentence(pause: SchedulesPause) -> str:
    """What to say where the switch kept something from starting."""
    why = f" ({pause.reason})" if pause.reason else ""
    return f"All schedules are paused, by {pause.username} since {pause.turned_at:%Y-%m-%d %H:%M} UTC{why}."


def schedules_pause_all(*, user: Any, reason: str = "", address: str = "") -> SchedulesPause:
    """Keep every schedule from starting anything, and take back what was submitted and not begun.

    Args:
        user: who does it.
        reason: why; shown where it holds.
        address: the IP address that asks, if any.

    Raises:
        RunRefused: this person may not.
    """
    switch = _turn(user, True, reason, address)
    now = timezone.now()
    # Those that are due just now, too: a tick that asked the switch a moment before holds their lock, and
    # what it submits is taken back once it lets go.
    touched = PlannedRun.objects.open().order_by().values("schedule_id")
    for schedule in Schedule.objects.filter(
        Q(pk__in=touched) | Q(pk__in=Schedule.objects.due(now).values("pk"))
    ):
        planned_take_back(
            schedule=schedule,
            reason=f"Taken back: {switch.username} paused all schedules before it began.",
            actor=user,
            address=address,
        )
    return switch


def schedules_resume_all(*, user: Any, reason: str = "", address: str = "") -> SchedulesPause:
    """Let schedules start again. Planned times that passed meanwhile stay on record as paused.

    Raises:
        RunRefused: this person may not.
    """
    return _turn(user, False, reason, address)


def _turn(user: Any, paused: bool, reason: str, address: str) -> SchedulesPause:
    if not user_may_pause_schedules(user=user):
        raise RunRefused(
            "You may not pause or resume all schedules. Ask an administrator for the permission “Can pause "
            "all schedules”."
        )
    with transaction.atomic():
        SchedulesPause.objects.get_or_create(pk=_ROW)
        switch = SchedulesPause.objects.select_for_update().get(pk=_ROW)
        if switch.paused == paused:
            return switch
        switch.paused = paused
        switch.reason = reason.strip()[:200]
        switch.username = user.get_username()
        switch.turned_at = timezone.now()
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
