"""Fan-outs in the admin, for those who may and those who may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from ami_integration.actions.fanout_snapshots import fanout_snapshot
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.ami import new_action_id
from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import Server
from tests.access.factories import grant, make_person
from tests.actions.asking import make_servers, person_on
from tests.actions.factories import make_operator, make_run
from tests.actions.test_request_views import SUBMIT, token_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
LIST = reverse("admin:ami_integration_fanout_changelist")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(view: str, fanout: FanOut) -> str:
    return reverse(f"admin:ami_integration_fanout_{view}", args=(fanout.pk,))


def make_fanout(*statuses: str, servers: list[Server] | None = None, **values: Any) -> FanOut:
    """A fan-out with a run of each of these statuses, each on a server of its own."""
    values = {
        "key": new_action_id(),
        "action": "QueuePause",
        "payload": json.dumps([["Secret", "hunter2"]]),
        "headers_masked": [["Secret", "********"]],
    } | values
    fanout = FanOut.objects.create(**values)
    for server, status in zip(servers or make_servers(len(statuses)), statuses, strict=True):
        make_run(
            server=server, fanout=fanout, action=fanout.action, status=status, reason="So it was. </script>"
        )
    return fanout


def test_the_page_shows_all_but_secrets() -> None:
    fanout = make_fanout("succeeded", "failed")
    content = signed_in(make_operator()).get(url("change", fanout)).content.decode()
    assert "Secret: ********" in content
    assert "hunter2" not in content
    assert "So it was. \\u003C/script\\u003E" in content
    assert "All at once, up to the limit of 20" in content
    assert f"{fanout.created_at:%Y-%m-%d %H:%M:%S} UTC" in content


def test_the_page_counts_and_shows_only_runs_on_servers_that_one_may_see() -> None:
    servers = make_servers(4)
    fanout = make_fanout("succeeded", "failed", "queued", servers=servers[:3])
    ActionRun.objects.filter(fanout=fanout, status="queued").update(held=True)
    viewer = person_on(servers[1], dangers=("read",), username="viewer")
    seen = fanout_snapshot(fanout, user=viewer)
    assert [row["server"] for row in seen["rows"]] == ["PBX 1"]
    summary = seen["summary"]
    assert (summary["total"], summary["ended"], summary["queued"], summary["unseen"]) == (1, 1, 0, True)
    assert summary["counts"] == [{"status": "failed", "label": "Failed", "count": 1}]
    assert "1 of 1" in signed_in(viewer).get(LIST).content.decode()
    for person in (make_person("stranger"), person_on(servers[3], username="elsewhere")):
        nothing = fanout_snapshot(fanout, user=person)
        assert (nothing["rows"], nothing["summary"]["total"]) == ([], 0)
    boss = User.objects.create_superuser("boss")
    everything = fanout_snapshot(fanout, user=boss)["summary"]
    assert (everything["total"], everything["ended"], everything["unseen"]) == (3, 2, False)
    assert "2 of 3" in signed_in(boss).get(LIST).content.decode()


def test_a_retry_is_offered_only_for_servers_that_one_may_choose() -> None:
    servers = make_servers(3)
    fanout = make_fanout("failed", "failed", "failed", servers=servers)
    assert fanout_snapshot(fanout, user=person_on(servers[1]))["summary"]["retryable"] == 1
    assert fanout_snapshot(fanout, user=make_operator())["summary"]["retryable"] == 3


def test_the_snapshot_says_what_a_run_waits_for() -> None:
    fanout = make_fanout("queued", "queued")
    first = fanout.runs.order_by("pk")[0]
    ActionRun.objects.filter(pk=first.pk).update(held=True)
    boss = User.objects.create_superuser("boss")
    rows = fanout_snapshot(fanout, user=boss)["rows"]
    assert [row["reason"] for row in rows] == ["waits for its turn.", "waiting for a worker."]
    steps = [["ringing", "2026-01-01T00:00:00Z", "PJSIP/1"]]
    ActionRun.objects.filter(pk=first.pk).update(held=False, status="running", reason="", call_steps=steps)
    assert fanout_snapshot(fanout, user=boss)["rows"][0]["reason"] == "Ringing."


def test_a_stranger_and_somebody_elsewhere_see_no_fan_out() -> None:
    servers = make_servers(2)
    fanout = make_fanout("failed", servers=servers[:1])
    viewer = person_on(servers[0], dangers=("read",), username="viewer")
    for person, sees in (
        (make_person("stranger"), False),
        (person_on(servers[1], username="elsewhere"), False),
        (viewer, True),
    ):
        client = signed_in(person)
        assert (client.get(url("change", fanout)).status_code == 200) is sees, person
        assert (str(fanout.pk) in [str(one.pk) for one in client.get(LIST).context["cl"].result_list]) is sees


def test_who_may_not_view_runs_gets_no_page() -> None:
    fanout = make_fanout("failed")
    client = signed_in(make_person("clerk", "view_server"))
    assert client.get(url("change", fanout)).status_code == 403
    assert client.get(LIST).status_code == 403


def test_what_is_queued_is_cancelled_by_its_button() -> None:
    fanout = make_fanout("queued", "succeeded")
    client = signed_in(User.objects.create_superuser("boss"))
    assert client.get(url("cancel", fanout)).status_code == 405
    client.post(url("cancel", fanout))
    fanout.refresh_from_db()
    assert fanout.status == "cancelled"
    assert fanout.runs.filter(status="cancelled").count() == 1


@pytest.mark.parametrize("view", ["cancel", "retry"])
def test_a_viewer_neither_cancels_nor_retries(view: str) -> None:
    servers = make_servers(1)
    fanout = make_fanout("queued" if view == "cancel" else "failed", servers=servers)
    viewer = make_person("viewer", "view_actionrun")
    assert signed_in(viewer).post(url(view, fanout)).status_code == 403
    eve = person_on(servers[0], dangers=("read",))
    page = signed_in(eve).post(url(view, fanout), follow=True)
    assert page.status_code == 200
    assert fanout.runs.filter(status="cancelled").count() == 0
    assert ActionRun.objects.count() == 1


def test_a_refused_cancel_of_a_fan_out_is_kept_in_the_audit() -> None:
    servers = make_servers(2)
    fanout = make_fanout("queued", "queued", servers=servers)
    eve = person_on(servers[0])  # may run everything on one of them
    grant(eve, "read", on=servers[1])
    signed_in(eve).post(url("cancel", fanout))
    assert fanout.runs.filter(status="queued").count() == 2
    entry = AuditEntry.objects.get(outcome="refused")
    assert (entry.verb, entry.actor_name, entry.object_id) == (
        "run.cancel",
        "eve",
        str(fanout.runs.get(server=servers[1]).pk),
    )


def test_a_retry_of_the_failed_goes_through_the_preview() -> None:
    fanout = make_fanout("failed", "succeeded", "failed")
    client = signed_in(make_operator())
    page = client.post(url("retry", fanout))
    content = page.content.decode()
    assert "Run on 2 servers" in content
    assert "PBX 1" not in content
    client.post(SUBMIT, {"token": token_of(page), "confirmed": "yes"})
    retry = FanOut.objects.get(retry_of=fanout)
    assert sorted(run.server_name for run in retry.runs.all()) == ["PBX 0", "PBX 2"]
    assert all(run.retry_of_id and run.attempt == 2 for run in retry.runs.all())
    assert "nothing to retry" in client.post(url("retry", fanout), follow=True).content.decode()


def test_a_retry_lends_nobody_elses_hidden_values_to_the_form() -> None:
    ada = make_operator()
    servers = make_servers(2)
    fanout = make_fanout("failed", "failed", servers=servers)
    for whose, lent in ((make_operator("bob"), False), (ada, True)):
        fanout.runs.update(user=whose)
        client = signed_in(ada)
        page = client.post(url("retry", fanout))
        form = client.post(SUBMIT, {"token": token_of(page), "_edit": "Back"})
        assert "Secret: ********</textarea>" in form.content.decode()
        assert ("kept" in form.context["form"].initial) is lent


def test_a_retry_that_somebody_else_was_faster_with_leads_back_and_sends_nothing() -> None:
    fanout = make_fanout("failed", "failed")
    client = signed_in(make_operator())
    slow, fast = client.post(url("retry", fanout)), client.post(url("retry", fanout))
    client.post(SUBMIT, {"token": token_of(fast), "confirmed": "yes"})
    response = client.post(SUBMIT, {"token": token_of(slow), "confirmed": "yes"}, follow=True)
    assert response.redirect_chain[-1][0] == url("change", fanout)
    assert "was repeated meanwhile" in response.content.decode()
    assert ActionRun.objects.count() == 4


def test_a_retry_of_what_only_looks_goes_at_once() -> None:
    fanout = make_fanout("failed", "failed", action="Ping", payload="[]")
    response = signed_in(make_operator()).post(url("retry", fanout))
    assert response["Location"] == url("change", FanOut.objects.get(retry_of=fanout))


def test_the_list_costs_the_same_with_many_fan_outs(django_assert_max_num_queries: Any) -> None:
    servers = make_servers(2)
    for _ in range(20):
        make_fanout("failed", "succeeded", servers=servers)
    client = signed_in(User.objects.create_superuser("boss"))
    with django_assert_max_num_queries(10):
        assert "1 of 2" not in client.get(LIST).content.decode()


def test_an_empty_list_says_what_to_do() -> None:
    assert "tick several servers" in signed_in(make_operator()).get(LIST).content.decode()


def test_a_grave_run_is_not_repeated_without_typing_its_servers_name() -> None:
    run = make_run(action="Reload", status="failed")
    client = signed_in(make_operator())
    page = client.post(reverse("admin:ami_integration_actionrun_retry", args=(run.pk,)))
    assert ActionRun.objects.count() == 1
    client.post(SUBMIT, {"token": token_of(page), "confirmed": "yes", "typed": run.server_name})
    assert ActionRun.objects.get(retry_of=run).attempt == 2
