"""Four groups to begin with, each with Django's permissions and an access rule on all servers.

They are made once, by the command `starter_groups`, and belong to the administrator from then on: what exists
is never changed, and a group that was deleted or renamed comes back only when the command is run again.
"""

from dataclasses import dataclass

from django.contrib.auth.models import Group, Permission
from django.db import transaction

from ami_integration.access.danger import Danger
from ami_integration.access.models import AccessRule

_LOOK = (
    "view_server",
    "view_serverhealth",
    "view_serverabilities",
    "view_tag",
    "view_site",
    "view_actionrun",
    "view_fanout",
    "view_actiontemplate",
    "view_catalogue",
    "view_catalogueaction",
    "view_catalogueevent",
    "view_event",
    "view_gap",
    "view_schedule",
    "view_blackout",
    "view_alert",
    "view_alertchannel",
    "view_alertdelivery",
)
_RUN = ("add_actionrun", "add_actiontemplate", "change_actiontemplate", "delete_actiontemplate")
_PLAN = (
    *("add_schedule", "change_schedule", "delete_schedule", "pause_schedules"),
    *("add_blackout", "change_blackout", "delete_blackout"),
)
_READ = (Danger.READ,)
_OPERATE = (*_READ, Danger.OPERATE, Danger.ORIGINATE)
_ENGINEER = (*_OPERATE, Danger.COMMAND, Danger.CONFIG)


@dataclass(frozen=True)
class Starter:
    """A group: its name, what Django lets it do (None: everything of ours), its classes on all servers."""

    name: str
    permissions: tuple[str, ...] | None
    dangers: tuple[Danger, ...]
    notes: str


STARTERS = (
    Starter("Viewer", _LOOK, _READ, "Looks: servers, events, runs. Runs nothing."),
    Starter("Operator", _LOOK + _RUN, _OPERATE, "Handles calls, queues and conferences, and starts calls."),
    Starter(
        "Engineer",
        _LOOK + _RUN + _PLAN,
        _ENGINEER,
        "Reads and changes the configuration of PBXs, runs CLI commands, makes schedules.",
    ),
    Starter(
        "Administrator",
        None,
        tuple(Danger),
        "Everything of amiweb: servers with their accounts, tags, rules, secrets in results.",
    ),
)


def starter_groups_make() -> list[str]:
    """Make those groups and rules that don't exist, by their names. Returns what was made, for people."""
    made = []
    ours = Permission.objects.filter(content_type__app_label="ami_integration")
    with transaction.atomic():
        for starter in STARTERS:
            group, new = Group.objects.get_or_create(name=starter.name)
            if new:
                wanted = (
                    ours if starter.permissions is None else ours.filter(codename__in=starter.permissions)
                )
                if starter.permissions is None:
                    # What amiweb writes by itself nobody adds, changes or deletes by hand.
                    wanted = wanted.exclude(
                        codename__regex=r"^(add|change|delete)_(event|gap|plannedrun|alert|alertdelivery)$"
                    )
                group.permissions.set(wanted)
                made.append(f"group {group.name}")
            name = f"{starter.name}s on all servers"
            if new and not AccessRule.objects.filter(name=name).exists():
                AccessRule.objects.create(
                    name=name,
                    group=group,
                    all_servers=True,
                    dangers=[danger.value for danger in starter.dangers],
                    notes=starter.notes,
                )
                made.append(f"rule “{name}”")
    return made
