"""The rules of schedules: what happens when one is saved. What the tick does is in `tick.py`."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from ami_integration.access.services import servers_visible
from ami_integration.actions.models import ActionTemplate
from ami_integration.actions.placeholders import variables_of
from ami_integration.actions.plans import PLAN, Mode
from ami_integration.actions.services import RunRefused, action_check, headers_complete
from ami_integration.actions.templates import templates_usable
from ami_integration.schedules.calendar import (
    BadTiming,
    Timing,
    first_time,
    next_times,
    timing_check,
    timing_words,
)
from ami_integration.schedules.controls import (
    RanAlready,
    schedule_delete,
    schedule_pause,
    schedule_resume,
    schedule_run_now,
    schedule_take_over,
)
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.pausing import schedules_pause_all, schedules_paused, schedules_resume_all
from ami_integration.schedules.rights import (
    narrowing,
    next_left,
    owner_set,
    plan_check,
    schedule_ask,
    schedule_lock_unchanged,
)
from ami_integration.schedules.submission import planned_take_back
from ami_integration.schedules.targets import schedule_zone
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server, Tag

__all__ = [
    "BadTiming",
    "RanAlready",
    "Timing",
    "next_times",
    "places_check",
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
    "template_differs",
    "timing_check",
    "timing_words",
]

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
_REQUEST_FIELDS = ("action", "tag_id", *PLAN, "timeout")
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
    as_of: datetime | None = None,
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
        template: what it was made of, as it was read when the person saw it, if it is taken over with this
            save: its `updated_at` is noted, whatever became of it since. None: as it was.
        as_of: `updated_at` of what the person looked at; None: of `schedule` as the caller read it, which
            keeps out only what happens after that.

    Raises:
        RunRefused: no right to change it or to run this, somebody else changed it meanwhile, or something
            that can't be put on the wire.
        BadTiming: the calendar can't be read, or has no time left.
    """
    now = now or timezone.now()
    pairs = headers_complete(action=schedule.action, headers=headers)
    plan_check(user=user, schedule=schedule, what="change" if schedule.pk else "add")
    named = _servers_named(schedule, servers)
    places_check(servers=named, tag=schedule.tag, mode=schedule.mode, jitter_seconds=schedule.jitter_seconds)
    _filled_check(pairs)
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
        if not templates_usable(user=user).filter(pk=template.pk).exists():
            raise RunRefused("You may not use this template, or it was deleted.", field="template")
        schedule.template = template
        schedule.template_taken_at = template.updated_at
    elif schedule.template_id is None:
        schedule.template_taken_at = None
    with transaction.atomic():
        before = schedule_lock_unchanged(schedule=schedule, as_of=as_of) if schedule.pk else None
        changed = before is not None and _request_changed(before, schedule, named, pairs)
        if before is not None and (narrower := narrowing(user=user, schedule=before)):
            raise RunRefused(narrower, field="servers")
        schedule.keep_headers(pairs, hidden_by=hidden_by)
        owner_set(schedule=schedule, user=user)
        _retime(schedule, before, now)
        schedule.lost_servers = []  # whoever saves it has said anew where it runs
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


def places_check(*, servers: Sequence[Server], tag: Tag | None, mode: str, jitter_seconds: int) -> None:
    """Whether where it runs, the order and the spread agree. Raises RunRefused with the field."""
    if servers and tag is not None:
        raise RunRefused("Choose servers or a tag, not both.", field="tag")
    if not servers and tag is None:
        raise RunRefused(
            "Choose the servers that it runs on, or a tag; nothing runs without.", field="servers"
        )
    several = tag is not None or len(servers) > 1
    if jitter_seconds and several and mode != Mode.PARALLEL:
        raise RunRefused(
            "What is spread has no order: each server starts at its own moment. Choose the order “"
            f"{Mode.PARALLEL.label}”, or spread over nothing.",
            field="jitter_seconds",
        )


def _filled_check(pairs: Sequence[tuple[str, str]]) -> None:
    if open_ones := variables_of(pairs):
        names = ", ".join(f"{{{{{name}}}}}" for name in open_ones)
        raise RunRefused(f"Fill in {names}: nobody is asked when it runs by itself.", field="headers")


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
