"""Who may run, see and stop a run, and what the audit gets to know of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.actions import services
from ami_integration.actions.models import ActionRun
from ami_integration.actions.watch import runs_reap, runs_sweep
from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import Server
from tests.access.factories import grant, make_person
from tests.actions.factories import make_run
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
LIST = reverse("admin:ami_integration_actionrun_changelist")


@pytest.fixture(autouse=True)
def no_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is rung for: these tests end before the task queue."""
    monkeypatch.setattr(services, "run_ring", lambda *, run_id: False)


@pytest.fixture
def server() -> Server:
    return make_server()


@pytest.fixture
def stranger() -> User:
    return make_person("stranger")


@pytest.fixture
def viewer(server: Server) -> User:
    viewer = make_person("viewer")
    grant(viewer, Danger.READ, on=server)
    return viewer


@pytest.fixture
def neighbour() -> User:
    neighbour = make_person("neighbour")
    grant(neighbour, on=make_server(name="Oslo"))
    return neighbour


@pytest.fixture
def operator(server: Server) -> User:
    operator = make_person("operator")
    grant(operator, Danger.READ, Danger.OPERATE, on=server, name="nights")
    return operator


def submit(user: Any, server: Server, action: str = "Hangup", **values: Any) -> ActionRun:
    return services.run_submit(user=user, server=server, action=action, headers=[], **values)


def entry() -> AuditEntry:
    return AuditEntry.objects.latest("pk")


def test_only_who_has_the_right_on_this_server_submits(
    server: Server, operator: User, stranger: User, viewer: User, neighbour: User
) -> None:
    assert submit(operator, server).status == "queued"
    for user in (stranger, viewer, neighbour, None):
        with pytest.raises(services.RunRefused):
            submit(user, server)
    assert submit(viewer, server, "Ping")
    with pytest.raises(services.RunRefused, match="class system"):
        services.run_submit(
            user=operator, server=server, action="Command", headers=[("Command", "core stop now")]
        )


@pytest.mark.parametrize("origin", ActionRun.Origin.values)
def test_no_way_in_goes_round_the_rules(
    server: Server, stranger: User, viewer: User, neighbour: User, origin: str
) -> None:
    for user in (stranger, viewer, neighbour):
        with pytest.raises(services.RunRefused, match="No access rule"):
            submit(user, server, origin=origin)
    assert not ActionRun.objects.exists()


def test_a_switch_is_honoured_at_submit_even_if_the_page_was_older(server: Server) -> None:
    root = User.objects.create_superuser("root")
    Server.objects.update(read_only=True)  # `server` was read before
    with pytest.raises(services.RunRefused, match="read-only"):
        submit(root, server)
    assert submit(root, server, "Ping")
    Server.objects.update(maintenance=True)
    with pytest.raises(services.RunRefused, match="maintenance"):
        submit(root, server, "Ping")


def test_a_run_is_seen_by_who_may_read_its_server(
    server: Server, operator: User, stranger: User, viewer: User, neighbour: User
) -> None:
    run = make_run(server=server, user=operator, username="operator", action="QueuePause")
    page = reverse("admin:ami_integration_actionrun_change", args=(run.pk,))
    for user, sees in ((stranger, False), (neighbour, False), (viewer, True), (operator, True)):
        client = Client()
        client.force_login(user)
        assert ("QueuePause" in client.get(LIST).content.decode()) is sees
        assert (client.get(page).status_code == 200) is sees


# The audit


def test_a_submitted_run_is_told_with_who_where_from_what_and_by_which_rule(
    server: Server, operator: User
) -> None:
    run = services.run_submit(
        user=operator,
        server=server,
        action="QueueAdd",
        headers=[("Queue", "sales"), ("Secret", "hush")],
        origin="api",
        address="192.0.2.9",
    )
    told = entry()
    assert (told.verb, told.outcome, told.actor, told.actor_name) == (
        "run.submit",
        "intent",
        operator,
        "operator",
    )
    assert (told.origin, told.address) == ("api", "192.0.2.9") and run.address == "192.0.2.9"
    assert (told.object_type, told.object_id, told.object_name) == ("run", str(run.pk), "QueueAdd on Berlin")
    assert (told.what["rule"], told.what["danger"]) == ("nights", "operate")
    assert told.what["headers"] == [["Queue", "sales"], ["Secret", "********"]]
    assert "hush" not in str(told.what)


def test_a_refused_attempt_is_told_masked(
    server: Server, stranger: User, viewer: User, neighbour: User
) -> None:
    for user in (stranger, viewer, neighbour):
        with pytest.raises(services.RunRefused):
            services.run_submit(
                user=user,
                server=server,
                action="Setvar",
                headers=[("Variable", "X"), ("Secret", "hush")],
                address="192.0.2.9",
            )
        told = entry()
        assert (told.verb, told.outcome, told.actor) == ("run.submit", "refused", user)
        assert (told.object_type, told.object_name, told.what["rule"]) == ("server", "Berlin", "no rule")
        assert told.address == "192.0.2.9" and "hush" not in str(told.what)
    assert AuditEntry.objects.count() == 3


def test_a_refused_request_of_any_size_leaves_a_small_entry(server: Server, stranger: User) -> None:
    headers = [("X" * 5_000, "y" * 100_000)] * 500
    with pytest.raises(services.RunRefused):
        services.run_submit(user=stranger, server=server, action="Z" * 100_000, headers=headers)
    assert len(entry().what["headers"]) == 128
    assert len(str(entry().what)) < 300_000


def test_a_run_and_its_entry_are_written_together_or_not_at_all(server: Server, operator: User) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        submit(operator, server)
        raise RuntimeError
    assert not AuditEntry.objects.exists() and not ActionRun.objects.exists()


def test_a_form_that_is_sent_twice_is_told_once(server: Server, operator: User) -> None:
    submit(operator, server, action_id="a" * 32)
    with pytest.raises(services.AlreadySubmitted):
        submit(operator, server, action_id="a" * 32)
    assert AuditEntry.objects.count() == 1


def test_how_a_run_ended_is_told(server: Server, operator: User) -> None:
    late = timezone.now() - timedelta(hours=1)
    expired = make_run(server=server, user=operator, username="operator", expires_at=late)
    lost = make_run(server=server, status="running", heartbeat_at=late, worker="w1", username="ada")
    runs_sweep()
    runs_reap()
    told = {one.object_id: one for one in AuditEntry.objects.all()}
    assert len(told) == 2
    assert (told[str(expired.pk)].verb, told[str(expired.pk)].outcome) == ("run.finish", "failed")
    assert told[str(expired.pk)].what["status"] == "expired"
    assert (told[str(lost.pk)].outcome, told[str(lost.pk)].actor_name) == ("unknown", "ada")


# Stopping


def test_who_ran_it_or_could_may_cancel_it_whatever_the_switches_say(
    server: Server, operator: User, stranger: User, viewer: User, neighbour: User
) -> None:
    colleague = make_person("colleague")
    grant(colleague, Danger.OPERATE, on=server)
    Server.objects.update(maintenance=True)
    for user in (stranger, viewer, neighbour):
        run = make_run(server=server, action="Hangup", user=operator, username="operator")
        with pytest.raises(services.RunRefused):
            services.run_cancel(user=user, run=run)
        assert (entry().verb, entry().outcome, entry().actor) == ("run.cancel", "refused", user)
    for user in (operator, colleague, User.objects.create_superuser("root")):
        run = make_run(server=server, action="Hangup", user=operator, username="operator")
        assert services.run_cancel(user=user, run=run, address="192.0.2.9")
        assert (entry().verb, entry().outcome, entry().actor) == ("run.cancel", "done", user)
        assert (entry().object_id, entry().address) == (str(run.pk), "192.0.2.9")


def test_ones_own_run_may_be_cancelled_after_the_rule_is_gone(server: Server, operator: User) -> None:
    run = submit(operator, server)
    operator.groups.clear()
    assert services.run_cancel(user=operator, run=run)


def test_who_may_operate_and_not_read_sees_what_he_ran_and_nothing_else(server: Server, viewer: User) -> None:
    doer = make_person("doer")
    rule = grant(doer, Danger.OPERATE, on=server)
    mine, other = submit(doer, server), submit(viewer, server, "Ping")
    client = Client()
    client.force_login(doer)
    assert set(ActionRun.objects.visible_to(doer)) == {mine}
    page = reverse("admin:ami_integration_actionrun_change", args=(mine.pk,))
    assert client.get(page).status_code == 200
    assert client.get(page.replace(str(mine.pk), str(other.pk))).status_code == 302
    assert set(ActionRun.objects.visible_to(make_person("another"))) == set()

    rule.delete()  # then the server itself is nothing of his any more, and only the way out is left
    assert set(ActionRun.objects.visible_to(doer)) == set()
    for run, status in ((other, 404), (mine, 302)):
        stop = reverse("admin:ami_integration_actionrun_cancel", args=(run.pk,))
        assert (answer := client.post(stop)).status_code == status
    assert answer.headers["Location"] == reverse("admin:ami_integration_actionrun_changelist")
    mine.refresh_from_db()
    assert mine.status == "cancelled"
    doer.user_permissions.remove(Permission.objects.get(codename="view_actionrun"))
    assert client.post(stop).headers["Location"] == reverse("admin:index")


def test_a_call_is_hung_up_by_who_may_start_the_same(
    server: Server, stranger: User, viewer: User, neighbour: User
) -> None:
    caller = make_person("caller")
    grant(caller, Danger.ORIGINATE, on=server)
    run = make_run(server=server, action="Originate", status="running", headers=[["Channel", "PJSIP/1"]])
    for user in (stranger, viewer, neighbour):
        with pytest.raises(services.RunRefused):
            services.call_hang_up(user=user, run=run)
    assert services.call_hang_up(user=caller, run=run)
    assert (entry().verb, entry().outcome) == ("run.hangup", "intent")
    assert not services.call_hang_up(user=caller, run=run)  # asked before


def test_a_run_of_a_server_that_is_gone_is_stopped_by_its_owner_or_a_superuser(
    server: Server, operator: User, neighbour: User
) -> None:
    run = make_run(server=server, user=operator, username="operator")
    server.delete()
    run.refresh_from_db()
    with pytest.raises(services.RunRefused):
        services.run_cancel(user=neighbour, run=run)
    assert services.run_cancel(user=operator, run=run)
