"""Templates: what they keep, what they ask for, and what of them nobody sees."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from ami_integration.actions.models import ActionTemplate, FanOut
from ami_integration.actions.templates import (
    template_draft,
    template_mask,
    template_save,
    template_variables,
)
from ami_integration.servers.models import Tag
from tests.access.factories import grant, make_person
from tests.actions.asking import make_servers, make_template, person_on
from tests.actions.factories import make_operator, make_run
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
LIST = reverse("admin:ami_integration_actiontemplate_changelist")
ADD = reverse("admin:ami_integration_actiontemplate_add")
RUN = reverse("admin:ami_integration_actionrun_add")
MAY_KEEP = ("add_actiontemplate", "change_actiontemplate", "view_actiontemplate")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def keeper(username: str = "ada") -> User:
    """Somebody who may run everything everywhere, and keep templates."""
    person = make_person(username, "view_actionrun", "add_actionrun", *MAY_KEEP)
    grant(person)
    return person


def form(**values: Any) -> dict[str, Any]:
    return {
        "name": "Greet",
        "description": "",
        "action": "Originate",
        "headers": "",
        "mode": "parallel",
        "limit": "20",
    } | values


def test_a_placeholder_is_no_secret_even_where_one_will_stand() -> None:
    pairs = [("Secret", "{{pin}}"), ("Variable", "PASSWORD={{word}}"), ("Secret", "x{{y}}"), ("Secret", "a")]
    assert template_mask(pairs) == [
        ("Secret", "{{pin}}"),
        ("Variable", "PASSWORD={{word}}"),
        ("Secret", "********"),
        ("Secret", "********"),
    ]


def test_a_template_asks_for_its_variables_in_order_hidden_ones_too() -> None:
    template = make_template(
        headers=[("Secret", "x{{y}}"), ("Channel", "PJSIP/{{exten}}"), ("Exten", "{{y}}")]
    )
    assert template_variables(template) == ["y", "exten"]


def test_who_saves_it_first_owns_it_and_its_secrets_are_encrypted_alone() -> None:
    ada = make_operator()
    template = ActionTemplate(name="Greet", action="Originate")
    template_save(user=ada, template=template, headers=[("Secret", "hunter2")])
    template_save(user=make_operator("bob"), template=template, headers=[("Secret", "hunter3")])
    template.refresh_from_db()
    assert template.owner == ada
    assert template.headers_masked == [["Secret", "********"]]
    assert "hunter" not in template.payload.token
    assert template.headers_in_clear() == [("Secret", "hunter3")]


def test_a_run_of_ones_own_becomes_a_draft_without_what_amiweb_added() -> None:
    ada = make_operator()
    run = make_run(
        user=ada, username="ada", action="Originate", headers=[("Channel", "a"), ("ChannelId", "amiweb-1")]
    )
    draft = template_draft(user=ada, run_id=str(run.pk))
    assert draft is not None
    assert (draft.action, draft.headers, draft.server_ids) == (
        "Originate",
        [("Channel", "a")],
        [run.server_id],
    )
    assert template_draft(user=make_operator("bob"), run_id=str(run.pk)) is None
    assert template_draft(user=ada, run_id="nonsense") is None


def test_a_fan_out_becomes_a_draft_with_its_tag_or_its_servers() -> None:
    ada, servers = make_operator(), make_servers(2, tag="berlin")
    plan = {"mode": "serial", "limit": 7, "stop_after": 2}
    fanout = FanOut.objects.create(key="k", action="Ping", payload="[]", user=ada, **plan)
    for server in servers:
        make_run(server=server, fanout=fanout, timeout=45.0)
    draft = template_draft(user=ada, fanout_id=str(fanout.pk))
    assert draft is not None
    assert (sorted(draft.server_ids), draft.tag_id) == ([one.pk for one in servers], None)
    assert draft.plan == plan | {"timeout": 45.0}
    fanout.target = "berlin"
    fanout.save()
    draft = template_draft(user=ada, fanout_id=str(fanout.pk))
    assert draft is not None
    assert (draft.server_ids, draft.tag_id) == ([], servers[0].tags.get().pk)


# -- its pages


def test_a_run_is_kept_as_a_template_with_its_hidden_values() -> None:
    ada = keeper()
    headers = [("Secret", "hunter2")]
    run = make_run(user=ada, username="ada", action="Originate", headers=headers, hidden_by=ada)
    client = signed_in(ada)
    page = client.get(ADD, {"run": run.pk})
    content = page.content.decode()
    assert "hunter2" not in content
    initial = page.context["adminform"].form.initial
    assert initial["headers"] == "Secret: ********"
    data = form(headers="Secret: ********\nExten: {{exten}}", kept=initial["kept"], servers=[run.server_id])
    assert client.post(ADD, data).status_code == 302
    template = ActionTemplate.objects.get()
    assert template.headers_in_clear() == [("Secret", "hunter2"), ("Exten", "{{exten}}")]
    assert (template.owner, list(template.servers.all())) == (ada, [run.server])


def test_hidden_values_do_not_move_into_another_action() -> None:
    ada = keeper()
    run = make_run(user=ada, username="ada", action="Originate", headers=[("Secret", "hunter2")])
    client = signed_in(ada)
    kept = client.get(ADD, {"run": run.pk}).context["adminform"].form.initial["kept"]
    response = client.post(ADD, form(action="UserEvent", headers="Secret: ********", kept=kept))
    assert "hidden value that isn't there" in response.context["adminform"].form.errors["headers"][0]
    assert not ActionTemplate.objects.exists()


def test_hidden_values_go_to_no_server_that_they_were_not_meant_for() -> None:
    ada, oslo = keeper(), make_server(name="Oslo")
    run = make_run(user=ada, username="ada", action="Originate", headers=[("Secret", "hunter2")])
    client = signed_in(ada)
    kept = client.get(ADD, {"run": run.pk}).context["adminform"].form.initial["kept"]
    for where in ([oslo.pk], [oslo.pk, run.server_id], []):
        response = client.post(ADD, form(headers="Secret: ********", kept=kept, servers=where))
        assert "wasn't meant for" in response.context["adminform"].form.errors["headers"][0], where
    template = make_template(headers=[("Secret", "hunter2")])
    template.servers.add(run.server)
    run_form = reverse("admin:ami_integration_actionrun_add")
    for source in ({"template": template.pk}, {"run": run.pk}):
        kept = client.get(run_form, source).context["form"].initial["kept"]
        data = {"action": "Originate", "headers": "Secret: ********", "kept": kept, "action_id": "0" * 32}
        data |= {"unchecked": "on"} | source
        refused = client.post(run_form, data | {"server": [oslo.pk]})
        assert "wasn't meant for" in refused.context["form"].errors["headers"][0]
        assert "preview" in client.post(run_form, data | {"server": [run.server_id]}).context


def test_servers_that_somebody_does_not_see_stay_in_a_template_unnamed() -> None:
    berlin, bonn = make_server(), make_server(name="Bonn")
    template = make_template()
    template.servers.add(berlin, bonn)
    eve = person_on(bonn)
    eve.user_permissions.add(*keeper().user_permissions.all())
    viewer = make_person("viewer", "view_actiontemplate")
    url = reverse("admin:ami_integration_actiontemplate_change", args=(template.pk,))
    for person in (eve, viewer):
        client = signed_in(person)
        for page in (client.get(LIST), client.get(url)):
            assert page.status_code == 200
            assert berlin.name not in page.content.decode()
    assert signed_in(eve).post(url, form(name="Ours", servers=[bonn.pk])).status_code == 302
    assert set(template.servers.all()) == {berlin, bonn}
    signed_in(eve).post(url, form(name="Ours", servers=[]))
    assert set(template.servers.all()) == {berlin}


def test_a_tag_that_somebody_does_not_see_stays_in_a_template_unnamed() -> None:
    berlin, bonn = make_server(), make_server(name="Bonn")
    berlin.tags.add(hidden := Tag.objects.create(name="hush-hush"))
    template = make_template(tag=hidden)
    eve = person_on(bonn)
    eve.user_permissions.add(*keeper().user_permissions.all())
    client = signed_in(eve)
    url = reverse("admin:ami_integration_actiontemplate_change", args=(template.pk,))
    listed = client.get(LIST).content.decode()
    assert "a tag that you don&#x27;t see" in listed
    assert "hush-hush" not in listed + client.get(url).content.decode()
    assert client.post(url, form(name="Ours")).status_code == 302
    assert ActionTemplate.objects.get().tag == hidden
    client.post(url, form(name="Ours", servers=[bonn.pk]))
    assert ActionTemplate.objects.get().tag is None


def test_a_template_keeps_order_limit_stop_and_time_limit_and_a_link_may_say_otherwise() -> None:
    ada, server = keeper(), make_server()
    client = signed_in(ada)
    plan = {"mode": "serial", "limit": "5", "stop_after": "3", "timeout": "90"}
    assert client.post(ADD, form(action="Ping", servers=[server.pk], **plan)).status_code == 302
    template = ActionTemplate.objects.get()
    assert (template.mode, template.limit, template.stop_after, template.timeout) == ("serial", 5, 3, 90)
    initial = client.get(RUN, {"template": template.pk}).context["form"].initial
    assert [initial[name] for name in plan] == ["serial", 5, 3, 90]
    initial = client.get(RUN, {"template": template.pk, "limit": "1"}).context["form"].initial
    assert (initial["limit"], initial["stop_after"]) == ("1", 3)
    run = make_run(server=server, user=ada, username="ada", timeout=12.0)
    assert client.get(ADD, {"run": run.pk}).context["adminform"].form.initial["timeout"] == 12.0


def test_templates_are_listed_and_used_by_who_may_view_them_and_run_where_the_rules_say() -> None:
    server, other = make_server(), make_server(name="Oslo")
    template = make_template(headers=[("Secret", "hunter2"), ("Exten", "{{exten}}")])
    template.servers.add(server)
    runner = make_person("runner", "view_actionrun", "add_actionrun")  # and no permission for templates
    grant(runner)
    neighbour = person_on(other, username="neighbour")
    viewer = person_on(server, dangers=("read",), username="viewer")
    for person, sees in ((runner, False), (viewer, True), (neighbour, True)):
        client = signed_in(person)
        page = client.get(RUN)
        assert ("Call somebody" in page.content.decode()) is sees, person
        page = client.get(RUN, {"template": template.pk})
        assert (page.context["form"].chosen_template == template) is sees, person
        assert "hunter2" not in page.content.decode()
        assert ("exten" in page.content.decode()) is sees, person
        assert client.get(LIST).status_code == (200 if sees else 403)
        assert ("Berlin" in page.content.decode()) is (person in (runner, viewer)), person
    sent = {"action": "Originate", "headers": "Exten: {{exten}}", "var_exten": "1", "action_id": "0" * 32}
    sent |= {"template": str(template.pk), "server": [str(server.pk)], "unchecked": "on"}
    refused = signed_in(runner).post(RUN, sent).context["form"].errors
    assert "template" in refused
    # Who sees the template picks none of its servers by it, and runs nothing by it that isn't granted.
    for person in (make_person("stranger"), neighbour):
        assert "server" in signed_in(person).post(RUN, sent).context["form"].errors
    assert signed_in(viewer).post(RUN, sent).context["preview"].refused


def test_a_change_keeps_what_its_stars_hide() -> None:
    ada = keeper()
    template = make_template(headers=[("Secret", "hunter2"), ("Exten", "1")], hidden_by=ada)
    client = signed_in(ada)
    url = reverse("admin:ami_integration_actiontemplate_change", args=(template.pk,))
    page = client.get(url)
    assert "hunter2" not in page.content.decode()
    kept = page.context["adminform"].form.initial["kept"]
    client.post(url, form(name=template.name, headers="Secret: ********\nExten: 2", kept=kept))
    template.refresh_from_db()
    assert template.headers_in_clear() == [("Secret", "hunter2"), ("Exten", "2")]


def test_mistakes_are_told_beside_their_fields() -> None:
    servers = make_servers(1, tag="berlin")
    client = signed_in(keeper())
    response = client.post(
        ADD,
        form(headers="ActionID: 1", servers=[servers[0].pk], tag=servers[0].tags.get().pk),
    )
    errors = response.context["adminform"].form.errors
    assert "Leave the header ActionID out" in errors["headers"][0]
    assert "Choose a tag or servers" in errors["tag"][0]


def test_only_servers_that_one_sees_can_be_chosen() -> None:
    berlin, bonn = make_server(), make_server(name="Bonn")
    eve = person_on(bonn)
    eve.user_permissions.add(*keeper().user_permissions.all())
    response = signed_in(eve).post(ADD, form(servers=[berlin.pk]))
    assert "servers" in response.context["adminform"].form.errors


def test_who_may_only_look_sees_the_masked_copy() -> None:
    template = make_template(headers=[("Secret", "hunter2")])
    viewer = make_person("viewer", "view_actiontemplate")
    url = reverse("admin:ami_integration_actiontemplate_change", args=(template.pk,))
    content = signed_in(viewer).get(url).content.decode()
    assert "Secret: ********" in content
    assert "hunter2" not in content
    assert signed_in(make_person("stranger", "view_server")).get(url).status_code == 403


def test_the_list_says_what_each_asks_for_and_costs_the_same_with_many(
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(20):
        make_template(name=f"T{number}", headers=[("Exten", "{{exten}}")]).servers.add(
            make_server(name=f"PBX {number}")
        )
    client = signed_in(keeper())
    with django_assert_max_num_queries(16):
        content = client.get(LIST).content.decode()
    assert "exten" in content
    assert f"?template={ActionTemplate.objects.first().pk}" in content  # type: ignore[union-attr]


def test_an_empty_list_says_what_to_do() -> None:
    assert "Keep as a template" in signed_in(keeper()).get(LIST).content.decode()
