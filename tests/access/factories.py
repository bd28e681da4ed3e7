"""People with access rules, for tests."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission, User

from ami_integration.access.danger import Danger
from ami_integration.access.models import AccessRule
from ami_integration.servers.models import Server, Tag

ALL_DANGERS = [danger.value for danger in Danger]
#: What Django's model permissions must say for somebody to whom only the rules make a difference.
PERMISSIONS = (
    "view_server",
    "view_actionrun",
    "add_actionrun",
    "view_event",
    "view_gap",
    "view_schedule",
    "view_actiontemplate",
)


def make_person(username: str, *permissions: str, **values: Any) -> User:
    """A member of staff with these permissions of ours (`PERMISSIONS` if none are named), and no rule."""
    user = User.objects.create_user(username, is_staff=values.pop("is_staff", True), **values)
    named = permissions or PERMISSIONS
    found = Permission.objects.filter(codename__in=named, content_type__app_label="ami_integration")
    assert found.count() == len(named)
    user.user_permissions.set(found)
    return user


def grant(
    user: User,
    *dangers: str,
    on: Server | Tag | None = None,
    deny: bool = False,
    **values: Any,
) -> AccessRule:
    """A rule for a new group with this one member.

    Args:
        dangers: the classes; all of them if none are named.
        on: a server or a tag; None: all servers.
        deny: a denial.
    """
    number = AccessRule.objects.count() + 1
    group = Group.objects.create(name=f"{user.username} {number}")
    group.user_set.add(user)
    rule = AccessRule.objects.create(
        **{
            "name": f"rule {number}",
            "group": group,
            "effect": AccessRule.Effect.DENY if deny else AccessRule.Effect.ALLOW,
            "all_servers": on is None,
            "dangers": [str(danger) for danger in dangers] or ALL_DANGERS,
        }
        | values
    )
    if isinstance(on, Tag):
        rule.tags.add(on)
    elif on is not None:
        rule.servers.add(on)
    return rule
