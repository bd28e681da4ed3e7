"""What runs is what was previewed: on every server that was, and on no other."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from ami_integration.access.models import AccessRule
from ami_integration.actions import services
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.plans import Plan
from ami_integration.actions.preview import Preview
from ami_integration.actions.services import AlreadySubmitted, RunRefused
from ami_integration.actions.submission import (
    FanOutExists,
    NotConfirmed,
    RequestChanged,
    Submitted,
    fanout_cancel,
    request_submit,
    servers_tagged,
)
from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import Server
from tests.access.factories import make_person
from tests.actions.asking import look_at, make_servers, person_on
from tests.actions.factories import make_operator
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


def submit(user: User, preview: Preview, **values: Any) -> Submitted:
    return request_submit(user=user, token=preview.token, **({"confirmed": True} | values))


def fanned_out(user: User, servers: list[Server], action: str = "QueuePause", **values: Any) -> FanOut:
    preview = look_at(user, servers, action, **values)
    fanout = submit(user, preview, typed=preview.phrase).fanout
    assert fanout is not None
    return fanout


def end(run: ActionRun, status: str) -> None:
    run.held = False
    run.save(update_fields=["held"])
    assert ActionRun.objects.claim(run.pk, "w")
    run.refresh_from_db()
    assert run.finish(status, "So it was.")


def test_one_server_becomes_one_run_with_the_action_id_of_the_preview() -> None:
    ada, berlin = make_operator(), make_server()
    preview = look_at(ada, [berlin], headers=[("Queue", "sales")])
    run = submit(ada, preview, address="192.0.2.9").run
    assert run is not None
    assert (run.action_id, run.server, run.address) == (preview.members[0].action_id, berlin, "192.0.2.9")
    assert run.headers_in_clear() == [("Queue", "sales")]
    assert not run.held
    assert not FanOut.objects.exists()


def test_several_become_a_fan_out_with_the_action_ids_of_the_preview(
    django_capture_on_commit_callbacks: Any,
) -> None:
    ada, servers = make_operator(), make_servers(3)
    preview = look_at(ada, servers, plan=Plan(limit=2, stop_after=1))
    with django_capture_on_commit_callbacks(execute=True):
        fanout = submit(ada, preview).fanout
    assert fanout is not None
    runs = list(fanout.runs.order_by("pk"))
    assert [run.action_id for run in runs] == [member.action_id for member in preview.members]
    assert [run.server for run in runs] == servers
    assert [run.held for run in runs] == [False, False, True]
    assert (fanout.limit, fanout.stop_after, fanout.username) == (2, 1, "ada")
    assert runs[0].rung_at is not None
    entry = AuditEntry.objects.get(verb="fanout.submit")
    assert (entry.actor_name, entry.what["servers"]) == ("ada", ["PBX 0", "PBX 1", "PBX 2"])
    assert AuditEntry.objects.filter(verb="run.submit").count() == 3


def test_what_was_sent_twice_runs_once() -> None:
    ada, servers = make_operator(), make_servers(2)
    one, several = look_at(ada, servers[:1]), look_at(ada, servers)
    submit(ada, one)
    submit(ada, several)
    with pytest.raises(AlreadySubmitted):
        submit(ada, one)
    with pytest.raises(FanOutExists):
        submit(ada, several)
    assert ActionRun.objects.count() == 3


# -- the world has moved


def test_a_server_that_joined_or_left_the_tag_is_told_and_nothing_runs() -> None:
    ada, servers = make_operator(), make_servers(3, tag="berlin")
    preview = look_at(ada, servers_tagged(user=ada, tag="berlin"), tag="berlin")
    tag = servers[0].tags.get()
    make_server(name="Newcomer").tags.add(tag)
    servers[1].tags.clear()
    with pytest.raises(RequestChanged) as caught:
        submit(ada, preview)
    assert caught.value.differences == [
        "Since then, Newcomer got the tag berlin.",
        "Since then, PBX 1 lost the tag berlin.",
    ]
    assert not ActionRun.objects.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"enabled": False}, "PBX 1 is disabled"),
        ({"host": "203.0.113.1"}, "was at 192.0.2.1:5038 and is at 203.0.113.1:5038"),
        ({"name": "Other"}, "PBX 1 is called Other now"),
    ],
)
def test_a_server_that_is_not_what_it_was_is_told_and_nothing_runs(
    change: dict[str, Any], words: str
) -> None:
    ada, servers = make_operator(), make_servers(2)
    preview = look_at(ada, servers)
    Server.objects.filter(pk=servers[1].pk).update(**change)
    with pytest.raises(RequestChanged, match=words):
        submit(ada, preview)
    assert not ActionRun.objects.exists()


def test_another_payload_than_the_previewed_one_is_refused_with_the_difference() -> None:
    ada = make_operator()
    preview = look_at(ada, [make_server()], headers=[("Queue", "sales")])
    with pytest.raises(RequestChanged, match="The action was QueuePause and is now QueueAdd"):
        submit(ada, preview, action="QueueAdd")
    with pytest.raises(RequestChanged, match="Headers changed: Paused, Queue"):
        submit(ada, preview, headers=[("Queue", "support"), ("Paused", "1")])
    assert submit(ada, preview, action="QueuePause", headers=[("Queue", "sales")]).run is not None


def test_a_right_that_was_withdrawn_on_one_server_stops_all_and_is_audited() -> None:
    berlin, bonn = make_servers(2)
    eve = person_on(berlin, bonn)
    preview = look_at(eve, [berlin, bonn])
    AccessRule.objects.filter(servers=bonn).update(dangers=["read"])
    with pytest.raises(RunRefused, match="No access rule lets eve run"):
        submit(eve, preview)
    assert not ActionRun.objects.exists()
    entry = AuditEntry.objects.get(outcome=AuditEntry.Outcome.REFUSED)
    assert (entry.actor_name, entry.object_name) == ("eve", "PBX 1")


@pytest.mark.parametrize("switch", ["read_only", "maintenance"])
def test_a_switch_that_was_thrown_meanwhile_holds_for_superusers_too(switch: str) -> None:
    boss, servers = User.objects.create_superuser("boss"), make_servers(2)
    preview = look_at(boss, servers)
    Server.objects.filter(pk=servers[0].pk).update(**{switch: True})
    with pytest.raises(RunRefused, match="read-only|maintenance"):
        submit(boss, preview)
    assert not ActionRun.objects.exists()


def test_a_stranger_cannot_submit_somebody_elses_preview() -> None:
    preview = look_at(make_operator(), [make_server()])
    with pytest.raises(RunRefused, match="somebody else"):
        submit(make_person("stranger"), preview)


# -- confirmation


def test_what_has_to_be_confirmed_once_does_not_run_without() -> None:
    ada = make_operator()
    preview = look_at(ada, [make_server()])
    with pytest.raises(NotConfirmed):
        submit(ada, preview, confirmed=False)
    assert submit(ada, preview).run is not None


@pytest.mark.parametrize("typed", ["", "yes", "PBX 1", "PBX"])
def test_what_has_to_be_typed_is_compared(typed: str) -> None:
    ada = make_operator()
    preview = look_at(ada, make_servers(1), "Reload")
    with pytest.raises(NotConfirmed, match="Type “PBX 0”"):
        submit(ada, preview, typed=typed)
    assert not ActionRun.objects.exists()
    assert submit(ada, preview, typed=" pbx  0 ").run is not None


def test_reading_needs_no_confirmation() -> None:
    ada = make_operator()
    assert submit(ada, look_at(ada, make_servers(9), "Ping"), confirmed=False).fanout is not None


def test_more_servers_than_the_setting_want_their_number_typed(settings: Any) -> None:
    settings.AMIWEB_CONFIRM_SERVERS = 2
    ada, servers = make_operator(), make_servers(3)
    preview = look_at(ada, servers)
    with pytest.raises(NotConfirmed):
        submit(ada, preview)
    assert submit(ada, preview, typed="3 servers").fanout is not None


# -- afterwards


def test_cancelling_takes_back_what_is_queued_and_lets_nothing_more_go() -> None:
    ada = make_operator()
    fanout = fanned_out(ada, make_servers(3), plan=Plan(limit=1))
    services.fanout_advance(fanout_id=fanout.pk)
    first = fanout.runs.order_by("pk")[0]
    assert ActionRun.objects.claim(first.pk, "w")
    assert fanout_cancel(user=ada, fanout=fanout) == 2
    assert AuditEntry.objects.get(verb="fanout.cancel").what["taken_back"] == 2
    fanout.refresh_from_db()
    assert fanout.status == FanOut.Status.CANCELLED
    assert list(fanout.runs.order_by("pk").values_list("status", flat=True)) == [
        "running",
        "cancelled",
        "cancelled",
    ]
    first.refresh_from_db()
    first.finish("succeeded")
    services.run_tell(run_id=first.pk)
    assert fanout_cancel(user=ada, fanout=fanout) == 0


def test_who_may_not_run_anything_cancels_nothing() -> None:
    fanout = fanned_out(make_operator(), make_servers(2))
    with pytest.raises(RunRefused):
        fanout_cancel(user=make_person("viewer", "view_actionrun"), fanout=fanout)
    assert fanout.runs.queued().count() == 2
