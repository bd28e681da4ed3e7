"""On which servers a schedule runs: asked anew each time, since tags, switches and rights change.

What a schedule names is a wish. When it is due, its servers are those that are enabled and on which the
person with whose rights it runs may run just this; what falls out is told in a sentence, in the record of
that time. A server that is switched off (disabled, read-only, in maintenance) is left out of this time alone.
A right that is missing everywhere stops the schedule, visibly, until somebody who has it takes it over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet

from ami_integration.access.services import (
    AnyUser,
    Decision,
    Rules,
    decide_each,
    servers_visible,
    user_may_run,
)
from ami_integration.actions.models import ActionRun
from ami_integration.actions.rights import run_ask
from ami_integration.actions.services import headers_complete
from ami_integration.schedules.calendar import BadTiming
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Server


@dataclass(frozen=True)
class Targets:
    """Where a schedule would run now.

    Attributes:
        servers: in the order of their names.
        left_out: name and reason, a sentence, of each that is meant and falls out.
        refused: of those the ones on which a right is missing, or that are switched off by a server's switch.
        decisions: about those that are meant, by their ids.
        stops: why the schedule must not go on with this person's rights at all, a sentence; "": it may.
    """

    servers: list[Server]
    left_out: list[tuple[str, str]] = field(default_factory=list)
    refused: list[Server] = field(default_factory=list)
    stops: str = ""
    decisions: dict[int, Decision] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """What was left out and why, as one text; "" if nothing was."""
        return " ".join(why for _, why in self.left_out)

    @property
    def forbidden(self) -> int:
        """On how many servers a right is missing; those that are only switched off aren't counted."""
        return sum(not self.decisions[server.pk].switched_off for server in self.refused)


def schedule_servers(*, schedule: Schedule, user: AnyUser, rules_read: Rules | None = None) -> Targets:
    """On which servers a schedule would run now with somebody's rights.

    Args:
        schedule: a stored one.
        user: whose rights; None: nobody's, for example a deleted owner's.
        rules_read: this person's access rules, for who asks many times in a row; None: they are read now.

    Raises:
        SecretUnreadable: what it would send can't be read, so nobody can say.
    """
    if not user_may_run(user=user):
        return Targets([], stops=_stopped(schedule, user))
    meant = schedule_meant(schedule=schedule, user=user)
    if not meant:
        return _nowhere(schedule, user)
    headers = headers_complete(action=schedule.action, headers=schedule.headers_in_clear())
    decisions = decide_each(
        user=user,
        servers=meant,
        action=schedule.action,
        headers=headers,
        origin=ActionRun.Origin.SCHEDULE,
        rules_read=rules_read,
    )
    servers, left_out, refused = [], [], []
    for server in meant:
        decision = decisions[server.pk]
        if not server.enabled:
            left_out.append((server.name, f"{server.name} is disabled."))
        elif decision.allowed:
            servers.append(server)
        else:
            left_out.append((server.name, decision.reason))
            refused.append(server)
    forbidden = [
        decision for decision in decisions.values() if not decision.allowed and not decision.switched_off
    ]
    stops = ""
    if len(forbidden) == len(meant):
        # Without the servers' names: whoever sees the schedule reads it, in alerts too, and may see only some
        # of them. The record of this planned time says more, to whoever sees all.
        stops = _nowhere_allowed(schedule, user)
    return Targets(servers, left_out, refused, stops, decisions)


def schedule_meant(*, schedule: Schedule, user: AnyUser) -> list[Server]:
    """The servers that a schedule names, or those with its tag that are enabled and that this person sees."""
    if schedule.tag_id is None:
        servers: QuerySet[Server] = schedule.servers.all()
    else:
        servers = servers_visible(user=user).filter(tags=schedule.tag_id, enabled=True)
    return list(servers.select_related("abilities").order_by("name"))


def targets_audit(*, schedule: Schedule, user: AnyUser, targets: Targets, address: str = "") -> None:
    """Tell the audit of the servers on which a run was refused, in the transaction that records it."""
    if not targets.refused:
        return
    headers = headers_complete(action=schedule.action, headers=schedule.headers_in_clear())
    for server in targets.refused:
        run_ask(
            user=user,
            server=server,
            action=schedule.action,
            headers=headers,
            origin=ActionRun.Origin.SCHEDULE,
            address=address,
        )


def schedule_zone(servers: Sequence[Server]) -> str:
    """The time zone that all of these servers share.

    Raises:
        BadTiming: they don't, or there is none.
    """
    zones: dict[str, list[str]] = {}
    for server in servers:
        zones.setdefault(server.timezone, []).append(server.name)
    if len(zones) == 1:
        return next(iter(zones))
    if not zones:
        raise BadTiming("timezone", "No server says which time zone it lies in. Write one, or UTC.")
    told = "; ".join(
        f"{zone} ({', '.join(names[:3])}{', …' if names[3:] else ''})" for zone, names in zones.items()
    )
    raise BadTiming(
        "timezone", f"Its servers lie in different time zones: {told}. Write the one that counts."
    )


def _stopped(schedule: Schedule, user: Any) -> str:
    who = schedule.owner_name if user is None else user.get_username()
    why = "was deleted" if user is None else "is not active" if not user.is_active else "may not run actions"
    return (
        f"This schedule runs with the rights of {who or 'its owner'}, who {why}. Somebody who may run this "
        "must take it over."
    )


def _nowhere_allowed(schedule: Schedule, user: Any) -> str:
    return (
        f"{user.get_username()} may run {schedule.action} on none of its servers any more. Somebody who may "
        "must take it over."
    )


def _nowhere(schedule: Schedule, user: Any) -> Targets:
    if schedule.tag is None:
        why = "It has no server any more: what it named was deleted. Choose another in its form."
    elif not Server.objects.enabled().filter(tags=schedule.tag).exists():
        why = f"No enabled server has the tag {schedule.tag.name}."
    else:
        why = f"{user.get_username()} sees no enabled server with the tag {schedule.tag.name} any more."
        return Targets([], [("", why)], stops=why)
    return Targets([], [("", why)])
