"""The action log: what it tells of a run, how it is filtered, what runs now, and how large it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.access.masking import MASK
from ami_integration.access.models import AccessRule
from ami_integration.actions.consumers import CLOSE_FORBIDDEN, RunningConsumer
from ami_integration.actions.models import ActionRun
from ami_integration.audit.models import AuditEntry
from amiweb.asgi import application
from tests.access.factories import grant, make_person
from tests.actions.factories import make_run
from tests.servers.factories import make_server
from tests.websocket import WebSocket

pytestmark = pytest.mark.django_db
LIST = reverse("admin:ami_integration_actionrun_changelist")
RUNNING = reverse("admin:ami_integration_actionrun_running")
SIZE = reverse("admin:ami_integration_actionrun_size")
WAIT = 15


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def boss() -> User:
    return User.objects.create_superuser("boss")


def reader_of(server: Any, name: str = "vera") -> User:
    person = make_person(name, "view_actionrun")
    grant(person, Danger.READ, on=server)
    return person


def listed(client: Client, **query: Any) -> list[str]:
    page = client.get(LIST, query)
    assert page.status_code == 200, page.headers
    return [run.action for run in page.context["cl"].result_list]


# -- what it tells


def test_each_run_tells_who_from_where_what_and_which_attempt() -> None:
    make_run(
        username="ada",
        address="192.0.2.7",
        attempt=3,
        headers_masked=[["Channel", "PJSIP/100"], ["Secret", MASK]],
        connect_seconds=0.01,
        status="succeeded",
    )
    content = signed_in(boss()).get(LIST).content.decode()
    assert "ada (Admin, 192.0.2.7)" in content
    assert f"Channel: PJSIP/100, Secret: {MASK}; attempt 3" in content


def test_the_page_of_a_run_tells_where_the_time_went() -> None:
    began = timezone.now() - timedelta(seconds=10)
    run = make_run(
        status="succeeded",
        created_at=began,
        started_at=began + timedelta(seconds=2),
        finished_at=began + timedelta(seconds=3),
        connect_seconds=0.125,
        login_seconds=0.25,
        answer_seconds=0.5,
        address="192.0.2.7",
        attempt=2,
    )
    page = signed_in(boss()).get(reverse("admin:ami_integration_actionrun_change", args=(run.pk,)))
    assert page.context["snapshot"]["spent"] == [
        ("queued", 1.625),
        ("connect", 0.125),
        ("login", 0.25),
        ("answer", 0.5),
    ]
    assert "from 192.0.2.7" in page.content.decode()
    assert "<dt>Attempt</dt><dd>2</dd>" in page.content.decode()


def test_a_run_that_a_superuser_deletes_stays_in_the_audit() -> None:
    run = make_run(action="Originate", username="zoe", status="succeeded", response=[("Response", "Success")])
    path = reverse("admin:ami_integration_actionrun_delete", args=(run.pk,))
    assert signed_in(boss()).post(path, {"post": "yes"}).status_code == 302
    assert not ActionRun.objects.exists()
    entry = AuditEntry.objects.get(verb="run.delete")
    assert (entry.actor_name, entry.object_id) == ("boss", str(run.pk))
    assert (entry.what["action"], entry.what["username"]) == ("Originate", "zoe")


# -- filters


def test_the_log_is_cut_to_a_time_from_a_minute_to_a_minute() -> None:
    now = timezone.now()
    server = make_server()
    for hours, action in ((1, "One"), (5, "Five"), (50, "Fifty")):
        make_run(server=server, action=action, created_at=now - timedelta(hours=hours))
    client = signed_in(boss())

    def at(hours: float) -> str:
        return f"{timezone.localtime(now - timedelta(hours=hours)):%Y-%m-%dT%H:%M}"

    assert listed(client, created_at__gte=at(6)) == ["Five", "One"]
    assert listed(client, created_at__gte=at(6), created_at__lt=at(2)) == ["Five"]
    assert listed(client, created_at__gte="", created_at__lt=at(6)) == ["Fifty"]
    page = client.get(LIST, {"created_at__gte": at(6)})
    assert f'value="{at(6)}"' in page.content.decode(), "the form shows what is chosen"


def test_the_links_of_the_time_filter_do_what_they_say() -> None:
    server = make_server()
    make_run(server=server, action="Old", created_at=timezone.now() - timedelta(hours=30))
    make_run(server=server, action="New")
    client = signed_in(boss())
    page = client.get(LIST, {"action": "New"})
    (spec,) = [spec for spec in page.context["cl"].filter_specs if spec.title == "time"]
    choices = {choice["display"]: choice["query_string"] for choice in spec.choices(page.context["cl"])}
    page = client.get(LIST + choices["Past 24 hours"])
    assert [run.action for run in page.context["cl"].result_list] == ["New"]


def test_a_time_that_is_none_leads_back_to_the_log() -> None:
    response = signed_in(boss()).get(LIST, {"created_at__gte": "yesterday"})
    assert (response.status_code, response["Location"]) == (302, f"{LIST}?e=1")


def test_filters_offer_only_what_is_in_the_runs_that_one_may_see() -> None:
    berlin, bonn = make_server(), make_server(name="Bonn")
    make_run(server=berlin, username="ada", action="Ping")
    make_run(server=bonn, username="zoe", action="CoreStatus")
    client = signed_in(reader_of(berlin))
    content = client.get(LIST).content.decode()
    assert "Bonn" not in content
    assert "zoe" not in content
    assert "CoreStatus" not in content
    assert listed(client) == ["Ping"]


def test_runs_of_nobody_are_found_under_a_name_that_can_be_read() -> None:
    server = make_server()
    make_run(server=server, action="Cron")
    make_run(server=server, action="Ping", username="ada")
    client = signed_in(boss())
    page = client.get(LIST)
    (spec,) = [spec for spec in page.context["cl"].filter_specs if spec.title == "person"]
    choices = {choice["display"]: choice["query_string"] for choice in spec.choices(page.context["cl"])}
    assert set(choices) == {"All", "ada", "nobody (the command line)"}
    page = client.get(LIST + choices["nobody (the command line)"])
    assert [run.action for run in page.context["cl"].result_list] == ["Cron"]


def test_the_log_is_searched_by_address() -> None:
    server = make_server()
    make_run(server=server, address="192.0.2.7", action="Here")
    make_run(server=server, address="198.51.100.1", action="There")
    assert listed(signed_in(boss()), q="192.0.2.7") == ["Here"]


# -- what runs now


def test_the_page_of_what_runs_now_shows_what_is_not_over_and_what_has_just_ended() -> None:
    now, server = timezone.now(), make_server()
    make_run(server=server, action="Waits", rung_at=None)
    make_run(server=server, action="Runs", status="running", started_at=now)
    make_run(server=server, action="Ended", status="failed", finished_at=now, reason="No such channel")
    make_run(server=server, action="Long ago", status="failed", finished_at=now - timedelta(hours=1))
    snapshot = signed_in(boss()).get(RUNNING).context["snapshot"]
    assert (snapshot["running"], snapshot["waiting"]) == (1, 1)
    assert [row["action"] for row in snapshot["rows"]] == ["Runs", "Waits"]
    assert "task queue unreachable" in snapshot["rows"][1]["words"]
    assert [(row["action"], row["words"]) for row in snapshot["ended"]] == [("Ended", "No such channel")]


def test_a_call_that_rings_says_so_there() -> None:
    steps = [["dialling", timezone.now().isoformat(), "PJSIP/1"], ["ringing", timezone.now().isoformat(), ""]]
    make_run(action="Originate", status="running", started_at=timezone.now(), call_steps=steps)
    assert signed_in(boss()).get(RUNNING).context["snapshot"]["rows"][0]["label"] == "Ringing"


def test_nobody_sees_there_what_runs_on_servers_of_others() -> None:
    berlin, bonn = make_server(), make_server(name="Bonn")
    make_run(server=berlin, action="Ping")
    make_run(server=bonn, action="CoreStatus")
    make_run(server=bonn, action="CoreStatus", status="failed", finished_at=timezone.now())
    snapshot = signed_in(reader_of(berlin)).get(RUNNING).context["snapshot"]
    assert (snapshot["waiting"], [row["action"] for row in snapshot["rows"]]) == (1, ["Ping"])
    assert snapshot["ended"] == []
    assert signed_in(make_person("eve", "view_actionrun")).get(RUNNING).context["snapshot"]["waiting"] == 0


@pytest.mark.parametrize("path", [RUNNING, SIZE])
def test_without_the_permission_to_view_runs_there_is_no_page(path: str) -> None:
    person = make_person("eve", "view_server")
    grant(person)
    assert signed_in(person).get(path).status_code == 403


def test_a_crowd_is_counted_and_not_all_of_it_shown(
    monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr("ami_integration.actions.snapshots.ROWS", 5)
    server = make_server()
    for _ in range(9):
        make_run(server=server)
    client = signed_in(boss())
    with django_assert_max_num_queries(9):
        snapshot = client.get(RUNNING).context["snapshot"]
    assert (snapshot["waiting"], len(snapshot["rows"])) == (9, 5)


# -- its WebSocket


def cookie_of(user: User) -> str:
    return str(signed_in(user).cookies[settings.SESSION_COOKIE_NAME].value)


def socket(cookie: str = "") -> WebSocket:
    cookies = {settings.SESSION_COOKIE_NAME: cookie} if cookie else None
    return WebSocket(application, "/ws/runs/", cookies=cookies)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("valkey")
async def test_the_page_of_what_runs_now_hears_of_what_begins_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RunningConsumer, "look_again", 0.05)
    server = await sync_to_async(make_server)()
    page = socket(await sync_to_async(cookie_of)(await sync_to_async(reader_of)(server)))
    assert await page.connect(WAIT)
    assert (await page.receive(WAIT))["rows"] == []
    run = await sync_to_async(make_run)(server=server)
    assert [row["id"] for row in (await page.receive(WAIT))["rows"]] == [str(run.pk)]
    await sync_to_async(ActionRun.objects.cancel)(run.pk, "Cancelled by bob.")
    snapshot = await page.receive(WAIT)
    assert (snapshot["rows"], [row["words"] for row in snapshot["ended"]]) == ([], ["Cancelled by bob."])
    await page.disconnect(WAIT)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("valkey")
async def test_who_may_not_see_the_log_is_not_told_what_runs() -> None:
    assert not await socket().connect(WAIT)
    person = await sync_to_async(make_person)("eve", "view_server")
    assert not await socket(await sync_to_async(cookie_of)(person)).connect(WAIT)


def withdraw_permission(user: User) -> None:
    user.user_permissions.clear()


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("valkey")
@pytest.mark.parametrize("lose", [withdraw_permission, deactivate])
async def test_who_loses_the_right_is_told_no_more(
    lose: Callable[[User], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunningConsumer, "look_again", 0.05)
    server = await sync_to_async(make_server)()
    vera = await sync_to_async(reader_of)(server)
    page = socket(await sync_to_async(cookie_of)(vera))
    assert await page.connect(WAIT)
    await page.receive(WAIT)
    await sync_to_async(lose)(vera)
    assert await page.close_code(WAIT) == CLOSE_FORBIDDEN


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("valkey")
async def test_a_server_that_one_may_see_no_more_disappears_from_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RunningConsumer, "look_again", 0.05)
    server = await sync_to_async(make_server)()
    await sync_to_async(make_run)(server=server)
    page = socket(await sync_to_async(cookie_of)(await sync_to_async(reader_of)(server)))
    assert await page.connect(WAIT)
    assert (await page.receive(WAIT))["waiting"] == 1
    await sync_to_async(AccessRule.objects.all().delete)()
    assert (await page.receive(WAIT))["waiting"] == 0
    await page.disconnect(WAIT)


# -- its size


def test_the_size_of_the_log_is_shown_with_its_settings() -> None:
    make_run(status="succeeded", finished_at=timezone.now(), response=[("Response", "Success")])
    content = signed_in(boss()).get(SIZE).content.decode()
    assert "Today it holds 1 run;" in content
    assert "90 days" in content
    assert "30 days" in content
    assert "AMIWEB_RUN_RETENTION_DAYS" in content


def test_the_size_counts_only_runs_that_one_may_see() -> None:
    berlin, bonn = make_server(), make_server(name="Bonn")
    make_run(server=berlin)
    make_run(server=bonn)
    assert "Today it holds 1 run;" in signed_in(reader_of(berlin)).get(SIZE).content.decode()
