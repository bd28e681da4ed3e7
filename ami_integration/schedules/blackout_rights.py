"""Who may make, change and delete a blackout: whoever could stop by other means what it stops.

A window keeps things from starting as a pause does. So one of everything asks what the pause of all schedules
asks; one of a tag, sight of all servers that have the tag; one of some schedules, the right to change each of
them on all of its servers.
"""

from collections.abc import Iterable
from typing import Any

from ami_integration.access.services import servers_visible, user_may_pause_schedules, user_may_plan
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Server, Tag


def blackout_refusal(*, user: Any, blackout: Blackout) -> str:
    """Why this person may not change or delete a stored blackout, a sentence; or ""."""
    return window_refusal(
        user=user, tag=blackout.tag, scope=blackout.scope, schedules=blackout.schedules.all()
    )


def window_refusal(*, user: Any, tag: Tag | None, scope: str, schedules: Iterable[Schedule]) -> str:
    """Why this person may not have a window hold for this, a sentence; or "".

    Args:
        tag: the servers on which alone it holds; None: all.
        scope: of `Blackout.Scope`.
        schedules: for which alone it holds, if the scope says so.
    """
    unseen = Server.objects.exclude(pk__in=servers_visible(user=user).values("pk"))
    if tag is not None and unseen.filter(tags=tag).exists():
        return (
            "There are servers with this tag that you don't see. Choose another tag, or have somebody do it "
            "who sees them all."
        )
    if scope == Blackout.Scope.ALL:
        if tag is None and not user_may_pause_schedules(user=user):
            return (
                "It holds for every schedule on all servers. That is for people who may pause all schedules: "
                "with the permission “Can pause all schedules” and an access rule for every server. Choose a "
                "tag or schedules, or ask one of them."
            )
        return ""
    wanted = {schedule.pk for schedule in schedules}
    if not wanted:
        return ""
    if not user_may_plan(user=user, what="change"):
        return (
            "It holds for schedules, and you may not change schedules. Ask an administrator for the "
            "permission “Can change schedule”."
        )
    chosen = Schedule.objects.filter(pk__in=wanted)
    visible = set(chosen.visible_to(user).values_list("pk", flat=True))
    # Names of those that this person doesn't see are not for them.
    if visible != wanted:
        return "It also holds for schedules that you don't see. Have somebody do it who may change them all."
    hidden = unseen.order_by().values("pk")
    parts = chosen.filter(servers__in=hidden) | chosen.filter(tag__servers__in=hidden)
    names = sorted(set(parts.order_by().values_list("name", flat=True)))
    if names:
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return (
            f"{shown} also runs on servers that you don't see. Choose others, or ask somebody who sees them."
        )
    return ""
