"""Whose hidden values are lent to whom: nobody learns from a form what somebody else typed into one."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from ami_integration.actions.models import ActionRun, ActionTemplate, FanOut
from ami_integration.actions.submission import request_submit
from ami_integration.actions.templates import template_save
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.services import schedule_save
from ami_integration.schedules.tick import schedules_tick
from ami_integration.servers.models import Server
from tests.access.factories import grant, make_person
from tests.actions.asking import look_at, make_servers
from tests.actions.factories import make_operator
from tests.schedules.asking import form
from tests.schedules.factories import make_planner, make_schedule, server_of
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
ADD = reverse("admin:ami_integration_actionrun_add")
SUBMIT = reverse("admin:ami_integration_actionrun_submit")
ADD_TEMPLATE = reverse("admin:ami_integration_actiontemplate_add")
STARS = "********"

SETVAR = [("Channel", "PJSIP/x"), ("Variable", "TRUNK_SECRET"), ("Value", "hunterSEC")]
CALL = [
    ("Channel", "Local/1@office"),
    ("Application", "Playback"),
    ("Data", "beep"),
    ("Variable", "API_SECRET=hunterSEC"),
]


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def template_of(person: User, action: str, headers: list[tuple[str, str]]) -> ActionTemplate:
    template = ActionTemplate(name="Kept", action=action)
    template_save(user=person, template=template, headers=headers, hidden_by=person.pk)
    return template


def posted(client: Client, server: Server, action: str, headers: str, **values: Any) -> Any:
    data = {"server": [server.pk], "action": action, "headers": headers, "action_id": "0" * 32}
    return client.post(ADD, data | values)


def errors_of(page: Any) -> str:
    assert page.status_code == 200
    return str(page.context["form"].errors.get("headers", "")) if "form" in page.context else ""


@pytest.mark.parametrize(
    ("action", "stored", "asked"),
    [
        (
            "Setvar",
            SETVAR,
            f"Channel: PJSIP/mine\nVariable: PLAIN\nVariable: A_SECRET\nValue: {STARS}",
        ),
        ("Setvar", SETVAR, f"Channel: PJSIP/mine\nVariable: TRUNK_SECRET\nValue: {STARS}"),
        (
            "Originate",
            CALL,
            "Channel: Local/1@office\nApplication: MSet\nData: PLAIN=${API_SECRET}\n"
            f"Variable: API_SECRET={STARS}",
        ),
        (
            "UpdateConfig",
            [("SrcFilename", "a.conf"), ("Var-000000", "secret"), ("Value-000000", "hunterSEC")],
            f"SrcFilename: a.conf\nVar-000000: note\nVar-000000: secret\nValue-000000: {STARS}",
        ),
    ],
)
def test_nobody_reads_anothers_secret_by_changing_what_stands_beside_it(
    action: str, stored: list[tuple[str, str]], asked: str
) -> None:
    template = template_of(make_operator("engineer"), action, stored)
    client, server = signed_in(make_operator("operator")), make_server()
    kept = client.get(ADD, {"template": template.pk}).context["form"].initial["kept"]
    page = posted(client, server, action, asked, kept=kept, template=template.pk)
    assert "Somebody else wrote the hidden value" in errors_of(page)
    # Nor without saying that it came from a template.
    assert "Somebody else wrote the hidden value" in errors_of(
        posted(client, server, action, asked, kept=kept)
    )
    assert not ActionRun.objects.exists()


def test_anothers_template_runs_as_it_is_and_whose_the_secret_is_stays_with_what_becomes_of_it() -> None:
    engineer, operator = make_operator("engineer"), make_operator("operator")
    grant(operator)
    template = template_of(engineer, "Setvar", [("Channel", "PJSIP/{{exten}}"), *SETVAR[1:]])
    client, server = signed_in(operator), make_server()
    text = f"Channel: PJSIP/{{{{exten}}}}\nVariable: TRUNK_SECRET\nValue: {STARS}"
    kept = client.get(ADD, {"template": template.pk}).context["form"].initial["kept"]
    preview = posted(
        client, server, "Setvar", text, kept=kept, template=template.pk, var_exten="1", _preview="y"
    )
    content = preview.content.decode()
    token = re.search(r'name="token" value="([^"]+)"', content)
    assert token and "hunterSEC" not in content
    changed = f"Channel: PJSIP/1\nVariable: PLAIN\nVariable: A_SECRET\nValue: {STARS}"

    # Back to the form from the preview.
    back = client.post(SUBMIT, {"token": token[1], "_edit": "Back"}).context["form"].initial["kept"]
    assert "Somebody else" in errors_of(posted(client, server, "Setvar", changed, kept=back))

    client.post(SUBMIT, {"token": token[1], "confirmed": "yes", "typed": server.name})
    run = ActionRun.objects.get()
    assert run.headers_in_clear() == [("Channel", "PJSIP/1"), *SETVAR[1:]]
    assert (run.user, run.hidden_by) == (operator, engineer)

    # The run is the operator's own; what is hidden in it isn't.
    again = client.get(ADD, {"run": run.pk}).context["form"].initial["kept"]
    assert "Somebody else" in errors_of(posted(client, server, "Setvar", changed, kept=again))

    # Nor as a template of the operator's own.
    keeper = make_person("keeper", "view_actionrun", "add_actionrun", "add_actiontemplate")
    ActionRun.objects.update(user=keeper)
    grant(keeper)
    adding = signed_in(keeper)
    initial = adding.get(ADD_TEMPLATE, {"run": run.pk}).context["adminform"].form.initial
    data = {"name": "Mine", "action": "Setvar", "mode": "parallel", "limit": "20", "kept": initial["kept"]}
    data["servers"] = [server.pk]
    page = adding.post(ADD_TEMPLATE, data | {"headers": changed})
    assert "Somebody else" in str(page.context["adminform"].form.errors)
    adding.post(ADD_TEMPLATE, data | {"headers": text.replace("{{exten}}", "1")})
    mine = ActionTemplate.objects.get(name="Mine")
    assert (mine.owner, mine.hidden_by, mine.headers_in_clear()[-1]) == (keeper, engineer, SETVAR[-1])


def test_who_wrote_the_hidden_value_may_change_what_stands_beside_it() -> None:
    ada, server = make_operator(), make_server()
    template = template_of(ada, "Setvar", SETVAR)
    client = signed_in(ada)
    kept = client.get(ADD, {"template": template.pk}).context["form"].initial["kept"]
    text = f"Channel: PJSIP/y\nVariable: TRUNK_SECRET\nValue: {STARS}"
    assert "Channel: PJSIP/y" in posted(client, server, "Setvar", text, kept=kept).content.decode()


def test_a_fan_out_its_runs_and_a_scheduled_run_know_who_wrote_what_they_hide() -> None:
    engineer, operator = make_operator("engineer"), make_operator("operator")
    servers = make_servers(2)
    preview = look_at(operator, servers, headers=[("Secret", "x")], hidden_by=engineer.pk)
    request_submit(user=operator, token=preview.token, confirmed=True)
    assert FanOut.objects.get().hidden_by == engineer
    assert {run.hidden_by for run in ActionRun.objects.all()} == {engineer}

    schedule = make_schedule(action="QueueReset", headers=[("Secret", "x")], owner=make_planner("planner"))
    Schedule.objects.update(hidden_by=engineer)
    schedules_tick()
    assert ActionRun.objects.get(origin="schedule").hidden_by == engineer
    other = make_planner("other")
    saved = schedule_save(user=other, schedule=schedule, headers=[("Secret", "y")], hidden_by=other.pk)
    assert saved.hidden_by == other


def test_a_schedule_of_somebody_elses_keeps_what_it_hides_only_as_it_is() -> None:
    engineer, planner = make_operator("engineer"), make_planner("planner")
    schedule = make_schedule(action="Setvar", headers=SETVAR, owner=make_planner("ada"))
    Schedule.objects.update(hidden_by=engineer)
    url = reverse("admin:ami_integration_schedule_change", args=(schedule.pk,))
    data = form(server=server_of(schedule).pk, action="Setvar", kind="interval", interval_seconds="60 s")
    text = f"Channel: PJSIP/x\nVariable: TRUNK_SECRET\nValue: {STARS}"
    page = signed_in(planner).post(url, data | {"headers": text.replace("/x", "/y")})
    assert "Somebody else" in str(page.context["adminform"].form.errors)
    assert signed_in(planner).post(url, data | {"headers": text}).status_code == 302
    schedule.refresh_from_db()
    assert (schedule.owner, schedule.hidden_by, schedule.headers_in_clear()) == (planner, engineer, SETVAR)


def test_a_person_who_is_deleted_leaves_hidden_values_that_nobody_may_change() -> None:
    engineer = make_operator("engineer")
    template = template_of(engineer, "Setvar", SETVAR)
    engineer.delete()
    template.refresh_from_db()
    assert template.hidden_by is None
