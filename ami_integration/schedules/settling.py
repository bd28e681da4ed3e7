"""How planned runs ended: read from their runs and kept with them, and with their schedule.

So lists of thousands of schedules, the history and the alerts read columns, and the log may be pruned
meanwhile. A schedule's lock is taken first, as everywhere; those that others hold are left to the next tick.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from django.db import Error, transaction

from ami_integration.actions.fanouts import FAILURES
from ami_integration.actions.models import ActionRun
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun

logger = logging.getLogger(__name__)

Result = PlannedRun.Result
#: Planned runs that are settled together.
BATCH = 50
GONE = "What it ran has left the action log, so nobody can say how it ended."


def planned_settle(*, now: datetime) -> int:
    """Keep how some of the planned runs ended whose runs are over. Returns how many; 0: none, or not now."""
    over = PlannedRun.objects.over()
    found = list(over.order_by("pk").values_list("pk", "schedule_id")[:BATCH])
    if not found:
        return 0
    try:
        with transaction.atomic():
            wanted = Schedule.objects.filter(pk__in={schedule for _, schedule in found}).order_by("pk")
            schedules = {schedule.pk: schedule for schedule in wanted.locked().defer("payload")}
            # Again, now that nobody else settles them.
            rows = list(
                over.filter(pk__in=[pk for pk, _ in found], schedule__in=schedules)
                .select_related("run")
                .defer("run__payload", "run__headers_masked", "run__traceback")
                .order_by("planned_at")
            )
            _settle(rows, schedules, now)
    except Error as error:
        logger.warning("Ended planned runs can't be settled now; the next tick does it: %s", error)
        return 0
    return len(rows)


def _settle(rows: list[PlannedRun], schedules: dict[int, Schedule], now: datetime) -> None:
    of_fanouts: dict[int, list[ActionRun]] = {}
    fanouts = [planned.fanout_id for planned in rows if planned.fanout_id is not None]
    if fanouts:
        columns = ("fanout_id", "status", "started_at", "finished_at")
        for run in ActionRun.objects.filter(fanout__in=fanouts).only(*columns).order_by("pk"):
            of_fanouts.setdefault(run.fanout_id or 0, []).append(run)
    for planned in rows:
        runs = [planned.run] if planned.run is not None else of_fanouts.get(planned.fanout_id or 0, [])
        planned.result = result_of((run.status for run in runs), refused=planned.refused)
        planned.started_at = min((run.started_at for run in runs if run.started_at), default=None)
        planned.finished_at = max((run.finished_at for run in runs if run.finished_at), default=now)
        if not runs:
            planned.reason = f"{planned.reason} {GONE}".strip()
        _note(schedules[planned.schedule_id], planned)
    PlannedRun.objects.bulk_update(rows, ("result", "started_at", "finished_at", "reason"))
    touched = {planned.schedule_id for planned in rows}
    Schedule.objects.bulk_update(
        [schedule for pk, schedule in schedules.items() if pk in touched],
        ("last_state", "last_at", "last_good_at", "failures"),
    )


def result_of(statuses: Iterable[str], *, refused: int = 0) -> str:
    """How a planned time ended, from the ends of its runs.

    Args:
        statuses: of its runs, all over; none: they have left the log.
        refused: servers on which it was not allowed, which counts as a failure there.
    """
    ends = Counter(statuses)
    succeeded = ends.pop(ActionRun.Status.SUCCEEDED, 0)
    if succeeded and set(ends) == {ActionRun.Status.CANCELLED} and not refused:
        return Result.CANCELLED  # taken back halfway, which is no failure, and no success either
    if succeeded:
        return Result.PARTLY if ends or refused else Result.SUCCEEDED
    if not ends:
        return Result.UNKNOWN
    # Nothing succeeded: of several ends the gravest, in this order.
    order = (Result.ERRORED, Result.FAILED, Result.UNKNOWN, Result.EXPIRED, Result.CANCELLED)
    return next(result for result in order if ends[result.value])


def _note(schedule: Schedule, planned: PlannedRun) -> None:
    """What a schedule keeps of a planned run that ended."""
    if planned.result == Result.SUCCEEDED:
        schedule.failures = 0
        if schedule.last_good_at is None or (
            planned.finished_at is not None and planned.finished_at > schedule.last_good_at
        ):
            schedule.last_good_at = planned.finished_at
    elif planned.result in (*FAILURES, Result.PARTLY):
        schedule.failures += 1
    if schedule.last_at is None or planned.planned_at >= schedule.last_at:
        schedule.last_at = planned.planned_at
        schedule.last_state = planned.state
