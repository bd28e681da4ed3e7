"""What happened between a look and a click: nothing is saved over, run twice, or run elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.urls import reverse

from ami_integration.access.danger import Danger
from ami_integration.access.masking import headers_mask, storable_headers
from ami_integration.actions.models import ActionRun, ActionTemplate
from ami_integration.actions.services import RunRefused
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules import controls, services
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.pausing import schedules_paused
from ami_integration.schedules.planned import PlannedRun
from ami_integration.servers.models import Server, Tag
from tests.access.factories import grant, make_person
from tests.actions.factories import RUN_PERMISSIONS, make_user
from tests.schedules.asking import ADD, LIST, PREVIEW, button, change, errors_of, form, signed_in
from tests.schedules.factories import SCHEDULE_PERMISSIONS, make_planner, make_schedule, server_of
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rung")]
PLANNER = (*RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)


def hidden_field(page: str, name: str) -> str:
    return page.split(f'name="{name}" value="')[1].split('"')[0].replace("&#x2B;", "+")


def text(client: Any, address: str) -> str:
    return str(client.get(address).content.decode())


def nightly(**values: Any) -> Schedule:
    return make_schedule(
        **{
            "action": "QueueReset",
            "headers": [("Queue", "sales")],
            "kind": "crontab",
            "crontab": "30 2 * * *",
            "timezone": "Europe/Berlin",
        }
        | values
    )


# -- the form


def test_a_form_does_not_save_over_what_somebody_did_meanwhile_and_says_who_did_what() -> None:
    schedule = nightly()
    server = server_of(schedule).pk
    ada, bob = signed_in(schedule.owner), signed_in(make_planner("bob"))
    seen = hidden_field(text(ada, change(schedule)), "as_of")
    edit = form(server=server, headers="Queue: support", crontab="0 4 * * *")
    assert bob.post(change(schedule), edit).status_code == 302
    answer = ada.post(change(schedule), form(server=server, name="Renamed", as_of=seen))
    words = errors_of(answer)["__all__"][0]
    assert "bob at" in words and "crontab" in words and "headers" in words
    assert 'value="Renamed"' in answer.content.decode()  # what was typed is kept
    schedule.refresh_from_db()
    assert (schedule.crontab, schedule.owner_name) == ("0 4 * * *", "bob")
    seen = hidden_field(text(ada, change(schedule)), "as_of")
    assert ada.post(change(schedule), edit | {"name": "Renamed", "as_of": seen}).status_code == 302


def test_a_form_that_was_open_does_not_undo_a_pause() -> None:
    schedule = nightly()
    ada = signed_in(schedule.owner)
    seen = hidden_field(text(ada, change(schedule)), "as_of")
    services.schedule_pause(user=make_planner("bob"), schedule=schedule)
    answer = ada.post(change(schedule), form(server=server_of(schedule).pk, as_of=seen))
    assert "(pause)" in errors_of(answer)["__all__"][0]
    assert not Schedule.objects.get().enabled


@pytest.mark.parametrize("moment", ["2026-13-45T00:00:00", "2026-01-01T00:00", "x"])
def test_an_odd_moment_of_the_look_is_refused_and_no_check_is_left_out(moment: str) -> None:
    schedule = nightly()
    client = signed_in(make_planner("bob"))
    answer = client.post(change(schedule), form(server=server_of(schedule).pk, as_of=moment))
    assert "Open it anew" in errors_of(answer)["__all__"][0]
    said = client.post(button("take_over", schedule), {"as_of": moment}, follow=True).content.decode()
    assert "Open it anew" in said
    assert Schedule.objects.get().owner_name == "ada"


@pytest.mark.parametrize("field", ["once_at", "starts_at", "ends_at"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00", "9999-12-31T23:59:00"])
def test_a_year_beyond_the_calendar_is_refused_beside_its_field(field: str, moment: str) -> None:
    client, server = signed_in(make_planner()), make_server()
    values = form(kind="once" if field == "once_at" else "crontab", server=server.pk, **{field: moment})
    values["timezone"] = "America/New_York"
    assert "between 2000 and 2099" in errors_of(client.post(ADD, values))[field][0]
    assert "between 2000 and 2099" in client.post(PREVIEW, values).json()["errors"][field][0]


def make_template(person: Any, headers: list[tuple[str, str]]) -> ActionTemplate:
    return ActionTemplate.objects.create(
        name="Reset",
        action="Setvar",
        payload=json.dumps(headers),
        headers_masked=storable_headers(headers_mask(headers)),
        owner=person,
    )


def test_an_answer_to_a_template_is_hidden_in_the_audit() -> None:
    ada, server = make_user("ada", *PLANNER, "view_actiontemplate"), make_server()
    template = make_template(ada, [("Variable", "x"), ("Secret", "{{pin}}")])
    client = signed_in(ada)
    page = client.get(ADD, {"template": template.pk})
    opened = page.context["adminform"].form
    answer = client.post(
        ADD,
        form(
            server=server.pk,
            action="Setvar",
            headers=opened["headers"].value(),
            kept=opened["kept"].value(),
            template=template.pk,
            var_pin="hunter2",
            unchecked="on",
        ),
    )
    assert answer.status_code == 302, errors_of(answer)
    entry = AuditEntry.objects.get(verb="schedule.add")
    assert entry.what["var_pin"]["to"] == "********"
    assert "hunter2" not in str(entry.what)


def test_a_template_that_changed_after_the_look_does_not_count_as_seen() -> None:
    ada, server = make_user("ada", *PLANNER, "view_actiontemplate"), make_server()
    template = make_template(ada, [("Variable", "x")])
    client = signed_in(ada)
    page = text(client, f"{ADD}?template={template.pk}")
    seen = hidden_field(page, "template_seen")
    template.save()
    values = form(server=server.pk, action="Setvar", headers="Variable: x", template=template.pk)
    answer = client.post(ADD, values | {"template_seen": seen})
    assert "was changed since you opened this page" in errors_of(answer)["__all__"][0]
    template.refresh_from_db()
    seen = template.updated_at.isoformat()
    assert client.post(ADD, values | {"template_seen": seen}).status_code == 302


# -- run now


def asked(client: Any, schedule: Schedule) -> dict[str, str]:
    page = text(client, button("run_now", schedule))
    return {name: hidden_field(page, name) for name in ("as_of", "asked")}


def test_a_confirmation_that_is_sent_twice_runs_once_and_leads_to_the_first_run() -> None:
    schedule = make_schedule()
    client = signed_in(schedule.owner)
    values = asked(client, schedule)
    client.post(button("run_now", schedule), values)
    answer = client.post(button("run_now", schedule), values)
    run = ActionRun.objects.get()
    assert answer.headers["Location"] == reverse("admin:ami_integration_actionrun_change", args=(run.pk,))
    assert PlannedRun.objects.count() == 1
    client.post(button("run_now", schedule), asked(client, schedule))
    assert PlannedRun.objects.count() == 2


def test_what_nobody_confirmed_or_somebody_else_did_is_not_run() -> None:
    schedule = make_schedule()
    client, bob = signed_in(schedule.owner), signed_in(make_planner("bob"))
    for values in ({}, {"asked": "x"}, asked(bob, schedule)):
        said = client.post(button("run_now", schedule), values, follow=True).content.decode()
        assert "It was not confirmed just now" in said
    assert not PlannedRun.objects.exists()


def test_it_runs_on_the_servers_that_were_confirmed_and_on_no_others() -> None:
    tag = Tag.objects.create(name="rhine")
    berlin = make_server()
    berlin.tags.add(tag)
    schedule = make_schedule(tag=tag)
    client = signed_in(schedule.owner)
    values = asked(client, schedule)
    make_server(name="Bonn").tags.add(tag)
    Server.objects.filter(pk=berlin.pk).update(enabled=False)
    said = client.post(button("run_now", schedule), values, follow=True).content.decode()
    assert "Bonn came in and Berlin fell out" in said
    assert not ActionRun.objects.exists()


def test_run_now_asks_the_pause_of_all_under_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_how = []

    def ask(*, lock: bool = False) -> Any:
        asked_how.append(lock)
        return schedules_paused(lock=lock)

    monkeypatch.setattr(controls, "schedules_paused", ask)
    schedule = make_schedule()
    services.schedule_run_now(user=schedule.owner, schedule=schedule)
    assert asked_how == [True]


# -- whose servers


def tagged() -> tuple[Schedule, Any]:
    """A schedule of ada's for a tag of two servers, and bob, who has one of them."""
    tag = Tag.objects.create(name="eu")
    berlin, bonn = make_server(), make_server(name="Bonn")
    berlin.tags.add(tag)
    bonn.tags.add(tag)
    bob = make_person("bob", *PLANNER)
    grant(bob, on=berlin)
    return nightly(tag=tag), bob


def test_nobody_resumes_or_takes_over_a_tag_of_which_they_have_a_part() -> None:
    schedule, bob = tagged()
    services.schedule_pause(user=schedule.owner, schedule=schedule)
    schedule.refresh_from_db()
    for control in (services.schedule_resume, services.schedule_take_over):
        with pytest.raises(RunRefused, match="also runs on servers that you don't see"):
            control(user=bob, schedule=schedule)
    assert not Schedule.objects.get().enabled
    services.schedule_resume(user=schedule.owner, schedule=schedule)


def test_an_edit_does_not_narrow_a_tag_to_the_servers_of_who_edits_it() -> None:
    schedule, bob = tagged()
    answer = signed_in(bob).post(change(schedule), form(name="Renamed", tag="eu"))
    assert "duplicate it" in errors_of(answer)["server"][0]
    schedule.refresh_from_db()
    assert (schedule.name, schedule.owner_name) == ("Nightly", "ada")
    with pytest.raises(RunRefused, match="would be dropped"):
        services.schedule_save(user=bob, schedule=schedule, headers=[("Queue", "sales")])
    own = signed_in(schedule.owner).post(change(schedule), form(name="Renamed", tag="eu"))
    assert own.status_code == 302


def test_a_reason_names_no_server_that_the_reader_does_not_see_though_it_left_the_schedule() -> None:
    berlin, bonn = make_server(), make_server(name="Bonn")
    schedule = make_schedule(servers=[berlin])  # Bonn was taken out since
    PlannedRun.objects.create(
        schedule=schedule,
        planned_at=schedule.created_at,
        outcome="submitted",
        result="succeeded",
        reason="Bonn is disabled.",
    )
    pages = (change(schedule), reverse("schedule_runs", args=(schedule.pk,)))
    viewer = make_person("viewer", "view_schedule")
    grant(viewer, Danger.READ, on=berlin)
    assert not any("Bonn" in text(signed_in(viewer), page) for page in pages)
    grant(viewer, Danger.READ, on=bonn)
    assert all("Bonn is disabled." in text(signed_in(viewer), page) for page in pages)


def test_enabling_what_has_ended_says_that_it_does_nothing() -> None:
    schedule = make_schedule(max_runs=1, runs_counted=1, next_at=None)
    values = {"action": "enable_selected", "_selected_action": [schedule.pk]}
    said = signed_in(schedule.owner).post(LIST, values, follow=True).content.decode()
    assert "1 not enabled" in said and "It has ended" in said
