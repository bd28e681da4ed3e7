"""Who may change a schedule and have it run by itself; what its verbs ask before they do anything."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ami_integration.access.services import (
    decide_each,
    servers_visible,
    tags_visible,
    user_may_plan,
    user_may_run,
)
from ami_integration.actions.models import ActionRun
from ami_integration.actions.rights import run_ask
from ami_integration.actions.services import RunRefused, headers_complete
from ami_integration.schedules.calendar import next_times
from ami_integration.schedules.models import Schedule
from ami_integration.servers.encryption import SecretUnreadable
from ami_integration.servers.models import Server, Tag

#: What `owner_set` changes.
OWNER_FIELDS = ("owner", "owner_name", "stopped_at", "stopped_why")
_RIGHTS = "A schedule runs with the rights of whoever saves it."


def schedule_ask(
    *,
    user: Any,
    servers: Iterable[Server],
    action: str,
    headers: Iterable[tuple[str, str]],
    tag: Tag | None = None,
    address: str = "",
    verb: str = "schedule.save",
) -> str:
    """Why this person may not have this run by itself, or "". A no is audited.

    The switches of the servers are not asked: they are about now, and each run is asked in its own time.

    Args:
        servers: those that are named; each of them has to be allowed.
        tag: instead of them; one of its servers that the person sees has to be, if there is any.
        address: the IP address that asks, if any.
        verb: what is attempted, for the audit.
    """
    named = list(servers)
    pairs = headers_complete(action=action, headers=headers)
    if not named and not user_may_run(user=user):
        return f"{_RIGHTS} {user.get_username()} may not run actions."
    if tag is not None:
        if not tags_visible(user=user).filter(pk=tag.pk).exists():
            return "You see no server with this tag. Choose another, or name servers."
        named = list(servers_visible(user=user).filter(tags=tag, enabled=True).order_by("name"))
    decisions = decide_each(user=user, servers=named, action=action, headers=pairs)
    no = [
        server
        for server in named
        if not decisions[server.pk].allowed and not decisions[server.pk].switched_off
    ]
    if not no or (tag is not None and len(no) < len(named)):
        return ""
    for server in no:
        run_ask(
            user=user,
            server=server,
            action=action,
            headers=pairs,
            origin=ActionRun.Origin.SCHEDULE,
            address=address,
            verb=verb,
        )
    seen = set(
        servers_visible(user=user).filter(pk__in=[server.pk for server in no]).values_list("pk", flat=True)
    )
    if len(seen) < len(no) and user_may_run(user=user):
        # Not which ones: their names are not for this person.
        return f"{_RIGHTS} It also runs on servers that you don't see."
    return f"{_RIGHTS} {decisions[no[0].pk].reason}"


def servers_unseen(*, user: Any, schedule: Schedule) -> bool:
    """Whether a stored schedule names servers that this person doesn't see, whose names are not for them."""
    visible = servers_visible(user=user).values("pk")
    return schedule.servers.exclude(pk__in=visible).exists()


def plan_check(*, user: Any, schedule: Schedule, what: str) -> None:
    """Whether this person may `add`, `change` or `delete` this schedule. Raises RunRefused."""
    if not user_may_plan(user=user, what=what):
        raise RunRefused(
            f"You may not {what} schedules. Ask an administrator for the permission “Can {what} schedule”."
        )
    if schedule.pk and not Schedule.objects.visible_to(user).filter(pk=schedule.pk).exists():
        raise RunRefused("This schedule runs on servers that you don't see.")


def schedule_lock(*, schedule: Schedule) -> Schedule:
    """The schedule as it is stored now; nobody else changes it until the transaction ends."""
    stored = Schedule.objects.select_for_update(of=("self",)).filter(pk=schedule.pk).first()
    if stored is None:
        raise RunRefused(f"The schedule {schedule.name} was deleted meanwhile.")
    return stored


def stored_ask(*, user: Any, schedule: Schedule, address: str, verb: str) -> None:
    """Whether this person may have run what is stored. Raises RunRefused, audited under this verb."""
    try:
        headers = schedule.headers_in_clear()
    except SecretUnreadable as error:
        raise RunRefused(str(error)) from None
    if refusal := schedule_ask(
        user=user,
        servers=schedule.servers.select_related("abilities").order_by("name"),
        tag=schedule.tag,
        action=schedule.action,
        headers=headers,
        address=address,
        verb=verb,
    ):
        raise RunRefused(refusal)


def schedule_lock_unchanged(*, schedule: Schedule, as_of: datetime | None = None) -> Schedule:
    """`schedule_lock`, if nobody has edited it since it was read. Raises RunRefused."""
    stored = schedule_lock(schedule=schedule)
    if stored.updated_at != (as_of or schedule.updated_at):
        raise RunRefused(f"Somebody changed {stored.name} meanwhile. Look at it again first.")
    return stored


def owner_set(*, schedule: Schedule, user: Any) -> None:
    """Make somebody the one with whose rights it runs; what it was stopped for is over."""
    schedule.owner = user
    schedule.owner_name = user.get_username()
    schedule.stopped_at = None
    schedule.stopped_why = ""


def next_left(*, schedule: Schedule, now: datetime) -> datetime | None:
    """Its next time if it has one left: what has ended by its own calendar stays ended."""
    if schedule.max_runs is not None and schedule.runs_counted >= schedule.max_runs:
        return None
    return next(iter(next_times(timing=schedule, after=now, count=1)), None)
