"""The rules of schedules: what happens when one is saved, and what the tick does.

A tick takes each due schedule in a transaction of its own: the compare-and-swap on `next_at`, the row of
the planned time under its unique key, and the run are committed together or not at all, so that no planned
time is lost or submitted twice wherever the process dies. Then the run goes its way like everybody else's.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from ami_integration.access.services import servers_visible
from ami_integration.actions.masking import headers_mask, storable_headers
from ami_integration.actions.models import ActionRun, ActionTemplate, FanOut
from ami_integration.actions.placeholders import variables_of
from ami_integration.actions.services import RunRefused, action_check, headers_complete, run_submit
from ami_integration.schedules.calendar import (
    BadTiming,
    Timing,
    first_time,
    next_times,
    timing_check,
    timing_words,
)
from ami_integration.schedules.controls import (
    schedule_delete,
    schedule_pause,
    schedule_resume,
    schedule_run_now,
    schedule_take_over,
)
from ami_integration.schedules.models import PlannedRun, Schedule
from ami_integration.schedules.pausing import schedules_pause_all, schedules_paused, schedules_resume_all
from ami_integration.schedules.rights import next_left, owner_set, plan_check, schedule_ask, schedule_lock
from ami_integration.schedules.submission import planned_take_back
from ami_integration.schedules.targets import schedule_servers, schedule_zone
from ami_integration.servers.encryption import SecretUnreadable
from ami_integration.servers.models import Server

__all__ = [
    "BadTiming",
    "Timing",
    "next_times",
    "schedule_ask",
    "schedule_delete",
    "schedule_pause",
    "schedule_resume",
    "schedule_run_now",
    "schedule_save",
    "schedule_take_over",
    "schedules_pause_all",
    "schedules_paused",
    "schedules_resume_all",
    "schedules_tick",
    "template_differs",
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

#: What a new time is made of; the planned times are then counted anew.
_TIMING_FIELDS = (
    "kind",
    "crontab",
    "interval_seconds",
    "timezone",
    "once_at",
    "starts_at",
    "ends_at",
    "max_runs",
)
#: What else changes what is sent, and where.
_REQUEST_FIELDS = ("action", "tag_id", "mode", "limit", "stop_after", "timeout")


#: What only the tick notes.
_KEPT_BY_TICK = (
    *("anchor_at", "next_at", "runs_counted"),
    *("last_state", "last_at", "last_good_at", "failures"),
)


def schedule_save(
    *,
    user: Any,
    schedule: Schedule,
    headers: Iterable[tuple[str, str]],
    servers: Iterable[Server] | None = None,
    now: datetime | None = None,
    address: str = "",
    hidden_by: int | None = None,
    template: ActionTemplate | None = None,
) -> Schedule:
    """Save a new or edited schedule; the edit holds at once.

    Whoever saves it becomes its owner: it runs with their rights, and nobody borrows another's by editing.
    What of it was submitted and not begun is taken back, if it is disabled now or would do something else.

    Args:
        user: who saves it.
        schedule: with the fields as they shall be; what is derived (`next_at`, the anchor, the owner) is
            set here. Without a time zone it gets the one that its servers share.
        headers: the action's headers in clear, every placeholder filled in.
        servers: the servers that it names; None: as they are, and none if it has a tag.
        now: the moment; the clock's if not given.
        address: the IP address that asks, if any.
        hidden_by: the id of the person who wrote what is hidden of the headers, not always the owner; None:
            nobody knows.
        template: what it was made of, as the person saw it, if it is taken over with this save; None: as
            it was.

    Raises:
        RunRefused: no right to change it or to run this, or something that can't be put on the wire.
        BadTiming: the calendar can't be read, or has no time left.
    """
    now = now or timezone.now()
    pairs = headers_complete(action=schedule.action, headers=headers)
    plan_check(user=user, schedule=schedule, what="change" if schedule.pk else "add")
    named = _servers_named(schedule, servers)
    _rules_check(schedule, named, pairs)
    meant = named or list(servers_visible(user=user).filter(tags=schedule.tag, enabled=True).order_by("name"))
    if refusal := schedule_ask(
        user=user,
        servers=named,
        tag=schedule.tag,
        action=schedule.action,
        headers=pairs,
        address=address,
    ):
        raise RunRefused(refusal)
    action_check(action=schedule.action, headers=pairs)
    if not schedule.timezone:
        schedule.timezone = schedule_zone(meant)
    timing_check(timing=schedule)
    if template is not None:
        schedule.template = template
        schedule.template_taken_at = template.updated_at
    elif schedule.template_id is None:
        schedule.template_taken_at = None
    with transaction.atomic():
        before = schedule_lock(schedule=schedule) if schedule.pk else None
        changed = before is not None and _request_changed(before, schedule, named, pairs)
        if before is not None:
            _unseen_kept(before, user, named)
        schedule.payload = json.dumps(pairs)
        schedule.headers_masked = storable_headers(headers_mask(pairs))
        schedule.hidden_by_id = hidden_by
        owner_set(schedule=schedule, user=user)
        _retime(schedule, before, now)
        schedule.save()
        schedule.servers.set(named)
        if changed or (before is not None and before.enabled and not schedule.enabled):
            planned_take_back(
                schedule=schedule,
                reason=f"Taken back: {user.get_username()} "
                + ("changed" if schedule.enabled else "disabled")
                + " the schedule before it began.",
                actor=user,
                address=address,
            )
    return schedule


def template_differs(schedule: Schedule) -> bool:
    """Whether the template that a schedule was made of has changed since somebody took it over."""
    if schedule.template is None or schedule.template_taken_at is None:
        return False
    return schedule.template.updated_at > schedule.template_taken_at


def _servers_named(schedule: Schedule, servers: Iterable[Server] | None) -> list[Server]:
    if servers is not None:
        return list(servers)
    if schedule.tag is not None or not schedule.pk:
        return []
    return list(schedule.servers.order_by("name"))


def _rules_check(schedule: Schedule, named: Sequence[Server], pairs: Sequence[tuple[str, str]]) -> None:
    """What the fields must agree on. Raises RunRefused with the field."""
    if named and schedule.tag is not None:
        raise RunRefused("Choose servers or a tag, not both.", field="tag")
    if not named and schedule.tag is None:
        raise RunRefused("Choose the servers that it runs on, or a tag.", field="servers")
    several = schedule.tag is not None or len(named) > 1
    if schedule.jitter_seconds and several and schedule.mode != FanOut.Mode.PARALLEL:
        raise RunRefused(
            "What is spread has no order: each server starts at its own moment. Choose “All at once”, or "
            "spread over 0 seconds.",
            field="jitter_seconds",
        )
    if open_ones := variables_of(pairs):
        names = ", ".join(f"{{{{{name}}}}}" for name in open_ones)
        raise RunRefused(f"Fill in {names}: nobody is asked when it runs by itself.", field="headers")


def _unseen_kept(schedule: Schedule, user: Any, named: Sequence[Server]) -> None:
    """An edit drops no server that the person doesn't see. Raises RunRefused."""
    visible = servers_visible(user=user).values("pk")
    if schedule.servers.exclude(pk__in=visible).exclude(pk__in=[server.pk for server in named]).exists():
        raise RunRefused(
            "It also runs on servers that you don't see, and they would be dropped. Let somebody change it "
            "who sees them all, or make a schedule of your own.",
            field="servers",
        )


def _request_changed(
    before: Schedule, schedule: Schedule, named: Sequence[Server], pairs: Sequence[tuple[str, str]]
) -> bool:
    """Whether an edited schedule sends something else, or somewhere else."""
    if any(getattr(before, name) != getattr(schedule, name) for name in _REQUEST_FIELDS):
        return True
    if {server.pk for server in named} != set(before.servers.values_list("pk", flat=True)):
        return True
    try:
        return before.headers_in_clear() != list(pairs)
    except SecretUnreadable:
        return True


def _retime(schedule: Schedule, before: Schedule | None, now: datetime) -> None:
    """Set what the tick goes by. Raises BadTiming: it would never run."""
    if before is not None:
        # An edit is about what people wrote. What the tick noted meanwhile stays.
        for name in _KEPT_BY_TICK:
            setattr(schedule, name, getattr(before, name))
    retimed = before is None or any(
        getattr(before, name) != getattr(schedule, name) for name in _TIMING_FIELDS
    )
    enabled_anew = before is not None and not before.enabled
    if retimed:
        schedule.anchor_at = now
    if retimed or enabled_anew:
        schedule.runs_counted = 0
    if not schedule.enabled:
        schedule.next_at = None
    elif retimed or enabled_anew:
        schedule.next_at = first_time(timing=schedule, now=now)
    elif schedule.next_at is None:
        schedule.next_at = next_left(schedule=schedule, now=now)  # it was stopped
    # Else not even a planned time that is due this very second gets lost by a change of the name.


def schedules_tick(*, now: datetime | None = None) -> int:
    """Take every schedule that is due; returns how many planned times were dealt with.

    Args:
        now: the moment; the clock's if not given.
    """
    now = now or timezone.now()
    dealt = 0
    for schedule in Schedule.objects.due(now).select_related("tag", "owner")[:TICK_BATCH]:
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
    targets = schedule_servers(schedule=schedule, user=owner)
    if not targets.servers:
        raise RunRefused(targets.stops or targets.reason)
    return run_submit(
        user=owner,
        server=targets.servers[0],
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
