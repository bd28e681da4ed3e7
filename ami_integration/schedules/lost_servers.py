"""Schedules that name a server which is deleted: told before, on the audit's record, and on their pages.

A schedule goes on with the servers that are left. One that has none left is refused when it is due, and says
so; but until then, and of the others for ever, nobody would know that it once ran on more.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from ami_integration.access.services import AnyUser, user_sees_all_servers
from ami_integration.audit.services import entry_write
from ami_integration.schedules.models import Schedule
from ami_integration.servers.admin import ServerAdmin
from ami_integration.servers.deletion import Loss
from ami_integration.servers.models import Server

#: Deleted servers that a schedule remembers, the newest ones.
REMEMBERED = 20


def losses_told(user: Any, servers: Sequence[Server]) -> list[str]:
    """Which schedules would lose servers: a sentence for each that this person sees, the number of others."""
    losing = Schedule.objects.filter(servers__in=servers).distinct()
    seen = list(losing.filter(pk__in=Schedule.objects.visible_to(user).values("pk")).order_by("name"))
    told = []
    for schedule in seen:
        lost, left = _split(schedule, servers)
        sentence = f"Schedule {schedule.name}: stays, and no longer runs on {', '.join(lost)}."
        if not left:
            sentence += " It has no other server, so it will not run until somebody chooses one in its form."
        told.append(sentence)
    if others := losing.count() - len(seen):
        schedules = "1 schedule" if others == 1 else f"{others:,} schedules"
        told.append(f"{schedules} that you may not see: no longer run there.")
    return told


def losses_note(user: Any, servers: Sequence[Server], address: str) -> None:
    """Note on each schedule that names them, and in the audit, that it loses servers; in a transaction."""
    losing = Schedule.objects.filter(servers__in=servers).values("pk")
    now = timezone.now()
    # Under their locks: a tick that has one in hand ends first, and knew the server.
    found = Schedule.objects.select_for_update(of=("self",)).filter(pk__in=losing).order_by("pk")
    for schedule in found.defer("payload"):
        lost, left = _split(schedule, servers)
        noted = [[name, now.isoformat(), user.get_username()] for name in lost]
        # By update(), since nobody edited it: what is planned stays planned.
        Schedule.objects.filter(pk=schedule.pk).update(
            lost_servers=[*schedule.lost_servers, *noted][-REMEMBERED:]
        )
        entry_write(
            actor=user,
            origin="admin",
            address=address,
            verb="schedule.lose_server",
            what={"servers": lost, "left": left},
            object_type="schedule",
            object_id=schedule.pk,
            object_name=schedule.name,
        )


def lost_words(schedule: Schedule, user: AnyUser) -> list[str]:
    """Which servers a schedule lost since it was last saved, for its page.

    A server that is gone is on no access rule any more, so that only who sees all of them reads its name.
    """
    named = user_sees_all_servers(user=user)
    told = []
    for name, at, by in schedule.lost_servers:
        moment = f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        told.append(f"{name if named else 'A server that it named'} was deleted at {moment} by {by}.")
    return told


def _split(schedule: Schedule, servers: Sequence[Server]) -> tuple[list[str], list[str]]:
    """The names of its servers that go, and of those that stay."""
    going = {server.pk for server in servers}
    named = list(schedule.servers.order_by("name"))
    return (
        [server.name for server in named if server.pk in going],
        [server.name for server in named if server.pk not in going],
    )


# The room of servers knows nothing of ours, so we bring along what we lose.
ServerAdmin.losses = [*ServerAdmin.losses, Loss(losses_told, losses_note)]
