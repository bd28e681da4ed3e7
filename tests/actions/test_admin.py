"""The action log in the admin, for those who may and those who may not."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.actions.models import ActionRun
from tests.access.factories import grant, make_person
from tests.actions.factories import make_operator, make_run, make_user
from tests.processes import Valkey
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
LIST = reverse("admin:ami_integration_actionrun_changelist")
ADD = reverse("admin:ami_integration_actionrun_add")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(view: str, run: ActionRun) -> str:
    return reverse(f"admin:ami_integration_actionrun_{view}", args=(run.pk,))


def form(**values: Any) -> dict[str, Any]:
    return {"action": "Ping", "headers": "", "action_id": "0" * 32} | values


# -- running something


def test_the_form_leads_to_the_page_of_its_run() -> None:
    client = signed_in(make_operator())
    response = client.post(ADD, form(server=make_server().pk, headers="Note: hello"))
    run = ActionRun.objects.get()
    assert response["Location"] == url("change", run)
    assert (run.username, run.headers_in_clear(), run.action_id) == ("ada", [("Note", "hello")], "0" * 32)


def test_a_link_fills_the_form_in() -> None:
    server = make_server()
    page = signed_in(make_operator()).get(
        ADD, {"server": server.pk, "action": "QueueStatus", "headers": "Queue: a"}
    )
    content = page.content.decode()
    assert re.search(rf'name="server" value="{server.pk}" checked', content)
    assert 'value="QueueStatus"' in content
    assert "Queue: a</textarea>" in content


def test_a_mistake_is_shown_beside_its_field_and_nothing_runs() -> None:
    make_server()
    response = signed_in(make_operator()).post(ADD, form(headers="no header"))
    content = response.content.decode()
    assert "nothing runs without one" in content
    assert "Line 1 is not a header" in content
    assert not ActionRun.objects.exists()


def test_a_form_that_is_sent_twice_leads_to_one_run() -> None:
    client = signed_in(make_operator())
    server = make_server()
    first = client.post(ADD, form(server=server.pk))
    second = client.post(ADD, form(server=server.pk))
    assert second["Location"] == first["Location"]
    assert ActionRun.objects.count() == 1


def test_an_old_form_with_new_content_is_not_taken_for_the_old_run() -> None:
    client = signed_in(make_operator())
    server = make_server()
    client.post(ADD, form(server=server.pk))
    response = client.post(ADD, form(server=server.pk, action="CoreStatus"))
    assert ActionRun.objects.count() == 1
    renewed = response.context["form"]
    assert "sent before" in str(renewed.non_field_errors())
    action_id = renewed.data["action_id"]
    assert (
        client.post(ADD, form(server=server.pk, action="CoreStatus", action_id=action_id)).status_code == 302
    )
    assert ActionRun.objects.count() == 2


def test_without_a_server_the_form_says_what_to_do() -> None:
    make_server(enabled=False)
    assert "Add or enable one" in signed_in(make_operator()).get(ADD).content.decode()


def test_with_the_task_queue_away_the_page_says_what_the_run_waits_for(valkey: Valkey) -> None:
    client = signed_in(make_operator())
    run = make_run(rung_at=None)
    assert "waiting: task queue unreachable" in client.get(url("change", run)).content.decode()


@pytest.mark.parametrize("method", ["get", "post"])
def test_who_may_only_look_runs_nothing(method: str) -> None:
    server = make_server()
    response = getattr(signed_in(make_user("eve", "view_actionrun")), method)(ADD, form(server=server.pk))
    assert response.status_code == 403
    assert not ActionRun.objects.exists()


def test_who_may_run_but_not_look_is_told_so() -> None:
    client = signed_in(make_user("bob", "add_actionrun"))
    response = client.post(ADD, form(server=make_server().pk), follow=True)
    assert "is queued" in response.content.decode()
    assert client.get(url("change", ActionRun.objects.get())).status_code == 403


# -- the page of a run


def test_the_page_of_a_run_shows_all_but_secrets() -> None:
    run = make_run(
        action="QueueAdd",
        headers=[("Secret", "hunter2")],
        headers_masked=[["Secret", "********"]],
        status="succeeded",
        response=[["Response", "Success"]],
        reason="Added </script><b>",
    )
    content = signed_in(make_operator()).get(url("change", run)).content.decode()
    assert "Secret: ********" in content
    assert "hunter2" not in content
    assert "<b>" not in content.partition('id="run"')[0].partition("run-snapshot")[2]


@pytest.mark.parametrize(
    "user", [lambda: make_user("eve"), lambda: make_user("eve", "add_actionrun", "view_server")]
)
def test_a_stranger_sees_no_run_and_no_log(user: Any) -> None:
    client = signed_in(user())
    assert client.get(url("change", make_run())).status_code == 403
    assert client.get(LIST).status_code == 403


def test_nobody_changes_a_run_by_hand() -> None:
    boss = User.objects.create_superuser("boss")
    run = make_run()
    response = signed_in(boss).post(url("change", run), {"status": "succeeded"})
    assert response.status_code == 200
    run.refresh_from_db()
    assert run.status == "queued"


def test_ordinary_staff_delete_no_run() -> None:
    clerk = make_user("bob", "view_actionrun", "add_actionrun", "delete_actionrun")
    assert signed_in(clerk).post(url("delete", make_run()), {"post": "yes"}).status_code == 403
    assert ActionRun.objects.count() == 1


@pytest.mark.parametrize("object_id", ["4711", "nonsense"])
def test_a_run_that_is_not_there_leads_to_the_log(object_id: str) -> None:
    path = reverse("admin:ami_integration_actionrun_change", args=(object_id,))
    response = signed_in(make_operator()).get(path, follow=True)
    assert f"There is no run {object_id}" in response.content.decode()


def test_a_queued_run_is_cancelled_by_its_button() -> None:
    run = make_run()
    client = signed_in(make_operator())
    assert client.get(url("cancel", run)).status_code == 405
    client.post(url("cancel", run))
    run.refresh_from_db()
    assert run.status == "cancelled"


def test_a_failed_run_is_repeated_by_its_button() -> None:
    run = make_run(status="failed")
    response = signed_in(make_operator()).post(url("retry", run))
    retry = ActionRun.objects.get(retry_of=run)
    assert response["Location"] == url("change", retry)
    page = signed_in(make_operator("bob")).get(url("change", run)).content.decode()
    assert f"run {retry.pk}</a>" in page


def test_an_unknown_run_is_not_repeated_even_by_hand() -> None:
    run = make_run(status="unknown", action="Originate")
    client = signed_in(make_operator())
    assert re.search(r'id="run-retry"[^>]* hidden', client.get(url("change", run)).content.decode())
    response = client.post(url("retry", run), follow=True)
    assert "may have been carried out" in response.content.decode()
    assert ActionRun.objects.count() == 1


def test_an_unknown_run_that_is_safe_to_repeat_is_repeated_once_by_its_button() -> None:
    run = make_run(status="unknown", action="Ping")
    client = signed_in(make_operator())
    assert not re.search(r'id="run-retry"[^>]* hidden', client.get(url("change", run)).content.decode())
    response = client.post(url("retry", run))
    assert response["Location"] == url("change", ActionRun.objects.get(retry_of=run))
    assert "repeated before" in client.post(url("retry", run), follow=True).content.decode()
    assert ActionRun.objects.count() == 2
    assert re.search(r'id="run-retry"[^>]* hidden', client.get(url("change", run)).content.decode())


@pytest.mark.parametrize("view", ["cancel", "retry"])
def test_who_may_only_look_neither_cancels_nor_repeats(view: str) -> None:
    run = make_run(status="queued" if view == "cancel" else "failed")
    assert signed_in(make_user("eve", "view_actionrun")).post(url(view, run)).status_code == 403
    assert ActionRun.objects.count() == 1


# -- the log


def test_the_log_is_filtered_by_server_action_status_origin_person_and_time() -> None:
    ada, berlin, bonn = make_operator(), make_server(), make_server(name="Bonn")
    make_run(server=berlin, user=ada, username="ada", action="Ping", status="failed", origin="schedule")
    old = timezone.now() - timedelta(days=30)
    make_run(server=bonn, action="CoreStatus", created_at=old, username="zoe")
    client = signed_in(ada)
    for query in (
        {"server__id__exact": berlin.pk},
        {"action": "Ping"},
        {"status__exact": "failed"},
        {"origin__exact": "schedule"},
        {"username": "ada"},
        {"created_at__gte": timezone.now() - timedelta(days=7)},
        {"q": "ada"},
    ):
        page = client.get(LIST, query)
        assert page.status_code == 200, query
        assert [run.action for run in page.context["cl"].result_list] == ["Ping"], query


def test_the_log_costs_the_same_with_many_runs(django_assert_max_num_queries: Any) -> None:
    ada, server = make_operator(), make_server()
    for _ in range(40):
        make_run(server=server, user=ada)
    client = signed_in(ada)
    with django_assert_max_num_queries(13):
        client.get(LIST)


def test_an_empty_log_says_what_to_do() -> None:
    assert "Ping on any server is a good first one" in signed_in(make_operator()).get(LIST).content.decode()
    page = signed_in(make_operator("bob")).get(LIST, {"status__exact": "failed"}).content.decode()
    assert "Show all runs" in page


@pytest.mark.parametrize("view", ["cancel", "hangup", "retry"])
def test_a_run_on_a_server_that_a_person_does_not_see_is_as_absent_as_none(view: str) -> None:
    berlin, oslo = make_server(), make_server(name="Oslo")
    run = make_run(server=berlin, action="Originate", status="failed" if view == "retry" else "queued")
    stranger, neighbour, viewer = (make_person(name) for name in ("stranger", "neighbour", "viewer"))
    grant(neighbour, on=oslo)
    grant(viewer, Danger.READ, on=berlin)
    before = ActionRun.objects.values().get()
    for person in (stranger, neighbour):
        client = signed_in(person)
        there, never = (
            client.post(reverse(f"admin:ami_integration_actionrun_{view}", args=(pk,)))
            for pk in (run.pk, run.pk + 1)
        )
        assert (there.status_code, never.status_code) == (404, 404), person
    # Who sees it is told that he may not.
    told = signed_in(viewer).post(url(view, run))
    assert told.status_code == (200 if view == "retry" else 403)
    assert ActionRun.objects.values().get() == before
