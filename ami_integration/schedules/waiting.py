"""Planned times that wait: for the end of the one before, or because they were missed and run after all.

A schedule is looked at under its lock, and what is submitted is committed with its row, as in `taking.py`.
"""

import logging

from django.db import Error, transaction
from django.db.models import Exists, OuterRef

from ami_integration.schedules.blackouts import blackout_for
from ami_integration.schedules.left_out import left_out_note
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.rules import late_at_most, moment_words
from ami_integration.schedules.taking import Taking
from ami_integration.schedules.turn import Tick

logger = logging.getLogger(__name__)

Outcome = PlannedRun.Outcome
#: Schedules that one tick looks at.
BATCH = 500


def waiting_schedules(*, tick: Tick) -> list[int]:
    """The schedules of which something that waits may go, or is too old to, by their ids."""
    before = (
        PlannedRun.objects.filter(schedule=OuterRef("schedule"), by_hand="", outcome=Outcome.SUBMITTED)
        .open()
        .going()
        .order_by()
    )
    rows = (
        PlannedRun.objects.open()
        .filter(outcome=Outcome.WAITING)
        .annotate(blocked=Exists(before))
        .order_by("planned_at")
        .values_list("schedule_id", "planned_at", "blocked", "schedule__overlap", "schedule__grace_seconds")
    )
    found: dict[int, None] = {}
    for schedule_id, planned_at, blocked, overlap, grace in rows:
        free = not blocked or overlap == Schedule.Overlap.ALLOW
        if free or planned_at < tick.now - late_at_most(grace):
            found[schedule_id] = None
    return list(found)[:BATCH]


def waiting_submit(*, schedule_id: int, tick: Tick) -> int:
    """Submit what waits of one schedule, as far as its turn has come. Returns how many rows were dealt with.

    Whatever goes wrong is logged. What the database doesn't let through waits on; what amiweb itself fails on
    is refused, since it must not be tried again every second.
    """
    try:
        return _submit(schedule_id, tick)
    except Error as error:
        logger.warning("What waits of the schedule %s can't be submitted now: %s", schedule_id, error)
    except Exception as error:
        logger.exception("What waits of the schedule %s can't be submitted", schedule_id)
        try:
            _give_up(schedule_id, error)
        except Exception:
            # It waits on; the others have their turn all the same.
            logger.exception("That what waits of the schedule %s failed can't be recorded", schedule_id)
    return 0


def _submit(schedule_id: int, tick: Tick) -> int:
    to_ring: list[int] = []
    dealt = 0
    with transaction.atomic():
        locked = Schedule.objects.filter(pk=schedule_id).locked().select_related("owner", "tag")
        schedule = locked.first()
        if schedule is None:
            return 0
        taking = Taking(schedule, tick, to_ring)
        waiting = [row for row in taking.rows if row.outcome == Outcome.WAITING]
        for planned in waiting:
            if not _look(taking, planned):
                break
            dealt += 1
            planned.save()
            if planned.outcome != Outcome.SUBMITTED:
                taking.left_out.append(planned)
            if tick.over:
                break
        if dealt:
            noted = taking.noted()
            if taking.exhausted:
                noted["next_at"] = None
            if noted:
                Schedule.objects.filter(pk=schedule.pk).update(**noted)
            taking.audit()
    tick.to_ring += to_ring
    return dealt


def _give_up(schedule_id: int, error: Exception) -> None:
    with transaction.atomic():
        schedule = Schedule.objects.filter(pk=schedule_id).locked().first()
        if schedule is None:
            return
        planned = schedule.planned_runs.filter(outcome=Outcome.WAITING).order_by("planned_at").first()
        if planned is None:
            return
        _leave(planned, Outcome.REFUSED, f"amiweb itself failed ({type(error).__name__}); its log says more.")
        planned.save()
        Schedule.objects.filter(pk=schedule.pk).update(failures=schedule.failures + 1)
        left_out_note(schedule=schedule, left_out=[planned])


def _look(taking: Taking, planned: PlannedRun) -> bool:
    """Decide on one that waits. Returns whether anything became of it."""
    schedule, now = taking.schedule, taking.tick.now
    if not schedule.enabled or schedule.stopped_at is not None or taking.stopped:
        return _leave(planned, Outcome.SKIPPED, "The schedule was turned off while it waited.")
    if planned.planned_at < now - late_at_most(schedule.grace_seconds):
        return _leave(
            planned,
            Outcome.MISFIRED,
            f"Not run: it could not begin within {schedule.grace_seconds} s ({moment_words(now)}).",
        )
    if taking.paused:
        return False  # until it is too late for it
    if taking.before.running is not None and schedule.overlap != Schedule.Overlap.ALLOW:
        return False
    if taking.exhausted:
        return _leave(planned, Outcome.SKIPPED, "The schedule has run as often as it shall.")
    held = blackout_for(schedule=schedule, at=now, servers=(), rules=taking.tick.blackouts)
    if held.whole is not None:
        return _leave(planned, Outcome.BLACKOUT, f"Not run: {held.whole.sentence}")
    taking.submit(planned, since=now)
    return True


def _leave(planned: PlannedRun, outcome: str, reason: str) -> bool:
    planned.outcome = outcome
    planned.reason = f"{planned.reason} {reason}".strip()
    return True
