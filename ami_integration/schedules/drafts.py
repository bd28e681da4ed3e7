"""What a form of a schedule is filled with: a template, or another schedule that is copied.

Hidden values go along as `Kept`: encrypted, for this person, this action and the servers that they were
written for.
"""

from dataclasses import dataclass, field
from typing import Any

from ami_integration.actions.forms import headers_text
from ami_integration.actions.models import ActionTemplate
from ami_integration.actions.placeholders import Kept
from ami_integration.actions.plans import PLAN
from ami_integration.actions.templates import servers_meant, template_variables
from ami_integration.schedules.models import Schedule
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server

#: The order on several servers, and the time limit.
_ORDER = (*PLAN, "timeout")
#: What a copy takes over besides what it runs and where.
_COPIED = (
    "kind",
    "crontab",
    "interval_seconds",
    "timezone",
    "max_runs",
    "overlap",
    "misfire",
    "misfire_limit",
    "grace_seconds",
    "jitter_seconds",
    "alert_failures",
    "alert_silent_seconds",
    "alert_late_seconds",
)


@dataclass(frozen=True)
class Draft:
    """Initial values of the form; `variables` are the names that it asks for besides.

    `notes` are sentences for the person: what could not be taken along.
    """

    initial: dict[str, Any]
    template: ActionTemplate | None = None
    variables: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def draft_of_template(*, user: Any, template: ActionTemplate, servers: Any) -> Draft:
    """A schedule of a template. `servers`: those that may be offered, as a QuerySet."""
    initial: dict[str, Any] = {
        "template": template.pk,
        "template_seen": template.updated_at.isoformat(),
        "action": template.action,
        "headers": headers_text([(name, value) for name, value in template.headers_masked]),
        **{name: getattr(template, name) for name in _ORDER},
    }
    if template.tag is not None:
        initial |= {"tag": template.tag.name, "server": []}
    elif template.servers.exists():
        initial |= {"tag": None, "server": list(servers.filter(pk__in=template.servers.values("pk")))}
    notes = _keep(initial, user, template, servers_meant(template))
    return Draft(initial, template, template_variables(template), notes)


def draft_of_copy(*, user: Any, schedule: Schedule, servers: Any) -> Draft:
    """Another schedule like this one. `servers`: those that may be offered, as a QuerySet."""
    initial: dict[str, Any] = {
        "name": f"{schedule.name[:90]} (copy)",
        "action": schedule.action,
        "headers": headers_text([(name, value) for name, value in schedule.headers_masked]),
        **{name: getattr(schedule, name) for name in (*_ORDER, *_COPIED)},
        "tag": schedule.tag.name if schedule.tag is not None else None,
        "server": list(servers.filter(schedules=schedule)),
        "alert_channels": list(schedule.alert_channels.all()),
    }
    meant = servers_of(schedule)
    notes = _keep(initial, user, schedule, meant)
    if len(initial["server"]) < schedule.servers.count():
        notes.append("It runs on servers that are disabled, or that you don't see. They are left out here.")
    if schedule.starts_at or schedule.ends_at or schedule.once_at:
        notes.append("Its dates (at, not before, not after) are not copied.")
    return Draft(initial, notes=notes)


def servers_of(schedule: Schedule) -> list[int]:
    """The ids of the servers that a schedule means now, whoever sees them: for whom its hidden values are."""
    servers = Server.objects.filter(tags=schedule.tag_id) if schedule.tag_id else schedule.servers.all()
    return list(servers.values_list("pk", flat=True))


def _keep(
    initial: dict[str, Any], user: Any, stored: ActionTemplate | Schedule, meant: list[int] | None
) -> list[str]:
    """Let what is hidden travel encrypted beside the form. Returns what there is to say."""
    try:
        headers = stored.headers_in_clear()
    except SecretUnreadable as error:
        return [f"{error} Hidden values have to be written anew."]
    initial["kept"] = Kept(user.pk, stored.action, headers, meant, stored.hidden_by_id, stored.tag_id).pack()
    return []
