"""Who may do what on which server. In every test: a stranger, a viewer, somebody with rights elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from pytest_django import DjangoAssertNumQueries

from ami_integration.access.danger import Danger
from ami_integration.access.models import AccessRule
from ami_integration.access.services import (
    Decision,
    decide,
    decide_each,
    rows_watchable,
    servers_visible,
    servers_watchable,
    tags_visible,
)
from ami_integration.actions.models import ActionRun
from ami_integration.servers.models import Server, Tag
from tests.access.factories import PERMISSIONS, grant, make_person
from tests.actions.factories import make_run
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db

STOP = [("Command", "core stop now")]
SHOW = [("Command", "core show channels")]


@dataclass
class World:
    """One server that the tests are about, and the people round it."""

    server: Server
    elsewhere: Server
    stranger: User
    viewer: User
    neighbour: User

    @property
    def outsiders(self) -> list[Any]:
        """Those who may not change anything on the server."""
        return [self.stranger, self.viewer, self.neighbour, AnonymousUser(), None]


@pytest.fixture
def world() -> World:
    world = World(
        make_server(name="Berlin"),
        make_server(name="Oslo"),
        make_person("stranger"),
        make_person("viewer"),
        make_person("neighbour"),
    )
    grant(world.viewer, Danger.READ, on=world.server)
    grant(world.neighbour, on=world.elsewhere)
    return world


def ask(
    user: Any, server: Server, action: str = "Hangup", headers: Any = (), origin: str = "admin"
) -> Decision:
    return decide(
        user=user,
        server=Server.objects.get(pk=server.pk),
        action=action,
        headers=headers,
        origin=origin,
    )


def test_no_rule_means_no(world: World) -> None:
    for user in (world.stranger, world.neighbour):
        decision = ask(user, world.server, "Ping")
        assert (decision.allowed, decision.rule) == (False, "no rule")
        assert user.username in decision.reason and "Berlin" in decision.reason
    assert ask(world.viewer, world.server, "Ping").allowed
    assert ask(world.neighbour, world.elsewhere, "Ping").allowed


def test_a_grant_counts_for_its_classes_only(world: World) -> None:
    operator = make_person("operator")
    rule = grant(operator, Danger.READ, Danger.OPERATE, on=world.server, name="the night shift")
    allowed = ask(operator, world.server, "Hangup")
    assert (allowed.allowed, allowed.rule, allowed.danger) == (True, rule.name, Danger.OPERATE)
    assert "the night shift" in allowed.reason
    assert not ask(operator, world.server, "Originate", [("Channel", "Local/1@x")]).allowed
    assert not ask(operator, world.server, "Command", STOP).allowed
    assert ask(operator, world.server, "Command", SHOW).allowed  # this one only looks
    assert not any(ask(user, world.server, "Hangup").allowed for user in world.outsiders)


@pytest.mark.parametrize("kind", ["server", "tag", "all"])
def test_a_rule_names_servers_a_tag_or_all(world: World, kind: str) -> None:
    operator = make_person("operator")
    tag = Tag.objects.create(name="berlin")
    world.server.tags.add(tag)
    grant(operator, Danger.OPERATE, on={"server": world.server, "tag": tag, "all": None}[kind])
    assert ask(operator, world.server).allowed
    assert ask(operator, world.elsewhere).allowed == (kind == "all")
    assert not any(ask(user, world.server).allowed for user in world.outsiders)
    if kind == "tag":
        world.server.tags.clear()
        assert not ask(operator, world.server).allowed


def test_a_denial_wins_over_every_grant(world: World) -> None:
    operator = make_person("operator")
    grant(operator)
    grant(operator, on=world.server)
    tag = Tag.objects.create(name="emergency")
    world.server.tags.add(tag)
    no = grant(operator, Danger.OPERATE, on=tag, deny=True, name="hands off", actions="Hangup\nBridge*")
    refused = ask(operator, world.server, "hangup")
    assert (refused.allowed, refused.rule) == (False, no.name)
    assert "hands off" in refused.reason
    assert not ask(operator, world.server, "BridgeKick").allowed
    assert ask(operator, world.server, "Redirect").allowed
    assert ask(operator, world.elsewhere, "Hangup").allowed
    assert not any(ask(user, world.server).allowed for user in world.outsiders)
    AccessRule.objects.filter(pk=no.pk).update(enabled=False)
    assert ask(operator, world.server, "Hangup").allowed


def test_a_grant_may_name_actions(world: World) -> None:
    agent = make_person("agent")
    grant(agent, Danger.OPERATE, on=world.server, actions="Queue*\nAgentLogoff")
    assert ask(agent, world.server, "QUEUEPAUSE").allowed
    assert ask(agent, world.server, "AgentLogoff").allowed
    assert not ask(agent, world.server, "Hangup").allowed
    assert not ask(agent, world.server, "QueueReload").allowed  # class config, whatever its name
    assert not any(ask(user, world.server, "QueuePause").allowed for user in world.outsiders)


def test_the_name_of_an_action_never_grants_a_higher_class(world: World) -> None:
    caller = make_person("caller")
    grant(caller, Danger.ORIGINATE, on=world.server, actions="Originate")
    assert ask(caller, world.server, "Originate", [("Channel", "PJSIP/1"), ("Exten", "2")]).allowed
    for headers in ([("Application", "System"), ("Data", "reboot")], [("Variable", "X=${SHELL(ls)}")]):
        assert not ask(caller, world.server, "Originate", headers).allowed
    assert not any(ask(user, world.server, "Originate").allowed for user in world.outsiders)


def test_a_rule_may_name_cli_prefixes(world: World) -> None:
    helper = make_person("helper")
    grant(helper, on=world.server, cli_prefixes="queue reset\ncore restart gracefully")
    for text in ("queue reset stats all", 'QUEUE  "reset" stats', "core restart gracefully"):
        assert ask(helper, world.server, "Command", [("Command", text)]).allowed, text
    for text in ("queue", "queue resetter", "core restart now", "database show", ""):
        assert not ask(helper, world.server, "Command", [("Command", text)]).allowed, text
    assert not ask(helper, world.server, "Ping").allowed  # the rule is about CLI commands
    reset = [("Command", "queue reset stats")]
    assert not any(ask(user, world.server, "Command", reset).allowed for user in world.outsiders)


def test_a_denied_cli_prefix_denies_nothing_else(world: World) -> None:
    engineer = make_person("engineer")
    grant(engineer)
    grant(engineer, deny=True, cli_prefixes="core stop")
    assert not ask(engineer, world.server, "Command", STOP).allowed
    assert ask(engineer, world.server, "Command", SHOW).allowed
    assert ask(engineer, world.server, "Hangup").allowed
    assert not any(ask(user, world.server, "Command", STOP).allowed for user in world.outsiders)


def test_the_first_of_two_headers_counts_as_it_does_for_asterisk(world: World) -> None:
    """Nobody gets a `core stop` through behind a `core show`, nor the reverse."""
    both = [("command", "core show channels"), ("Command", "core stop now")]
    assert ask(world.viewer, world.server, "Command", both).allowed
    assert not ask(world.viewer, world.server, "Command", both[::-1]).allowed
    assert not ask(world.stranger, world.server, "Command", both).allowed
    assert not ask(world.neighbour, world.server, "Command", both).allowed


def test_a_superuser_may_do_everything_by_the_rule_of_that_name(world: World) -> None:
    root = User.objects.create_superuser("root")
    decision = ask(root, world.server, "Command", STOP)
    assert (decision.allowed, decision.rule) == (True, "superuser")
    grant(root, deny=True)
    assert ask(root, world.server, "Command", STOP).allowed
    assert not any(ask(user, world.server, "Command", STOP).allowed for user in world.outsiders)


def test_nobody_passes_a_read_only_server_not_even_a_superuser(world: World) -> None:
    root, operator = User.objects.create_superuser("root"), make_person("operator")
    grant(operator)
    Server.objects.filter(pk=world.server.pk).update(read_only=True)
    for user in (root, operator):
        refused = ask(user, world.server, "Hangup")
        assert (refused.allowed, refused.rule) == (False, "read-only")
        assert "Berlin is read-only" in refused.reason
        assert ask(user, world.server, "Ping").allowed
    assert not ask(None, world.server, "Hangup", origin="command").allowed
    assert ask(None, world.server, "Ping", origin="command").allowed
    assert ask(world.viewer, world.server, "Ping").allowed
    assert ask(world.stranger, world.server).rule == ask(world.neighbour, world.server).rule == "no rule"


def test_nothing_runs_on_a_server_in_maintenance_not_even_for_a_superuser(world: World) -> None:
    root, operator = User.objects.create_superuser("root"), make_person("operator")
    grant(operator)
    Server.objects.filter(pk=world.server.pk).update(maintenance=True)
    for user in (root, operator, world.viewer):
        refused = ask(user, world.server, "Ping")
        assert (refused.allowed, refused.rule) == (False, "maintenance")
    assert not ask(None, world.server, "Ping", origin="command").allowed
    assert ask(world.stranger, world.server).rule == ask(world.neighbour, world.server).rule == "no rule"
    assert ask(world.neighbour, world.elsewhere).allowed


def test_a_rule_without_djangos_permission_is_not_enough(world: World) -> None:
    reader = make_person("reader", "view_actionrun", "view_server")
    grant(reader)
    refused = ask(reader, world.server, "Ping")
    assert (refused.allowed, refused.rule) == (False, "permission")
    # Nor is the permission without a rule, or with one for elsewhere or for another class.
    assert not any(ask(user, world.server).allowed for user in world.outsiders)
    assert ask(world.viewer, world.server, "Ping").allowed


def test_who_is_not_active_not_there_or_not_logged_in_may_do_nothing(world: World) -> None:
    gone = make_person("gone", is_active=False)
    grant(gone)
    root = User.objects.create_superuser("root", is_active=False)
    assert ask(gone, world.server, "Ping").rule == ask(root, world.server, "Ping").rule == "not active"
    assert ask(None, world.server, "Ping").rule == ask(AnonymousUser(), world.server, "Ping").rule == "nobody"
    assert not ask(AnonymousUser(), world.server, "Ping", origin="command").allowed
    assert not any(ask(user, world.server).allowed for user in world.outsiders)


def test_the_command_line_is_the_operating_systems_to_guard(world: World) -> None:
    decision = ask(None, world.server, "Command", STOP, origin="command")
    assert (decision.allowed, decision.rule) == (True, "command line")
    # Only for nobody in particular: a person doesn't become more by the way in.
    for user in (world.stranger, world.viewer, world.neighbour):
        assert not ask(user, world.server, "Command", STOP, origin="command").allowed


def test_a_withdrawn_right_is_gone_at_once(world: World) -> None:
    operator = make_person("operator")
    rule = grant(operator)
    assert ask(operator, world.server).allowed
    operator.groups.clear()
    assert not ask(operator, world.server).allowed
    operator.groups.add(rule.group)
    rule.delete()
    assert not ask(operator, world.server).allowed
    assert not any(ask(user, world.server).allowed for user in world.outsiders)


def test_what_a_pbx_says_of_an_unknown_action_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = make_person("operator")
    grant(operator, Danger.READ, Danger.OPERATE, on=world.server)
    assert not ask(operator, world.server, "XyzPause").allowed
    monkeypatch.setattr(Server, "action_privileges", lambda self, name: "call,all")
    assert ask(operator, world.server, "XyzPause").allowed
    assert not any(ask(user, world.server, "XyzPause").allowed for user in world.outsiders)


def test_many_servers_are_decided_with_few_queries(
    world: World, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    operator = make_person("operator")
    tag = Tag.objects.create(name="berlin")
    servers = [make_server(name=f"pbx{number}") for number in range(20)]
    for server in servers[:10]:
        server.tags.add(tag)
    grant(operator, on=tag)
    grant(operator, on=servers[10])
    servers = list(Server.objects.filter(name__startswith="pbx").select_related("abilities").order_by("pk"))
    operator = User.objects.get(pk=operator.pk)
    with django_assert_max_num_queries(5):  # two of them are Django's, for the permissions
        decisions = decide_each(user=operator, servers=servers, action="Hangup")
    assert [decisions[server.pk].allowed for server in servers] == [True] * 11 + [False] * 9
    for user in world.outsiders:
        assert not any(
            one.allowed for one in decide_each(user=user, servers=servers, action="Hangup").values()
        )


# What people see


def seen(user: Any) -> set[str]:
    return set(servers_visible(user=user).values_list("name", flat=True))


def watched(user: Any) -> set[str]:
    return set(servers_watchable(user=user).values_list("name", flat=True))


def test_any_grant_on_a_server_lets_its_holder_see_it(world: World) -> None:
    agent = make_person("agent")
    tag = Tag.objects.create(name="north")
    world.elsewhere.tags.add(tag)
    grant(agent, Danger.OPERATE, on=tag, actions="QueuePause")
    grant(agent, Danger.OPERATE, on=world.elsewhere)  # named twice, listed once
    assert seen(agent) == {"Oslo"} and servers_visible(user=agent).count() == 1
    assert seen(world.viewer) == {"Berlin"}
    assert seen(world.neighbour) == {"Oslo"}
    assert seen(world.stranger) == seen(AnonymousUser()) == seen(None) == set()
    assert seen(User.objects.create_superuser("root")) == {"Berlin", "Oslo"}
    assert seen(User.objects.create_superuser("old", is_active=False)) == set()


def test_class_read_lets_its_holder_see_events_and_runs(world: World) -> None:
    agent = make_person("agent")
    grant(agent, Danger.OPERATE)
    grant(agent, Danger.READ, actions="Ping")  # one reading action is not the whole class
    assert seen(agent) == {"Berlin", "Oslo"} and watched(agent) == set()
    assert watched(world.viewer) == {"Berlin"}
    assert watched(world.neighbour) == {"Oslo"}
    assert watched(world.stranger) == set()


def test_a_tag_is_seen_with_a_server_of_it_and_one_that_no_server_has_by_everybody(world: World) -> None:
    for name, server in (("north", world.server), ("south", world.elsewhere), ("new", None)):
        tag = Tag.objects.create(name=name)
        if server is not None:
            server.tags.add(tag)

    def tags(user: Any) -> set[str]:
        return {tag.name for tag in tags_visible(user=user)}

    assert tags(world.viewer) == {"north", "new"}
    assert tags(world.neighbour) == {"south", "new"}
    assert tags(world.stranger) == {"new"}
    assert tags(AnonymousUser()) == tags(None) == set()
    assert tags(User.objects.create_superuser("root")) == {"north", "south", "new"}


def test_a_denial_of_reading_hides_events_and_one_of_everything_hides_the_server(world: World) -> None:
    everywhere = make_person("everywhere")
    grant(everywhere)
    grant(everywhere, Danger.READ, on=world.server, deny=True)
    assert seen(everywhere) == {"Berlin", "Oslo"} and watched(everywhere) == {"Oslo"}
    grant(everywhere, on=world.server, deny=True)
    assert seen(everywhere) == watched(everywhere) == {"Oslo"}
    assert (seen(world.viewer), seen(world.neighbour), seen(world.stranger)) == ({"Berlin"}, {"Oslo"}, set())


def test_rows_are_seen_with_their_server_and_orphans_by_who_sees_every_server(world: World) -> None:
    here, there = make_run(server=world.server), make_run(server=world.elsewhere)
    orphan = make_run(server=world.elsewhere)
    ActionRun.objects.filter(pk=orphan.pk).update(server=None)
    everywhere, nearly = make_person("everywhere"), make_person("nearly")
    grant(everywhere, Danger.READ)
    grant(nearly, Danger.READ)
    grant(nearly, Danger.READ, on=world.server, deny=True)

    def rows(user: Any) -> set[int]:
        found = rows_watchable(user=user, rows=ActionRun.objects.all())
        return set(found.values_list("pk", flat=True))

    assert rows(world.viewer) == {here.pk}
    assert rows(world.neighbour) == {there.pk}
    assert rows(world.stranger) == rows(None) == rows(AnonymousUser()) == set()
    assert rows(nearly) == {there.pk}
    assert rows(everywhere) == rows(User.objects.create_superuser("root")) == {here.pk, there.pk, orphan.pk}


def test_the_factory_gives_every_permission_that_a_page_asks_for() -> None:
    assert make_person("ada").has_perms([f"ami_integration.{name}" for name in PERMISSIONS])
