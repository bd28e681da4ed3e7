"""The four groups to begin with."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User

from ami_integration.access.danger import Danger
from ami_integration.access.models import AccessRule
from ami_integration.access.services import (
    decide_classes,
    servers_watchable,
    user_may_run,
    user_may_view_secrets,
    user_may_view_templates,
)
from ami_integration.access.starters import STARTERS, starter_groups_make
from tests.access.factories import grant, make_person
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


def member(name: str) -> User:
    user = User.objects.create_user(f"the {name}", is_staff=True)
    user.groups.add(Group.objects.get(name=name))
    return user


def test_each_group_may_do_what_its_name_says_and_no_more() -> None:
    starter_groups_make()
    server = make_server()

    def classes(user: User) -> list[str]:
        return [answer.danger.value for answer in decide_classes(user=user, server=server) if answer.allowed]

    assert classes(member("Viewer")) == []  # looks at pages, runs nothing
    assert classes(member("Operator")) == ["read", "operate", "originate"]
    assert classes(member("Engineer")) == ["read", "operate", "originate", "command", "config"]
    assert classes(member("Administrator")) == [danger.value for danger in Danger]
    stranger, neighbour = make_person("stranger"), make_person("neighbour")
    grant(neighbour, on=make_server(name="Oslo"))
    assert classes(stranger) == classes(neighbour) == []


def test_all_of_them_look_and_only_administrators_edit_servers_and_rules() -> None:
    starter_groups_make()
    server = make_server()
    people = {starter.name: member(starter.name) for starter in STARTERS}
    for name, user in people.items():
        assert list(servers_watchable(user=user)) == [server]
        assert user.has_perms(["ami_integration.view_event", "ami_integration.view_actionrun"])
        assert user_may_view_templates(user=user)
        assert user_may_run(user=user) is (name != "Viewer")
        for permission in ("change_server", "add_accessrule", "change_tag"):
            assert user.has_perm(f"ami_integration.{permission}") is (name == "Administrator")
        for permission in ("add_schedule", "pause_schedules", "change_blackout"):
            planner = name in ("Engineer", "Administrator")
            assert user.has_perm(f"ami_integration.{permission}") is planner
        assert user_may_view_secrets(user=user) is (name == "Administrator")
        assert not user.has_perm("auth.change_user")  # who may edit people can make himself a superuser
        assert not user.has_perm("ami_integration.delete_event")


def test_what_exists_stays_as_it_is() -> None:
    assert len(starter_groups_make()) == 8
    AccessRule.objects.filter(group__name__in=("Operator", "Viewer")).delete()
    Group.objects.get(name="Viewer").delete()
    Group.objects.get(name="Engineer").permissions.clear()
    assert starter_groups_make() == ["group Viewer", "rule “Viewers on all servers”"]
    assert not AccessRule.objects.filter(group__name="Operator").exists()
    assert not Group.objects.get(name="Engineer").permissions.exists()
    assert starter_groups_make() == []
