"""Who may change a schedule and have it run by itself; what its verbs ask before they do anything."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

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
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.calendar import next_times
from ami_integration.schedules.models import Schedule
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server, Tag

#: What `owner_set` changes.
OWNER_FIELDS = ("owner", "owner_name", "stopped_at", "stopped_why")
#: What people do to a schedule that counts as an edit, as the audit calls it.
_EDITS = tuple(f"schedule.{verb}" for verb in ("change", "pause", "resume", "take_over"))
#: Fields of its form that are told by no name.
_UNTOLD = ("kept", "template", "unchecked")
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
    """Why this person may not have this run by itself, or "". A no is audited, where it is an attempt.

    The switches of the servers are not asked: they are about now, and each run is asked in its own time.

    Args:
        servers: those that are named; each of them has to be allowed.
        tag: instead of them; one of its servers that the person sees has to be, if there is any.
        address: the IP address that asks, if any.
        verb: what is attempted, for the audit; "": nothing, a page only wants to know.
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
    for server in no if verb else ():
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


def narrowing(*, user: Any, schedule: Schedule) -> str:
    """Why this person may not edit a stored schedule: it would run on fewer servers from then on; or "".

    What is named stays named. What has a tag runs where its owner may, so whoever becomes the owner must see
    every enabled server that has it, as its owner may; the owner narrows nothing.
    """
    unseen = servers_unseen(user=user, schedule=schedule)
    if schedule.tag_id is not None and schedule.owner_id != user.pk:
        unseen = _tagged(schedule).exclude(pk__in=servers_visible(user=user).values("pk")).exists()
    if not unseen:
        return ""
    return (
        "It also runs on servers that you don't see, and whoever saves it runs it with their own rights: "
        "they would be dropped. Let somebody change it who sees them all, or duplicate it for those that "
        "you see."
    )


def _tagged(schedule: Schedule) -> QuerySet[Server]:
    return Server.objects.enabled().filter(tags=schedule.tag_id)


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


def stored_ask(
    *, user: Any, schedule: Schedule, address: str = "", verb: str = "", whole: bool = False
) -> None:
    """Whether this person may have run what is stored. Raises RunRefused, audited under this verb.

    Args:
        verb: what is attempted; "": nothing, a page only wants to know, and nothing is audited.
        whole: of a tag ask for every enabled server that has it, seen or not, and not for one of them.
    """
    try:
        headers = schedule.headers_in_clear()
    except SecretUnreadable as error:
        raise RunRefused(str(error)) from None
    tag = schedule.tag
    named: QuerySet[Server] = schedule.servers.all()
    if whole and tag is not None and _tagged(schedule).exists():
        named, tag = _tagged(schedule), None
    if refusal := schedule_ask(
        user=user,
        servers=named.select_related("abilities").order_by("name"),
        tag=tag,
        action=schedule.action,
        headers=headers,
        address=address,
        verb=verb,
    ):
        raise RunRefused(refusal)


def schedule_lock_unchanged(*, schedule: Schedule, as_of: datetime | None = None) -> Schedule:
    """`schedule_lock`, if nobody has edited it since it was read. Raises RunRefused."""
    stored = schedule_lock(schedule=schedule)
    if changed := changed_since(schedule=stored, as_of=as_of or schedule.updated_at):
        raise RunRefused(f"{changed} Look at it again first.")
    return stored


def changed_since(*, schedule: Schedule, as_of: datetime) -> str:
    """Who edited a schedule since it was looked at, and what, a sentence; "": nobody did.

    Args:
        as_of: `updated_at` of what was looked at.
    """
    if schedule.updated_at == as_of:
        return ""
    entries = AuditEntry.objects.filter(
        object_type="schedule",
        object_id=str(schedule.pk),
        verb__in=_EDITS,
        outcome=AuditEntry.Outcome.DONE,
        at__gt=as_of,
    )
    last = entries.order_by("-at", "-pk").first()
    if last is None or not last.actor_name:
        return f"Somebody changed {schedule.name} meanwhile."
    if last.verb != "schedule.change":
        what = last.verb.rpartition(".")[2].replace("_", " ")
    else:
        told = [name.replace("_", " ") for name in last.what if name not in _UNTOLD]
        what = ", ".join(told) or "something else"
    who = f"{last.actor_name} at {last.at:%H:%M:%S} UTC ({what})"
    return f"Somebody changed {schedule.name} meanwhile: {who}."


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
