"""What people do to a schedule besides editing it: take it over, pause and resume it, run it now, delete it.

Each of them holds the lock on the schedule's row while it decides, as the tick does while it takes a planned
time. So either of the two comes first, and the other one sees what it did. Who takes a schedule over or runs
it by hand gets what they looked at: if it was edited meanwhile, nothing happens.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from ami_integration.access.services import servers_visible
from ami_integration.actions.services import RunRefused
from ami_integration.audit.services import entry_write
from ami_integration.schedules.blackouts import blackout_for
from ami_integration.schedules.calendar import first_time
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.pausing import pause_sentence, schedules_paused
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.rights import (
    OWNER_FIELDS,
    next_left,
    owner_set,
    plan_check,
    schedule_lock,
    schedule_lock_unchanged,
    stored_ask,
)
from ami_integration.schedules.submission import planned_submit, planned_take_back
from ami_integration.schedules.targets import schedule_servers, targets_audit
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server


class RanAlready(RunRefused):
    """This confirmation was used before; `planned` is what became of it then."""

    def __init__(self, planned: PlannedRun) -> None:
        super().__init__("This was confirmed and run once already. To run it again, confirm it anew.")
        self.planned = planned


def schedule_take_over(
    *,
    user: Any,
    schedule: Schedule,
    address: str = "",
    as_of: datetime | None = None,
    now: datetime | None = None,
) -> Schedule:
    """Have a schedule run with somebody else's rights from now on, as it stands; a stopped one goes on.

    What is hidden in it stays hidden and whose it is: it is sent where it was meant for, and nowhere else.

    Args:
        user: who takes it over; may run this on every server that it names, or on every enabled one with
            its tag.
        schedule: which.
        address: the IP address that asks, if any.
        as_of: `updated_at` of what the person looked at; None: of what `schedule` says.
        now: the moment; the clock's if not given.

    Raises:
        RunRefused: no right to change it or to run this, or it was changed meanwhile.
        BadTiming: it can't be read any more.
    """
    plan_check(user=user, schedule=schedule, what="change")
    mine = schedule.owner_id == user.pk
    stored_ask(user=user, schedule=schedule, address=address, verb="schedule.take_over", whole=not mine)
    with transaction.atomic():
        stored = schedule_lock_unchanged(schedule=schedule, as_of=as_of)
        before, stopped = stored.owner_name, stored.stopped_why
        owner_set(schedule=stored, user=user)
        if stored.enabled and stored.next_at is None:
            stored.next_at = next_left(schedule=stored, now=now or timezone.now())
        stored.save(update_fields=(*OWNER_FIELDS, "next_at", "updated_at"))
        _note(user, stored, "take_over", address, {"from": before, "stopped": stopped})
    return stored


def schedule_pause(*, user: Any, schedule: Schedule, address: str = "") -> Schedule:
    """Disable a schedule; what of it was submitted and not begun is taken back.

    Raises:
        RunRefused: no right to change it.
    """
    plan_check(user=user, schedule=schedule, what="change")
    with transaction.atomic():
        stored = schedule_lock(schedule=schedule)
        if not stored.enabled:
            return stored
        stored.enabled, stored.next_at = False, None
        stored.save(update_fields=("enabled", "next_at", "updated_at"))
        taken = planned_take_back(
            schedule=stored,
            reason=f"Taken back: {user.get_username()} paused the schedule before it began.",
            actor=user,
            address=address,
        )
        _note(user, stored, "pause", address, {"taken_back": taken})
    return stored


def schedule_resume(
    *, user: Any, schedule: Schedule, address: str = "", now: datetime | None = None
) -> Schedule:
    """Enable a schedule; it goes on with the first time after now, with the rights that it had.

    Nobody has another's rights used for what they may not do themselves: who resumes somebody else's may run
    it on every server that it names, or on every enabled one with its tag. What runs already stays as it is.

    Raises:
        RunRefused: no right to change it or to run this, or it was stopped and is somebody else's, or it has
            ended.
        BadTiming: it has no time left.
    """
    plan_check(user=user, schedule=schedule, what="change")
    mine = schedule.owner_id == user.pk
    stored_ask(user=user, schedule=schedule, address=address, verb="schedule.resume", whole=not mine)
    with transaction.atomic():
        stored = schedule_lock_unchanged(schedule=schedule)
        if stored.enabled and stored.stopped_at is None:
            if stored.next_at is None:
                raise RunRefused(
                    "It has ended: it ran as often as it shall, or its last moment has passed. Change that "
                    "in its form to let it run again."
                )
            return stored
        if stored.stopped_at is not None and stored.owner_id != user.pk:
            raise RunRefused(
                f"It was stopped: {stored.stopped_why} Take it over, or have its owner resume it."
            )
        stored.enabled, stored.stopped_at, stored.stopped_why = True, None, ""
        stored.runs_counted = 0
        stored.next_at = first_time(timing=stored, now=now or timezone.now())
        stored.save(
            update_fields=("enabled", "stopped_at", "stopped_why", "runs_counted", "next_at", "updated_at")
        )
        _note(user, stored, "resume", address)
    return stored


def schedule_delete(*, user: Any, schedule: Schedule, address: str = "") -> None:
    """Delete a schedule with its history; what of it was submitted and not begun is taken back.

    The runs themselves stay in the action log.

    Raises:
        RunRefused: no right to delete it.
    """
    plan_check(user=user, schedule=schedule, what="delete")
    with transaction.atomic():
        stored = schedule_lock(schedule=schedule)
        taken = planned_take_back(
            schedule=stored,
            reason=f"Taken back: {user.get_username()} deleted the schedule before it began.",
            actor=user,
            address=address,
        )
        _note(user, stored, "delete", address, {"taken_back": taken})
        stored.delete()


def schedule_run_now(
    *,
    user: Any,
    schedule: Schedule,
    address: str = "",
    now: datetime | None = None,
    as_of: datetime | None = None,
    confirmed_at: datetime | None = None,
    confirmed: Collection[int] | None = None,
) -> PlannedRun:
    """Run a schedule once, now, with the rights of whoever asks; what is planned stays as it is.

    Args:
        user: who may change schedules, and run this on every server that it names.
        schedule: which; it may be disabled or stopped.
        address: the IP address that asks, if any.
        now: the moment; the clock's if not given.
        as_of: `updated_at` of what the person looked at; None: of what `schedule` says.
        confirmed_at: when the person was asked; it becomes the planned time, so that one confirmation runs
            it once however often it is sent. None: now.
        confirmed: the ids of the servers that the person was shown; None: whichever they are.

    Raises:
        RanAlready: with this confirmation.
        RunRefused: no right, no server, other servers than were confirmed, a blackout, the pause of all
            schedules, or it was changed meanwhile.
    """
    now = now or timezone.now()
    plan_check(user=user, schedule=schedule, what="change")
    stored_ask(user=user, schedule=schedule, address=address, verb="schedule.run_now")
    try:
        targets = schedule_servers(schedule=schedule, user=user)
    except SecretUnreadable as error:
        raise RunRefused(str(error)) from None
    targets_audit(schedule=schedule, user=user, targets=targets, address=address)
    if confirmed_at is not None:
        _ran_already(schedule, confirmed_at)
    if not targets.servers:
        raise RunRefused(targets.reason or targets.stops)
    if confirmed is not None:
        _confirmed_check(user, targets.servers, confirmed)
    if held := blackout_for(schedule=schedule, at=now, servers=targets.servers):
        raise RunRefused((held.whole or next(iter(held.servers.values()))).sentence)
    with transaction.atomic():
        # Under its lock: whoever turns the switch now waits, and then takes back what this submits.
        if (pause := schedules_paused(lock=True)) is not None:
            raise RunRefused(pause_sentence(pause))
        stored = schedule_lock_unchanged(schedule=schedule, as_of=as_of)
        if confirmed_at is not None:
            _ran_already(stored, confirmed_at)
        planned = planned_submit(
            schedule=stored,
            planned=PlannedRun(
                schedule=stored,
                planned_at=confirmed_at or now,
                by_hand=user.get_username(),
                reason=targets.reason,
                refused=targets.forbidden,
            ),
            servers=targets.servers,
            decisions=targets.decisions,
            user=user,
            now=now,
            address=address,
        )
        if planned.outcome == PlannedRun.Outcome.REFUSED:
            raise RunRefused(planned.reason)
        names = [server.name for server in targets.servers]
        _note(user, stored, "run_now", address, {"servers": names, "planned_run": planned.pk})
    return planned


def _ran_already(schedule: Schedule, confirmed_at: datetime) -> None:
    if (planned := schedule.planned_runs.filter(planned_at=confirmed_at).first()) is not None:
        raise RanAlready(planned)


def _confirmed_check(user: Any, servers: Sequence[Server], confirmed: Collection[int]) -> None:
    """Whether these are the servers that the person was shown. Raises RunRefused with what changed."""
    come = [server.name for server in servers if server.pk not in confirmed]
    gone_ids = set(confirmed) - {server.pk for server in servers}
    gone = servers_visible(user=user).filter(pk__in=gone_ids).order_by("name").values_list("name", flat=True)
    told = [f"{', '.join(come)} came in"] if come else []
    if gone_ids:
        told.append(f"{', '.join(gone) or 'servers that are gone'} fell out")
    if told:
        raise RunRefused(f"Since you were asked, {' and '.join(told)}. Look at it again first.")


def _note(
    user: Any, schedule: Schedule, verb: str, address: str, what: Mapping[str, Any] | None = None
) -> None:
    entry_write(
        actor=user,
        origin="admin",
        address=address,
        verb=f"schedule.{verb}",
        what=what,
        object_type="schedule",
        object_id=schedule.pk,
        object_name=schedule.name,
    )
