"""The pages on the way to a run, for those who may and those who may not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from ami_integration.access.models import AccessRule
from ami_integration.actions.catalogue.descriptions import ActionDescription
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.plans import Mode
from ami_integration.audit.models import AuditEntry
from tests.access.factories import grant, make_person
from tests.actions.asking import make_servers, make_template, person_on
from tests.actions.catalogue.making import MUTE, ORIGINATE, PING, make_catalogue
from tests.actions.factories import make_operator, make_run, make_user
from tests.actions.test_submission import end, fanned_out
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
ADD = reverse("admin:ami_integration_actionrun_add")
SUBMIT = reverse("admin:ami_integration_actionrun_submit")
DESCRIBE = reverse("admin:ami_integration_actionrun_describe")
SEARCH = reverse("admin:ami_integration_actionrun_search")
ASSESS = reverse("admin:ami_integration_actionrun_assess")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def ask(client: Client, servers: Any, action: str = "QueuePause", **values: Any) -> HttpResponse:
    data = {"server": [one.pk for one in servers], "action": action, "headers": "", "action_id": "0" * 32}
    return client.post(ADD, data | values)  # type: ignore[return-value]


def token_of(page: Any) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page.content.decode())
    assert found
    return found[1]


def test_what_only_looks_runs_at_once_even_on_several_servers() -> None:
    client = signed_in(make_operator())
    response = ask(client, make_servers(3), "Ping")
    fanout = FanOut.objects.get()
    assert response["Location"] == reverse("admin:ami_integration_fanout_change", args=(fanout.pk,))
    assert fanout.runs.count() == 3
    assert fanout.key == "0" * 32


def test_a_form_for_several_servers_that_is_sent_twice_is_one_fan_out() -> None:
    client, servers = signed_in(make_operator()), make_servers(2)
    first = ask(client, servers, "Ping")
    assert ask(client, servers, "Ping")["Location"] == first["Location"]
    assert "sent before" in ask(client, servers[:1], "Ping").content.decode()
    assert FanOut.objects.count() == 1
    assert ActionRun.objects.count() == 2


def test_what_does_more_shows_the_preview_and_runs_after_its_button() -> None:
    client, servers = signed_in(make_operator()), make_servers(2)
    page = ask(client, servers, headers="Queue: sales\nSecret: hunter2")
    content = page.content.decode()
    assert not ActionRun.objects.exists()
    assert "Secret: ********" in content
    assert "hunter2" not in content
    assert "All at once, up to the limit of 20." in content
    assert content.count('data-state="unknown"') == 2  # nobody has reached them yet
    assert content.count("it changes calls, queues or conferences as they run") == 1
    for server in servers:
        assert server.name in content
    response = client.post(SUBMIT, {"token": token_of(page), "confirmed": "yes"})
    fanout = FanOut.objects.get()
    assert response["Location"] == reverse("admin:ami_integration_fanout_change", args=(fanout.pk,))
    for run in fanout.runs.all():
        assert run.action_id in content
        assert run.headers_in_clear() == [("Queue", "sales"), ("Secret", "hunter2")]


def test_the_button_preview_shows_what_only_looks_too() -> None:
    page = ask(signed_in(make_operator()), [make_server()], "Ping", _preview="Preview")
    assert "Nothing has been sent yet" in page.content.decode()
    assert not ActionRun.objects.exists()


def test_a_preview_that_is_confirmed_twice_leads_to_what_it_became() -> None:
    client = signed_in(make_operator())
    token = token_of(ask(client, [make_server()]))
    first = client.post(SUBMIT, {"token": token, "confirmed": "yes"})
    assert client.post(SUBMIT, {"token": token, "confirmed": "yes"})["Location"] == first["Location"]
    assert ActionRun.objects.count() == 1


def test_a_wrong_phrase_shows_the_same_preview_again_with_the_same_action_ids() -> None:
    client = signed_in(make_operator())
    page = ask(client, make_servers(2), "Reload")
    again = client.post(SUBMIT, {"token": token_of(page), "confirmed": "yes", "typed": "2 server"})
    assert "Type “2 servers”" in again.content.decode()
    ids = re.findall(r"[0-9a-f]{32}", page.content.decode())
    assert re.findall(r"[0-9a-f]{32}", again.content.decode()) == ids
    client.post(SUBMIT, {"token": token_of(again), "confirmed": "yes", "typed": "2 servers"})
    assert {run.action_id for run in ActionRun.objects.all()} <= set(ids)
    assert ActionRun.objects.count() == 2


def test_a_tag_that_changed_shows_the_difference_and_a_new_preview() -> None:
    client, servers = signed_in(make_operator()), make_servers(2, tag="berlin")
    page = client.post(ADD, {"tag": "berlin", "action": "QueuePause", "headers": "", "action_id": "0" * 32})
    make_server(name="Newcomer").tags.add(servers[0].tags.get())
    again = client.post(SUBMIT, {"token": token_of(page), "confirmed": "yes"})
    content = again.content.decode()
    assert "Newcomer got the tag berlin" in content
    assert not ActionRun.objects.exists()
    client.post(SUBMIT, {"token": token_of(again), "confirmed": "yes"})
    assert ActionRun.objects.count() == 3


@pytest.mark.parametrize("mode", Mode.values)
def test_a_new_preview_keeps_the_order_and_after_how_many_failures_it_stops(mode: str) -> None:
    client, servers = signed_in(make_operator()), make_servers(2, tag="berlin")
    plan = {"mode": mode, "limit": "3", "stop_after": "1", "timeout": "7"}
    asked = {"tag": "berlin", "action": "QueuePause", "headers": "", "action_id": "0" * 32, **plan}
    page = client.post(ADD, asked)
    make_server(name="Newcomer").tags.add(servers[0].tags.get())
    again = client.post(SUBMIT, {"token": token_of(page), "confirmed": "yes"})
    client.post(SUBMIT, {"token": token_of(again), "confirmed": "yes"})
    fanout = FanOut.objects.get()
    assert (fanout.mode, fanout.limit, fanout.stop_after) == (mode, 3, 1)
    assert {run.timeout for run in fanout.runs.all()} == {7}


RUBBISH = ("9" * 5000, str(2**63), "-1", "x", "²", "٣", "0x10")
ADDRESSES = (
    "actionrun/add/?server={}",
    "actionrun/add/?template={}",
    "actionrun/add/?run={}",
    "actionrun/{}/change/",
    "fanout/{}/change/",
    "actiontemplate/add/?run={}",
    "actiontemplate/add/?fanout={}",
    "catalogueaction/?server={}",
    "actionrun/add/describe/?action=Ping&server={}",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_with_rubbish_for_a_number_is_answered(address: str) -> None:
    client = signed_in(make_operator())
    for rubbish in RUBBISH:
        answer = client.get(f"/admin/ami_integration/{address.format(rubbish)}")
        assert answer.status_code in (200, 302, 403, 404), rubbish


@pytest.mark.parametrize(
    "address",
    [
        "catalogueevent/?q=%00",
        "actionrun/add/describe/?action=Ping&tag=%00",
        "actionrun/add/search/?q=x&tag=%00",
        "actionrun/?action=%00",
        "actionrun/?username=a%00b",
        "actionrun/%00/change/",
        "event/history/data/?names=%00",
    ],
)
def test_an_address_with_a_nul_is_refused(address: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = signed_in(make_operator()).get(f"/admin/ami_integration/{address}")
    assert answer.status_code == 400
    content = answer.content.decode()
    assert "The address holds a NUL" in content and "AMIWEB_ALLOWED_HOSTS" not in content
    assert not any(record.exc_info for record in caplog.records)


def test_back_to_the_form_brings_everything_along_and_no_secret_into_the_page() -> None:
    client, servers = signed_in(make_operator()), make_servers(3)
    page = ask(client, servers[:2], headers="Queue: sales\nSecret: hunter2", mode="serial", stop_after="2")
    form = client.post(SUBMIT, {"token": token_of(page), "_edit": "Back"})
    content = form.content.decode()
    assert "hunter2" not in content
    assert "Secret: ********</textarea>" in content
    assert re.findall(r'name="server" value="(\d+)" checked', content) == [str(one.pk) for one in servers[:2]]
    assert '<option value="serial" selected' in content
    kept = re.search(r'name="kept" value="([^"]+)"', content)
    assert kept
    again = ask(client, servers[:1], headers="Queue: sales\nSecret: ********", kept=kept[1])
    client.post(SUBMIT, {"token": token_of(again), "confirmed": "yes"})
    assert ActionRun.objects.get().headers_in_clear() == [("Queue", "sales"), ("Secret", "hunter2")]


def test_refused_servers_are_named_and_can_be_left_out_on_purpose() -> None:
    berlin, bonn = make_servers(2)
    eve = person_on(berlin)
    grant(eve, "read", on=bonn)
    client = signed_in(eve)
    page = ask(client, [berlin, bonn])
    content = page.content.decode()
    assert "you may not run this on 1 of the 2 servers" in content
    assert "Run on" not in content
    assert client.post(SUBMIT, {"token": token_of(page), "confirmed": "yes"}).status_code == 200
    assert not ActionRun.objects.exists()
    without = client.post(SUBMIT, {"token": token_of(page), "_without": "x"})
    client.post(SUBMIT, {"token": token_of(without), "confirmed": "yes"})
    assert ActionRun.objects.get().server == berlin


def test_a_strangers_token_and_nonsense_lead_back_to_the_form() -> None:
    token = token_of(ask(signed_in(make_operator()), [make_server()]))
    stranger = signed_in(make_operator("bob"))
    for bad in (token, "nonsense", ""):
        assert stranger.post(SUBMIT, {"token": bad, "confirmed": "yes"})["Location"] == ADD
    assert not ActionRun.objects.exists()


@pytest.mark.parametrize("address", [ADD, SUBMIT, DESCRIBE, SEARCH, ASSESS])
def test_who_may_not_run_anything_gets_none_of_it(address: str) -> None:
    viewer = signed_in(make_user("viewer", "view_actionrun"))
    assert viewer.get(address).status_code in (403, 405)
    assert viewer.post(address).status_code in (403, 405)


def test_without_a_rule_the_form_says_whom_to_ask() -> None:
    make_server()
    assert "Ask an administrator" in signed_in(make_person("stranger")).get(ADD).content.decode()


# -- links that fill the form in


def test_a_link_names_several_servers_or_a_tag() -> None:
    client, servers = signed_in(make_operator()), make_servers(3, tag="berlin")
    picked = [str(server.pk) for server in servers[:2]]
    content = client.get(ADD, {"server": picked, "mode": "first_then_rest"}).content.decode()
    assert re.findall(r'name="server" value="(\d+)" checked', content) == picked
    assert '<option value="first_then_rest" selected' in content
    content = client.get(ADD, {"tag": "berlin"}).content.decode()
    assert '<option value="berlin" selected' in content


def test_a_run_of_ones_own_fills_the_form_and_nobody_elses_does() -> None:
    ada = make_operator()
    values = {
        "action": "QueueAdd",
        "headers": [("Secret", "hunter2")],
        "headers_masked": [["Secret", "********"]],
    }
    mine = make_run(user=ada, username="ada", **values)
    hers = make_run(server=mine.server, user=make_operator("zoe"), username="zoe", **values)
    client = signed_in(ada)
    content = client.get(ADD, {"run": mine.pk}).content.decode()
    assert "Secret: ********" in content
    assert "hunter2" not in content
    assert "Secret: ********" not in client.get(ADD, {"run": hers.pk}).content.decode()


def test_a_template_fills_the_form_and_asks_for_its_variables() -> None:
    server = make_server()
    template = make_template(headers=[("Channel", "PJSIP/{{exten}}"), ("Secret", "hunter2")])
    template.servers.add(server)
    client = signed_in(make_operator())
    page = client.get(ADD, {"template": template.pk, "var_exten": "100"})
    content = page.content.decode()
    assert "hunter2" not in content
    assert re.search(r'name="var_exten" value="100"', content)
    kept = page.context["form"].initial["kept"]
    preview = client.post(
        ADD,
        {
            "server": [server.pk],
            "action": "Originate",
            "headers": "Channel: PJSIP/{{exten}}\nSecret: ********",
            "action_id": "0" * 32,
            "kept": kept,
            "template": template.pk,
            "var_exten": "200",
        },
    )
    assert "Channel: PJSIP/200" in preview.content.decode()
    client.post(SUBMIT, {"token": token_of(preview), "confirmed": "yes"})
    assert ActionRun.objects.get().headers_in_clear()[:2] == [("Channel", "PJSIP/200"), ("Secret", "hunter2")]


# -- what the form asks while one types


def test_the_description_has_required_arguments_first_and_names_servers_that_lack_it() -> None:
    server = make_server()
    later = ActionDescription(
        "Originate", arguments=tuple(reversed(ORIGINATE.arguments)), privileges=("all",)
    )
    make_catalogue(actions=[PING, later, MUTE], servers=[server])
    answer = signed_in(make_operator()).get(DESCRIBE, {"action": "originate", "server": server.pk}).json()
    assert answer["known"]
    assert [argument["name"] for argument in answer["arguments"]] == ["Channel", "Variable", "Async", "Exten"]
    by_name = {argument["name"]: argument for argument in answer["arguments"]}
    assert by_name["Variable"]["repeatable"]
    assert by_name["Async"]["boolean"] == ["true", "false"]


def test_an_action_that_nobody_describes_is_not_known() -> None:
    server = make_server()
    answer = signed_in(make_operator()).get(DESCRIBE, {"action": "Nonsense", "server": server.pk}).json()
    assert answer == {"known": False, "lacking": []}


def test_the_search_looks_at_the_chosen_servers_or_at_all_that_the_person_sees() -> None:
    berlin, bonn = make_servers(2)
    make_catalogue(actions=[PING, MUTE], servers=[berlin])
    make_catalogue("16.28", actions=[PING, ORIGINATE], servers=[bonn])
    client = signed_in(make_operator())

    def found(client: Client, **query: Any) -> list[str]:
        return [action["name"] for action in client.get(SEARCH, query).json()["actions"]]

    assert found(client, q="channel") == ["MuteAudio", "Originate"]
    assert found(client, q="channel", server=berlin.pk) == ["MuteAudio"]
    assert found(signed_in(person_on(bonn)), q="channel") == ["Originate"]


def test_the_form_costs_the_same_with_many_servers(django_assert_max_num_queries: Any) -> None:
    make_servers(40, tag="berlin")
    client = signed_in(make_operator())
    with django_assert_max_num_queries(20):
        assert client.get(ADD, {"tag": "berlin"}).status_code == 200


@pytest.mark.parametrize(
    ("action", "headers", "danger", "words"),
    [
        ("Ping", "", "read", "runs at once"),
        ("Originate", "Channel: a\nApplication: Wait", "originate", "confirm it."),
        ("Originate", "Channel: a\nApplication: System\nData: rm", "system", "by typing"),
        ("Command", "Command: core show version", "read", "runs at once"),
        ("Command", "Command: core stop now", "system", "by typing"),
    ],
)
def test_the_form_says_how_dangerous_it_is_before_it_is_sent(
    action: str, headers: str, danger: str, words: str
) -> None:
    client, server = signed_in(make_operator()), make_server()
    answer = client.post(ASSESS, {"server": server.pk, "action": action, "headers": headers}).json()
    assert answer["danger"] == danger
    assert words in answer["says"]
    assert answer["confirms"] == (danger != "read")


def test_nothing_is_said_of_half_a_request_or_of_servers_that_one_does_not_see() -> None:
    server = make_server()
    whole = {"server": server.pk, "action": "Ping"}
    half = [{"action": "Ping"}, {"server": server.pk}, whole | {"headers": "no header"}]
    client = signed_in(make_operator())
    for data in half:
        assert client.post(ASSESS, data).json() == {"danger": ""}
    stranger = signed_in(make_person("stranger", "add_actionrun"))
    assert stranger.post(ASSESS, whole).json() == {"danger": ""}


def test_servers_that_are_ticked_in_their_list_lead_to_the_form() -> None:
    servers = make_servers(3)
    listed = reverse("admin:ami_integration_server_changelist")
    chosen = {"action": "run_action", "_selected_action": [server.pk for server in servers[:2]]}
    ada = make_operator()
    ada.user_permissions.add(Permission.objects.get(codename="view_server"))
    content = signed_in(ada).post(listed, chosen, follow=True).content.decode()
    ticked = re.findall(r'name="server" value="(\d+)" checked', content)
    assert ticked == [str(server.pk) for server in servers[:2]]
    assert "run_action" not in signed_in(make_person("viewer", "view_server")).get(listed).content.decode()


# What the audit is told of those who may not


def refusals() -> list[tuple[str, str, str]]:
    """Who was refused what, on what."""
    entries = AuditEntry.objects.filter(outcome=AuditEntry.Outcome.REFUSED).order_by("pk")
    return [(entry.actor_name, entry.verb, entry.object_name) for entry in entries]


def test_who_runs_what_he_may_not_is_told_of_in_the_audit_and_who_only_looks_is_not() -> None:
    berlin, bonn = make_servers(2)
    eve = person_on(berlin)
    grant(eve, "read", on=bonn)
    client = signed_in(eve)
    ask(client, [berlin, bonn], _preview="Preview")
    assert refusals() == []
    ask(client, [berlin, bonn])
    assert refusals() == [("eve", "run.submit", bonn.name)]


def test_who_lost_every_right_between_preview_and_submit_is_told_of_in_the_audit() -> None:
    (berlin,) = make_servers(1)
    eve = person_on(berlin)
    client = signed_in(eve)
    token = token_of(ask(client, [berlin]))
    AccessRule.objects.all().delete()
    client.post(SUBMIT, {"token": token, "confirmed": "yes"})
    assert refusals() == [("eve", "run.submit", berlin.name)]
    assert not ActionRun.objects.exists()


def test_the_audit_names_the_action_that_somebody_may_not_run_at_all_any_more() -> None:
    (berlin,) = make_servers(1)
    eve = person_on(berlin)
    client = signed_in(eve)
    token = token_of(ask(client, [berlin]))
    eve.user_permissions.clear()
    assert client.post(SUBMIT, {"token": token}).status_code == 403
    assert AuditEntry.objects.get(outcome=AuditEntry.Outcome.REFUSED).what == {"action": "QueuePause"}


def test_who_may_run_nothing_is_told_of_in_the_audit() -> None:
    (berlin,) = make_servers(1)
    client = signed_in(make_person("eve", "view_actionrun"))
    assert ask(client, [berlin]).status_code == 403
    assert client.post(SUBMIT, {"token": "x"}).status_code == 403
    assert client.get(ADD).status_code == 403
    assert refusals() == [("eve", "run.submit", "")] * 2 + [("eve", "page.open", ADD)]


def test_who_repeats_what_he_may_not_is_told_of_in_the_audit() -> None:
    berlin, bonn = make_servers(2)
    fanout = fanned_out(make_operator(), [berlin, bonn])
    for run in fanout.runs.all():
        end(run, "failed")
    eve = make_person("eve")
    for server in (berlin, bonn):
        grant(eve, "read", on=server)
    client = signed_in(eve)
    run = fanout.runs.get(server=berlin)
    client.post(f"/admin/ami_integration/actionrun/{run.pk}/retry/")
    assert refusals() == [("eve", "run.submit", berlin.name)]
    client.post(f"/admin/ami_integration/fanout/{fanout.pk}/retry/")
    assert refusals()[1:] == [("eve", "run.submit", berlin.name), ("eve", "run.submit", bonn.name)]
