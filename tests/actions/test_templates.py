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
from tests.access.factories import grant, make_person
from tests.actions.asking import make_servers, make_template, person_on
from tests.actions.factories import make_operator, make_run
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
LIST = reverse("admin:ami_integration_actiontemplate_changelist")
ADD = reverse("admin:ami_integration_actiontemplate_add")
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
    fanout = FanOut.objects.create(key="k", action="Ping", payload="[]", user=ada, mode="serial")
    for server in servers:
        make_run(server=server, fanout=fanout)
    draft = template_draft(user=ada, fanout_id=str(fanout.pk))
    assert draft is not None
    assert (sorted(draft.server_ids), draft.tag_id, draft.mode) == (
        [one.pk for one in servers],
        None,
        "serial",
    )
    fanout.target = "berlin"
    fanout.save()
    draft = template_draft(user=ada, fanout_id=str(fanout.pk))
    assert draft is not None
    assert (draft.server_ids, draft.tag_id) == ([], servers[0].tags.get().pk)


# -- its pages


def test_a_run_is_kept_as_a_template_with_its_hidden_values() -> None:
    ada = keeper()
    run = make_run(user=ada, username="ada", action="Originate", headers=[("Secret", "hunter2")])
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


def test_a_change_keeps_what_its_stars_hide() -> None:
    template = make_template(headers=[("Secret", "hunter2"), ("Exten", "1")])
    client = signed_in(keeper())
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
    with django_assert_max_num_queries(13):
        content = client.get(LIST).content.decode()
    assert "exten" in content
    assert f"?template={ActionTemplate.objects.first().pk}" in content  # type: ignore[union-attr]


def test_an_empty_list_says_what_to_do() -> None:
    assert "Keep as a template" in signed_in(keeper()).get(LIST).content.decode()
