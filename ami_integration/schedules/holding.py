"""What was submitted and hasn't begun is taken back when a blackout comes, or when all schedules are paused.

Windows are asked when a planned time is submitted, too. But a blackout may be made, or begin, while the runs
of a fan-out still wait for their turn or for their moment, and nobody wants those to start inside it. They
are taken back, and not kept for later: what runs after a window was planned for after it. Each run says why,
and the record of the planned time does.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db import Error, transaction
from django.db.models import Q, QuerySet

from ami_integration.actions.models import ActionRun
from ami_integration.actions.unattended import unattended_take_back
from ami_integration.schedules.blackouts import Rule, Window, blackout_for, windows
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.pausing import pause_sentence, schedules_paused
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.submission import planned_take_back
from ami_integration.schedules.turn import Tick

logger = logging.getLogger(__name__)

#: What begins until the next tick is looked at now, and what begins a little later, too.
AHEAD = timedelta(seconds=5)
#: What waits for its turn may get it at any moment until the next tick.
_TURN = timedelta(seconds=1)
#: For so long whoever paused all schedules takes back themselves what hasn't begun, in their own name.
PAUSED_FOR = timedelta(seconds=10)
#: Runs that one tick looks at.
BATCH = 500


def held_take_back(*, tick: Tick) -> int:
    """Take back what must not begin now. Returns how many runs, and planned times that waited."""
    pause = schedules_paused()
    if pause is not None and pause.turned_at <= tick.now - PAUSED_FOR:
        why = f"Taken back before it began: {pause_sentence(pause)}"
        return sum(_each(tick, pk, [], why) for pk in _schedules(ActionRun.objects.queued(), _submitted()))
    rules = [rule for rule in tick.blackouts if windows(rule.blackout, tick.now, tick.now + AHEAD)]
    if not rules:
        return 0
    planned = _submitted()
    runs = ActionRun.objects.queued().filter(Q(start_at=None) | Q(start_at__lte=tick.now + AHEAD))
    schedules = [rule.schedules for rule in rules if rule.schedules is not None]
    if len(schedules) == len(rules):
        planned = planned.filter(schedule_id__in=frozenset().union(*schedules))
    servers = [rule.servers for rule in rules if rule.servers is not None]
    if len(servers) == len(rules):
        runs = runs.filter(server_id__in=frozenset().union(*servers))
    return sum(_each(tick, pk, rules, "") for pk in _schedules(runs, planned))


def _submitted() -> QuerySet[PlannedRun]:
    return PlannedRun.objects.open().filter(outcome=PlannedRun.Outcome.SUBMITTED).order_by()


def _schedules(runs: QuerySet[ActionRun], planned: QuerySet[PlannedRun]) -> list[int]:
    """The schedules to which some of these runs belong."""
    single = planned.filter(run__isnull=False).values("run")
    several = planned.filter(fanout__isnull=False).values("fanout")
    found = list(
        runs.filter(Q(pk__in=single) | Q(fanout__in=several)).order_by().values_list("pk", "fanout")[:BATCH]
    )
    if not found:
        return []
    mine = planned.filter(Q(run__in=[pk for pk, _ in found]) | Q(fanout__in={fanout for _, fanout in found}))
    return sorted(set(mine.values_list("schedule_id", flat=True)))


def _each(tick: Tick, schedule_id: int, rules: Sequence[Rule], paused: str) -> int:
    if tick.over:
        return 0
    try:
        with transaction.atomic():
            # Whoever takes, submits or settles its planned times has this lock, too.
            schedule = Schedule.objects.filter(pk=schedule_id).locked().first()
            if schedule is None:
                return 0  # the next tick looks again
            if paused:
                return planned_take_back(schedule=schedule, reason=paused, now=tick.now)
            return sum(
                _take_back(schedule, planned, rules, tick.now)
                for planned in _submitted().filter(schedule=schedule)
            )
    except Error as error:
        logger.warning("What the schedule %s submitted can't be taken back now: %s", schedule_id, error)
        return 0


def _take_back(schedule: Schedule, planned: PlannedRun, rules: Sequence[Rule], now: datetime) -> int:
    mine = Q(pk=planned.run_id) if planned.fanout_id is None else Q(fanout=planned.fanout_id)
    queued = list(ActionRun.objects.queued().filter(mine).select_related("server").order_by("pk"))
    held: dict[str, list[ActionRun]] = {}
    for run in queued:
        window = _window(schedule, run, rules, now)
        if window is not None:
            held.setdefault(window.sentence, []).append(run)
    taken = 0
    for sentence, runs in held.items():
        whole = planned.fanout_id is not None and len(runs) == len(queued)
        number = unattended_take_back(
            run_ids=[run.pk for run in runs],
            fanout_ids=[planned.fanout_id] if whole and planned.fanout_id is not None else [],
            reason=f"Not begun: {sentence}",
            now=now,
        )
        if number:
            taken += number
            where = "" if planned.fanout_id is None else f" on {_names(run.server_name for run in runs)}"
            planned.reason = f"{planned.reason} Not begun{where}: {sentence}".strip()
    if taken:
        planned.save(update_fields=["reason"])
    return taken


def _window(schedule: Schedule, run: ActionRun, rules: Sequence[Rule], now: datetime) -> Window | None:
    """What would hold a run back when it could begin next."""
    at = now + _TURN if run.held else now
    at = at if run.start_at is None else max(at, run.start_at)
    if at > now + AHEAD:
        return None
    servers = [] if run.server is None else [run.server]
    return blackout_for(schedule=schedule, at=at, servers=servers, rules=rules).whole


def _names(names: Iterable[str], most: int = 3) -> str:
    found = list(names)
    rest = len(found) - most
    return ", ".join(found[:most]) + (f" and {rest} more" if rest > 0 else "")
