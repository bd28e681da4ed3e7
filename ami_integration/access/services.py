"""Who may do what on which server: asked here alone, by pages, sockets, schedules, commands and workers.

Two questions, and both must be answered with yes. Django's model permissions: may this person run actions,
see the log, watch events at all? The access rules (`models.py`): what, on which server? A person sees a
server on which anything is granted; class *read* lets them see its events and runs.

Nothing is remembered between two questions: a right that was withdrawn is gone with the next one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, TypeVar

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from ami_integration.access.danger import Assessment, Danger, Headers, request_assess
from ami_integration.access.models import AccessRule

AnyUser = User | AnonymousUser | None
Rows = TypeVar("Rows", bound=Model)
#: Access rules that were read already, for rooms that hand them on.
Rules = Sequence[AccessRule]

#: What decided where no rule of an administrator did.
SUPERUSER = "superuser"
COMMAND_LINE = "command line"
NO_RULE = "no rule"
NOBODY = "nobody"
INACTIVE = "not active"
PERMISSION = "permission"
READ_ONLY = "read-only"
MAINTENANCE = "maintenance"

#: The origin of what somebody asks for at the machine itself, where the operating system has decided.
ORIGIN_COMMAND = "command"


class ServerLike(Protocol):
    """What is asked of a server (`servers.models.Server`)."""

    pk: Any
    name: Any
    read_only: Any
    maintenance: Any

    def action_privileges(self, name: str) -> str | None: ...


@dataclass(frozen=True)
class Decision:
    """The answer, with what gave it.

    Attributes:
        rule: the name of the access rule, or one of the constants of this module.
        reason: a sentence for people.
        danger: the class of the request.
        repeatable: whether sending it twice does nothing that sending it once doesn't.
    """

    allowed: bool
    rule: str
    reason: str
    danger: Danger
    repeatable: bool = False

    @property
    def switched_off(self) -> bool:
        """Whether only a switch of the server stands in the way, which may be taken back at any time."""
        return self.rule in (READ_ONLY, MAINTENANCE)


def decide(
    *, user: AnyUser, server: ServerLike, action: str, headers: Headers = (), origin: str = ""
) -> Decision:
    """Whether this person may send this to this server.

    Args:
        user: with whose rights; None only from the command line.
        server: as it is stored now: its switches are looked at here.
        action: the action's name.
        headers: in clear, without Action and ActionID.
        origin: by which way, an `ActionRun.Origin`.
    """
    return decide_each(user=user, servers=[server], action=action, headers=headers, origin=origin)[server.pk]


def decide_each(
    *,
    user: AnyUser,
    servers: Sequence[ServerLike],
    action: str,
    headers: Headers = (),
    origin: str = "",
    rules_read: Rules | None = None,
) -> dict[Any, Decision]:
    """`decide` for several servers at once, by their ids; the rules are read once.

    Args:
        rules_read: what `rules_of` said of this person a moment ago, for who asks many times in a row; None:
            they are read now.
    """
    who = _standing(user, origin)
    ids = [server.pk for server in servers]
    rules = {} if who.rule else rules_on(user=user, server_ids=ids, rules_read=rules_read)
    decisions = {}
    for server in servers:
        assessment = request_assess(action, headers, server.action_privileges(action))
        request = f"{action.strip() or 'this'} (class {assessment.danger}: {assessment.why})"
        if who.rule:
            allowed, rule, reason = who.allowed, who.rule, who.reason
        else:
            allowed, rule = _by_rules(rules.get(server.pk, ()), assessment, action, headers)
            reason = _reason(allowed, rule, _name(user), request, server)
        if allowed and (switch := _switch(server, assessment)):
            allowed, rule, reason = False, *switch
        decisions[server.pk] = Decision(allowed, rule, reason, assessment.danger, assessment.repeatable)
    return decisions


@dataclass(frozen=True)
class _Standing:
    """What holds for a person on every server; `rule` is empty if the access rules have to decide."""

    allowed: bool = False
    rule: str = ""
    reason: str = ""


def _standing(user: AnyUser, origin: str) -> _Standing:
    if user is None and origin == ORIGIN_COMMAND:
        return _Standing(
            True, COMMAND_LINE, "Whoever may use amiweb's command line on this machine may do it."
        )
    if user is None or not user.is_authenticated:
        return _Standing(False, NOBODY, "Nobody is logged in, or the person was deleted.")
    if not user.is_active:
        return _Standing(False, INACTIVE, f"The account {_name(user)} is not active.")
    if user.is_superuser:
        return _Standing(True, SUPERUSER, f"{_name(user)} is a superuser.")
    if not user_may_run(user=user):
        return _Standing(
            False,
            PERMISSION,
            f"{_name(user)} may not run actions. Ask an administrator for the permission “Can add run”.",
        )
    return _Standing()


def _by_rules(
    rules: Iterable[AccessRule], assessment: Assessment, action: str, headers: Headers
) -> tuple[bool, str]:
    return _verdict(
        [rule for rule in rules if rule.fits(danger=assessment.danger, action=action, headers=headers)]
    )


def _verdict(fitting: Rules) -> tuple[bool, str]:
    """Denial wins; else the first grant by name; without a rule that fits it is no."""
    for rule in fitting:
        if rule.effect == AccessRule.Effect.DENY:
            return False, rule.name
    return (True, fitting[0].name) if fitting else (False, NO_RULE)


def _reason(allowed: bool, rule: str, name: str, request: str, server: ServerLike) -> str:
    if allowed:
        return f"The rule “{rule}” lets {name} run {request} on {server.name}."
    if rule == NO_RULE:
        return (
            f"No access rule lets {name} run {request} on {server.name}. Ask an administrator for one, or "
            "choose another server."
        )
    return f"The rule “{rule}” forbids {name} to run {request} on {server.name}."


def _switch(server: ServerLike, assessment: Assessment) -> tuple[str, str] | None:
    if server.maintenance:
        return MAINTENANCE, (
            f"{server.name} is in maintenance: no action runs on it, whoever asks. Take the switch back on "
            "the server's page first."
        )
    if server.read_only and assessment.danger > Danger.READ:
        return READ_ONLY, (
            f"{server.name} is read-only; this request is of class {assessment.danger} ({assessment.why}). "
            "Take the switch back on the server's page first."
        )
    return None


def _name(user: AnyUser) -> str:
    return user.get_username() if user is not None else "nobody"


# What a person may do in general, for those who wonder


@dataclass(frozen=True)
class ClassAnswer:
    """What somebody may do of one class on one server.

    Attributes:
        allowed: whether all of the class is; False where only some of its actions are.
        rule, reason: as in `Decision`.
        exceptions: rules that say something else of some actions of the class.
    """

    danger: Danger
    allowed: bool
    rule: str
    reason: str
    exceptions: Rules = ()


def decide_classes(*, user: AnyUser, server: ServerLike, origin: str = "") -> list[ClassAnswer]:
    """What holds for each class as a whole. A request of that class may be an exception: `decide` knows."""
    who = _standing(user, origin)
    rules = [] if who.rule else rules_on(user=user, server_ids=[server.pk])[server.pk]
    answers = []
    for danger in Danger:
        of_class = [rule for rule in rules if danger in rule.dangers]
        if who.rule:
            allowed, rule, reason = who.allowed, who.rule, who.reason
        else:
            allowed, rule = _verdict([rule for rule in of_class if not rule.narrowed])
            reason = _reason(allowed, rule, _name(user), f"actions of class {danger}", server)
        exceptions = [
            one for one in of_class if one.narrowed and (one.effect == AccessRule.Effect.ALLOW) != allowed
        ]
        if allowed and (switch := _switch(server, Assessment(danger, False, "the class asked about"))):
            allowed, rule, reason, exceptions = False, *switch, []
        answers.append(ClassAnswer(danger, allowed, rule, reason, exceptions))
    return answers


# Which rules hold where


def rules_of(*, user: AnyUser) -> list[AccessRule]:
    """The enabled rules of the groups that this person is in, denials first."""
    if user is None or user.pk is None:
        return []
    rules = list(AccessRule.objects.filter(enabled=True, group__user=user).order_by("name"))
    return sorted(rules, key=lambda rule: rule.effect != AccessRule.Effect.DENY)


def rules_on(
    *, user: AnyUser, server_ids: Sequence[Any], rules_read: Rules | None = None
) -> dict[Any, list[AccessRule]]:
    """Which of `rules_of` speak of each of these servers, by the servers' ids. Three queries at most."""
    rules = rules_of(user=user) if rules_read is None else rules_read
    named = [rule.pk for rule in rules if not rule.all_servers]
    pairs: set[tuple[Any, Any]] = set()
    if named:
        found = AccessRule.objects.filter(pk__in=named)
        for path in ("servers", "tags__servers"):
            pairs |= set(found.filter(**{f"{path}__in": server_ids}).values_list("pk", path))
    return {
        server: [rule for rule in rules if rule.all_servers or (rule.pk, server) in pairs]
        for server in server_ids
    }


def rules_naming(*, server: ServerLike | None = None, tag: Any = None) -> list[str]:
    """The names of the rules that name this server or this tag: they lose it when it is deleted."""
    rules = AccessRule.objects.filter(servers=server.pk) if server else AccessRule.objects.filter(tags=tag)
    return list(rules.order_by("name").values_list("name", flat=True))


# Which servers somebody sees


def servers_visible(*, user: AnyUser) -> QuerySet[Any]:
    """The servers that this person may see: those on which anything is granted to them."""
    return _servers(
        user,
        granted=lambda rule: True,
        denied=lambda rule: not rule.narrowed and len(rule.dangers) == len(Danger),
    )


def user_sees_all_servers(*, user: AnyUser) -> bool:
    """Whether this person sees every server there is or will be, so that rows need no filter by servers."""
    if user is None or not user.is_active:
        return False
    if user.is_superuser:
        return True
    rules = rules_of(user=user)
    return any(rule.all_servers and rule.effect == AccessRule.Effect.ALLOW for rule in rules) and not any(
        rule.effect == AccessRule.Effect.DENY for rule in rules
    )


def servers_watchable(*, user: AnyUser) -> QuerySet[Any]:
    """The servers whose events and runs this person may see: where class read, whole, is granted to them."""
    return _servers(user, granted=_is_read, denied=_is_read)


def tags_visible(*, user: AnyUser) -> QuerySet[Any]:
    """The tags that this person may see: those of a server that they see, and those that no server has."""
    return _of_visible_servers("Tag", user)


def sites_visible(*, user: AnyUser) -> QuerySet[Any]:
    """The sites that this person may see: those of a server that they see, and those without a server."""
    return _of_visible_servers("Site", user)


def _of_visible_servers(model: str, user: AnyUser) -> QuerySet[Any]:
    found: QuerySet[Any] = apps.get_model("ami_integration", model)._default_manager.all()
    if user is None or not user.is_active:
        return found.none()
    if user.is_superuser:
        return found
    seen = found.filter(servers__in=servers_visible(user=user).values("pk"))
    # Subqueries, since what several servers have shall be listed once.
    return found.filter(Q(pk__in=seen.values("pk")) | Q(pk__in=found.filter(servers=None).values("pk")))


def _is_read(rule: AccessRule) -> bool:
    return Danger.READ in rule.dangers and not rule.narrowed


def _servers(
    user: AnyUser, *, granted: Callable[[AccessRule], bool], denied: Callable[[AccessRule], bool]
) -> QuerySet[Any]:
    servers: QuerySet[Any] = apps.get_model("ami_integration", "Server")._default_manager.all()
    if user is None or not user.is_active:
        return servers.none()
    if user.is_superuser:
        return servers
    rules = rules_of(user=user)
    allow = [rule for rule in rules if rule.effect == AccessRule.Effect.ALLOW and granted(rule)]
    deny = [rule for rule in rules if rule.effect == AccessRule.Effect.DENY and denied(rule)]
    return servers.filter(_of_rules(allow)).exclude(_of_rules(deny))


def _of_rules(rules: Rules) -> Q:
    """The servers that these rules name, themselves or by a tag."""
    if any(rule.all_servers for rule in rules):
        return Q(pk__isnull=False)
    found = AccessRule.objects.filter(pk__in=[rule.pk for rule in rules])
    # Subqueries, since a server may be named by several rules and tags, and shall be listed once.
    return Q(pk__in=found.filter(servers__isnull=False).values("servers")) | Q(
        pk__in=found.filter(tags__servers__isnull=False).values("tags__servers")
    )


def rows_watchable(
    *, user: AnyUser, rows: QuerySet[Rows], server: str = "server", own: str = ""
) -> QuerySet[Rows]:
    """Of these rows those of servers whose events and runs this person may see.

    What belongs to no server any more is seen by whoever sees every server.

    Args:
        server: the rows' foreign key to their server.
        own: the rows' foreign key to whom they belong, if those are seen by that person in any case, as long
            as the server itself is.
    """
    if user is not None and user.is_active:
        if user.is_superuser:
            return rows
        reads = [rule for rule in rules_of(user=user) if _is_read(rule)]
        if any(rule.all_servers for rule in reads) and not any(
            rule.effect == AccessRule.Effect.DENY for rule in reads
        ):
            return rows
    # The ids themselves: with a subquery PostgreSQL may read a whole table of events to find the newest ones.
    seen = Q(**{f"{server}__in": list(servers_watchable(user=user).values_list("pk", flat=True))})
    if own and user is not None:
        visible = list(servers_visible(user=user).values_list("pk", flat=True))
        seen |= Q(**{own: user.pk, f"{server}__in": visible})
    return rows.filter(seen)


# What people may do at all


def user_may_run(*, user: AnyUser) -> bool:
    """Whether this person may run actions (None: nobody, who may not). On which server: `decide`."""
    return user is not None and user.is_active and user.has_perm("ami_integration.add_actionrun")


def user_may_view_runs(*, user: AnyUser) -> bool:
    """Whether this person may see the action log and results. Of which servers: `rows_watchable`."""
    return _staff_with(user, "ami_integration.view_actionrun")


def user_may_view_templates(*, user: AnyUser) -> bool:
    """Whether this person may see templates, and so use them. Where they may run: `decide`."""
    names = ("ami_integration.view_actiontemplate", "ami_integration.change_actiontemplate")
    return any(_staff_with(user, name) for name in names)


def user_may_view_schedules(*, user: AnyUser) -> bool:
    """Whether this person may see schedules at all. Which ones: `Schedule.objects.visible_to`."""
    names = ("ami_integration.view_schedule", "ami_integration.change_schedule")
    return any(_staff_with(user, name) for name in names)


def user_may_plan(*, user: AnyUser, what: str = "change") -> bool:
    """Whether this person may `add`, `change` or `delete` schedules that they see; run them: `decide`."""
    return _staff_with(user, f"ami_integration.{what}_schedule")


def user_may_pause_schedules(*, user: AnyUser) -> bool:
    """Whether this person may turn the switch that keeps every schedule from starting anything.

    It stops what runs on every server, so nobody turns it who doesn't see them all.
    """
    return _staff_with(user, "ami_integration.pause_schedules") and user_sees_all_servers(user=user)


def user_may_view_secrets(*, user: AnyUser) -> bool:
    """Whether this person may see in clear what is masked in the results that they may see."""
    return _staff_with(user, "ami_integration.view_result_secrets")


def user_may_watch(*, user: AnyUser) -> bool:
    """Whether this person may watch events. Of which servers: `servers_watchable`."""
    return _staff_with(user, "ami_integration.view_event")


def user_may_keep_servers(*, user: AnyUser, what: str) -> bool:
    """Whether this person may `add` or `change` servers at all. Which: `servers_visible`."""
    return _staff_with(user, f"ami_integration.{what}_server")


def _staff_with(user: AnyUser, permission: str) -> bool:
    return user is not None and user.is_active and user.is_staff and user.has_perm(permission)


def session_user(*, session_key: str | None) -> User | AnonymousUser:
    """Who a session belongs to now, asked of the database each time.

    For sockets that stay open: a session ends, a password changes, rights are withdrawn.
    """
    request = HttpRequest()
    # A new object each time: a session remembers what it has read.
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return get_user(request)
