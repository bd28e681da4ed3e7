"""What the page of one server shows, from rows alone: nothing here asks the PBX.

Each part is looked up only for whoever may see it: runs need the right to view runs, events that to watch
them on this server.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timesince, timeuntil

from ami_integration.access.services import (
    AnyUser,
    servers_watchable,
    user_may_keep_servers,
    user_may_run,
    user_may_view_runs,
    user_may_view_schedules,
    user_may_watch,
)
from ami_integration.actions.models import ActionRun
from ami_integration.ami.ssh import fingerprint
from ami_integration.audit.admin import about_url
from ami_integration.events.models import Gap
from ami_integration.events.search import Conditions, events_histogram
from ami_integration.servers.models import Server, ServerAbilities, ServerHealth
from ami_integration.servers.services import switches_on

RUNS = 10
MINUTES = 60
#: Days before its end from which a certificate is shown as ending soon, and as urgent.
SOON, URGENT = 30, 7
#: The plot's own measures; the page scales it.
HEIGHT, STEP = 100, 10

#: What amiweb does with a class of write=, and an action that shows whether the login has it.
USES: tuple[tuple[str, str, str], ...] = (
    ("Originate", "originate", "originate calls"),
    ("Hangup", "call", "hang up and redirect calls"),
    ("Command", "command", "run CLI commands"),
    ("CoreStatus", "reporting", "ask for the version, the uptime and the channels"),
    ("QueueAdd", "agent", "change queues and their members"),
    ("ModuleLoad", "system", "load and reload modules"),
    ("UpdateConfig", "config", "read and change configuration files"),
    ("UserEvent", "user", "send events of its own"),
)


@dataclass(frozen=True)
class Bar:
    """One minute of the plot: its place, and what it says. `gap`: nobody heard events during some of it."""

    at: datetime
    count: int
    gap: bool
    x: int
    y: int
    height: int


@dataclass(frozen=True)
class Plot:
    """Events per minute. `total` is of what is kept."""

    bars: Sequence[Bar] = ()
    total: int = 0
    most: int = 0
    gaps: int = 0
    estimated: bool = False
    width: int = MINUTES * STEP
    height: int = HEIGHT


@dataclass(frozen=True)
class Ending:
    """When a certificate ends: `state` is ok, soon, urgent or unknown."""

    words: str
    state: str


@dataclass(frozen=True)
class Rights:
    """What the login that acts may do: `lacks` pairs what it can't with the class of write= that it wants."""

    account: str
    count: int
    classes: Sequence[str]
    can: Sequence[str]
    lacks: Sequence[tuple[str, str]]
    read_at: datetime


@dataclass(frozen=True)
class ServerPage:
    """All of the page. None in place of a part: this person may not see it, or nobody knows it."""

    server: Server
    health: ServerHealth | None
    switches: Sequence[str]
    links: Sequence[tuple[str, str]]
    may_change: bool
    uptime: str
    certificate: Ending | None
    rights: Rights | None
    runs: Sequence[ActionRun] | None
    plot: Plot | None
    host_key: str = ""
    kept: str = ""
    now: datetime = field(default_factory=timezone.now)


def server_page(*, user: AnyUser, server: Server) -> ServerPage:
    """Everything that this person may see of a server that they see.

    Args:
        server: with `health` and `abilities` selected.
    """
    now = timezone.now()
    health = getattr(server, "health", None)
    watch = user_may_watch(user=user) and servers_watchable(user=user).filter(pk=server.pk).exists()
    runs = None
    if user_may_view_runs(user=user):
        runs = list(ActionRun.objects.visible_to(user).filter(server=server).order_by("-id")[:RUNS])
    online = server.state == ServerHealth.State.ONLINE
    up = health is not None and health.booted_at is not None and online
    return ServerPage(
        server=server,
        health=health,
        switches=switches_on(server),
        links=_links(user, server, watch=watch),
        may_change=user_may_keep_servers(user=user, what="change"),
        uptime=timesince(health.booted_at, now) if up and health is not None and health.booted_at else "",
        certificate=certificate_ending(health, now=now) if health and health.certificate_sha256 else None,
        rights=_rights(server),
        runs=runs,
        plot=_plot(user, server, now) if watch else None,
        host_key=_host_key(server),
        kept=server.get_event_keeping_display() if watch else "",
        now=now,
    )


def _links(user: Any, server: Server, *, watch: bool) -> list[tuple[str, str]]:
    links = []
    if watch:
        links.append(("Live events", f"{reverse('live')}?server={server.pk}"))
        links.append(("Event history", f"{reverse('admin:event_history')}?server={server.pk}"))
    if server.enabled and user_may_run(user=user):
        links.append(
            ("Run an action", f"{reverse('admin:ami_integration_actionrun_add')}?server={server.pk}")
        )
    if user_may_view_runs(user=user):
        listed = reverse("admin:ami_integration_actionrun_changelist")
        links.append(("Its runs", f"{listed}?server__id__exact={server.pk}"))
    if user_may_view_schedules(user=user):
        listed = reverse("admin:ami_integration_schedule_changelist")
        links.append(("Its schedules", f"{listed}?server={server.pk}"))
    if user.has_perm("ami_integration.view_auditentry"):
        links.append(("Its audit", about_url("server", server.pk)))
    return links


def certificate_ending(health: ServerHealth, *, now: datetime) -> Ending:
    """How long the certificate of the last login is good, in words."""
    end = health.certificate_not_after
    if end is None:
        return Ending("Its end can't be read.", "unknown")
    left = end - now
    if left <= timedelta():
        return Ending(f"expired {timesince(end, now, depth=1)} ago", "urgent")
    state = "urgent" if left < timedelta(days=URGENT) else "soon" if left < timedelta(days=SOON) else "ok"
    days = left.days
    words = f"expires in {days} days" if days > 1 else f"expires in {timeuntil(end, now, depth=1)}"
    return Ending(words, state)


def _host_key(server: Server) -> str:
    """The fingerprint of the trusted SSH host key; "" without one."""
    key = server.ssh_host_key.strip()
    words = key.split()
    # A line of known_hosts has the host's name before them.
    kinds = (number for number, word in enumerate(words[:-1]) if word.startswith(("ssh-", "ecdsa-")))
    at = next(kinds, None)
    return key if at is None else fingerprint(" ".join(words[at : at + 2]))


def _rights(server: Server) -> Rights | None:
    try:
        abilities = server.abilities
    except ServerAbilities.DoesNotExist:
        return None
    can, lacks = [], []
    for action, write, words in USES:
        if abilities.privileges(action) is not None:
            can.append(words)
        else:
            lacks.append((words, write))
    # An action that only one class allows shows that the login has it.
    needed = [set(str(text).split(",")) - {"", "all", "<none>"} for text in abilities.actions.values()]
    classes = sorted({next(iter(wanted)) for wanted in needed if len(wanted) == 1})
    account = server.action_account[0]
    return Rights(account, len(abilities.actions), classes, can, lacks, abilities.read_at)


def _plot(user: AnyUser, server: Server, now: datetime) -> Plot:
    until = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    since = until - timedelta(minutes=MINUTES)
    found = events_histogram(
        user=user, conditions=Conditions(servers=[server.pk], since=since, until=until), buckets=MINUTES
    )
    gaps = list(
        Gap.objects.filter(Q(ended_at=None) | Q(ended_at__gt=since), server=server, started_at__lt=until)
        .order_by("started_at")
        .values_list("started_at", "ended_at")
    )
    most = max((count for _, _, count in found), default=0)
    bars = []
    for number, (start, end, count) in enumerate(found):
        gap = any(began < end and (ended or now) > start for began, ended in gaps)
        height = round(count * (HEIGHT - 4) / most) if most else 0
        height = max(height, 2) if count else 0
        bars.append(Bar(start, count, gap, number * STEP, HEIGHT - height, height))
    total = sum(bar.count for bar in bars)
    return Plot(bars, total, most, sum(bar.gap for bar in bars), found.estimated)
