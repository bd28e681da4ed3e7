"""The pages of the rules, and the one that says what somebody may do."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from ami_integration.access.danger import Danger
from ami_integration.access.models import AccessRule
from ami_integration.access.services import decide, decide_classes
from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import Server, Tag
from tests.access.factories import grant, make_person
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
LIST = reverse("admin:ami_integration_accessrule_changelist")
ADD = reverse("admin:ami_integration_accessrule_add")
EXPLAIN = reverse("admin:ami_integration_accessrule_explain")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def fields(**values: Any) -> dict[str, Any]:
    group, _ = Group.objects.get_or_create(name="Night shift")
    return {
        "name": "Nights",
        "group": group.pk,
        "effect": "allow",
        "enabled": "on",
        "all_servers": "on",
        "dangers": ["read", "operate"],
        "actions": "",
        "cli_prefixes": "",
        "notes": "",
    } | values


def test_an_empty_list_says_what_to_do(admin_client: Client) -> None:
    page = admin_client.get(LIST).content.decode()
    assert "No rule yet." in page and f'href="{ADD}"' in page and f'href="{EXPLAIN}"' in page


def test_a_rule_is_made_changed_and_deleted_and_the_audit_tells(admin_client: Client) -> None:
    tag = Tag.objects.create(name="north")
    answer = admin_client.post(ADD, fields())
    assert answer.status_code == 302, answer.context["errors"]
    rule = AccessRule.objects.get()
    assert rule.dangers == ["read", "operate"] and rule.all_servers
    change = reverse("admin:ami_integration_accessrule_change", args=(rule.pk,))
    narrowed = fields(all_servers="", tags=str(tag.pk), dangers=["operate"], actions="Queue*")
    assert admin_client.post(change, narrowed).status_code == 302
    page = admin_client.get(LIST).content.decode()
    assert "tag north" in page and "Queue*" in page and 'data-danger="operate"' in page
    admin_client.post(LIST, {"action": "delete_selected", "_selected_action": [rule.pk], "post": "yes"})
    entries = AuditEntry.objects.order_by("pk")
    assert [entry.verb for entry in entries] == ["accessrule.add", "accessrule.change", "accessrule.delete"]
    gone = entries[2].what
    assert (gone["group"], gone["effect"], gone["dangers"]) == (rule.group.name, rule.effect, ["operate"])
    assert gone.keys() >= {"all_servers", "tags", "servers", "actions", "cli_prefixes", "enabled"}
    assert entries[1].what["dangers"] == {"from": ["read", "operate"], "to": ["operate"]}
    assert entries[1].what["tags"] == {"from": [], "to": ["north"]}
    assert {entry.actor_name for entry in entries} == {"admin"}


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"all_servers": ""}, "all_servers", "would hold nowhere"),
        ({"dangers": []}, "dangers", "at least one class"),
        ({"dangers": ["everything"]}, "dangers", "not one of the available choices"),
        ({"cli_prefixes": "core show", "actions": "Ping"}, "actions", "about the action Command alone"),
        ({"cli_prefixes": "\\"}, "cli_prefixes", "has no word"),
    ],
)
def test_a_rule_that_says_nothing_is_refused_beside_its_field(
    admin_client: Client, values: dict[str, Any], field: str, words: str
) -> None:
    answer = admin_client.post(ADD, fields(**values))
    assert answer.status_code == 200
    assert words in str(answer.context["adminform"].form.errors[field])
    assert not AccessRule.objects.exists()


def test_a_rule_names_all_servers_or_some(admin_client: Client) -> None:
    server = make_server()
    answer = admin_client.post(ADD, fields(servers=str(server.pk)))
    assert "but not both" in str(answer.context["errors"])


def test_rules_are_for_who_holds_the_permission_and_only_he_asks_what_others_may() -> None:
    server = make_server()
    stranger, viewer, neighbour = (make_person(name) for name in ("stranger", "viewer", "neighbour"))
    grant(viewer, Danger.READ, on=server)
    grant(neighbour, on=make_server(name="Oslo"))
    for user in (stranger, viewer, neighbour):
        for page in (LIST, ADD, EXPLAIN):
            assert signed_in(user).get(page).status_code == 403
    assert Client().get(EXPLAIN).status_code == 302
    auditor = make_person("auditor", "view_accessrule")
    assert signed_in(auditor).get(EXPLAIN).status_code == 200
    assert signed_in(auditor).get(ADD).status_code == 403


def ask(client: Client, **values: Any) -> str:
    return " ".join(client.get(EXPLAIN, values).content.decode().split())


def test_the_page_says_what_and_why(admin_client: Client) -> None:
    server = make_server()
    operator, stranger, neighbour = (make_person(name) for name in ("operator", "stranger", "neighbour"))
    grant(operator, Danger.READ, Danger.OPERATE, on=server, name="nights")
    grant(operator, Danger.SYSTEM, on=server, name="restart only", cli_prefixes="core restart")
    grant(neighbour, on=make_server(name="Oslo"))
    page = ask(admin_client, user=operator.pk, server=server.pk)
    assert "The rule “nights” lets operator run actions of class operate on Berlin." in page
    assert "No access rule lets operator run actions of class config on Berlin." in page
    assert "Allow some of it" in page and "restart only" in page
    page = ask(
        admin_client,
        user=operator.pk,
        server=server.pk,
        action="Command",
        headers="Command: core restart now",
    )
    assert "by <strong>restart only</strong>" in page and "Allowed" in page
    for user in (stranger, neighbour):
        page = ask(admin_client, user=user.pk, server=server.pk, action="Ping")
        assert "by <strong>no rule</strong>" in page
    root = User.objects.create_superuser("root")
    Server.objects.update(maintenance=True)
    page = ask(admin_client, user=root.pk, server=server.pk, action="Ping")
    assert "by <strong>maintenance</strong>" in page


def test_the_page_says_what_was_typed_wrong(admin_client: Client) -> None:
    person = make_person("ada")
    page = ask(admin_client, user=person.pk, server="999", action="Ping", headers="nonsense")
    assert "Line 1 is not a header" in page and "Select a valid choice" in page
    assert "Choose a person and a server." in ask(admin_client)


def test_a_class_as_a_whole_and_a_request_of_it_get_the_same_answer() -> None:
    server = make_server()
    people = [make_person(name) for name in ("stranger", "viewer", "denied")]
    grant(people[1], Danger.READ, Danger.CONFIG, on=server)
    grant(people[2])
    grant(people[2], Danger.READ, deny=True)
    root = User.objects.create_superuser("root")
    requests: list[tuple[str, list[tuple[str, str]]]] = [
        ("Ping", []),
        ("Hangup", []),
        ("Originate", []),
        ("Command", [("Command", "x")]),
        ("GetConfig", []),
        ("Reload", []),
    ]
    for switches in ({}, {"read_only": True}, {"maintenance": True}):
        Server.objects.update(**({"read_only": False, "maintenance": False} | switches))
        server.refresh_from_db()
        for user in (*people, root):
            answers = decide_classes(user=user, server=server)
            for answer, (action, headers) in zip(answers, requests, strict=True):
                decision = decide(user=user, server=server, action=action, headers=headers)
                assert decision.danger is answer.danger
                assert (decision.allowed, decision.rule) == (answer.allowed, answer.rule)


def test_a_rule_keeps_what_its_editor_does_not_see_and_does_not_name_it() -> None:
    seen, hidden, other = make_server(), make_server(name="Oslo"), make_server(name="Bergen")
    ours, theirs = Tag.objects.create(name="ours"), Tag.objects.create(name="theirs")
    seen.tags.add(ours)
    hidden.tags.add(theirs)
    editor = make_person("editor", "view_accessrule", "change_accessrule")
    grant(editor, Danger.READ, on=seen)
    stranger = make_person("stranger")
    rule = grant(stranger, Danger.READ, on=hidden)
    rule.tags.add(theirs)
    client, change = signed_in(editor), reverse("admin:ami_integration_accessrule_change", args=(rule.pk,))
    page = client.get(change).content.decode()
    assert "Berlin" in page and "ours" in page
    assert "1 that you don't see stay in it" in page
    listed = client.get(LIST).content.decode()
    assert "2 that you don&#x27;t see" in listed
    assert not any(name in page + listed for name in ("Oslo", "Bergen", "theirs"))
    values = fields(name="x", group=rule.group_id, all_servers="", servers=[seen.pk], tags=[ours.pk])
    assert client.post(change, values).status_code == 302
    assert set(rule.servers.all()) == {seen, hidden} and set(rule.tags.all()) == {ours, theirs}
    what = AuditEntry.objects.latest("pk").what
    assert what["servers"] == {"from": [], "to": ["Berlin"]} and what["tags"] == {"from": [], "to": ["ours"]}
    # Without anything that the editor sees it still names something, and isn't a rule that holds nowhere.
    assert client.post(change, fields(name="x", group=rule.group_id, all_servers="")).status_code == 302
    assert set(rule.servers.all()) == {hidden} and set(rule.tags.all()) == {theirs}
    answer = client.post(change, values | {"servers": [hidden.pk, other.pk]})
    assert "not one of the available choices" in str(answer.context["errors"])


def test_a_group_with_rules_is_not_deleted_under_them(admin_client: Client) -> None:
    person = make_person("ada")
    rule = grant(person, deny=True)
    page = f"/admin/auth/group/{rule.group_id}/delete/"
    assert "protected" in admin_client.get(page).content.decode()
    admin_client.post(page, {"post": "yes"})
    assert AccessRule.objects.get() == rule
