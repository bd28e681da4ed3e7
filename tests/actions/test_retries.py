"""What is repeated: what is known not to have been carried out, or may be twice; and all of it once."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import Settings

from ami_integration.access.danger import Danger
from ami_integration.actions.models import ActionRun
from ami_integration.actions.preview import Confirm
from ami_integration.actions.retries import fanout_retry_preview, run_retry_preview, runs_to_retry
from ami_integration.actions.services import RunRefused
from ami_integration.actions.snapshots import run_snapshot
from ami_integration.actions.submission import RequestChanged, request_submit
from ami_integration.secrets.encryption import SecretUnreadable
from tests.access.factories import grant, make_person
from tests.actions.asking import make_servers
from tests.actions.factories import make_operator, make_run
from tests.actions.test_submission import end, fanned_out, submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
Status = ActionRun.Status


# -- one run


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.EXPIRED])
def test_a_repetition_is_a_new_run_that_names_the_one_before(status: str) -> None:
    ada = make_operator()
    run = make_run(status=status, headers=[("Secret", "x")], timeout=7.0)
    assert run_snapshot(run)["retryable"]
    retry = submit(ada, run_retry_preview(user=ada, run=run)).run
    assert retry is not None
    assert retry.pk != run.pk
    assert retry.action_id != run.action_id
    assert (retry.retry_of, retry.status, retry.timeout, retry.attempt) == (run, Status.QUEUED, 7.0, 2)
    assert retry.headers_in_clear() == [("Secret", "x")]
    run.refresh_from_db()
    assert run.status == status


@pytest.mark.parametrize(
    ("action", "status"),
    [
        *[("Ping", status) for status in (Status.QUEUED, Status.RUNNING, Status.SUCCEEDED, Status.ERRORED)],
        *[
            (action, Status.UNKNOWN)
            for action in ("Originate", "QueuePause", "Setvar", "SomethingOfTheirOwn")
        ],
    ],
)
def test_what_may_have_been_carried_out_is_not_repeated(action: str, status: str) -> None:
    run = make_run(action=action, status=status)
    assert not run_snapshot(run)["retryable"]
    with pytest.raises(RunRefused, match="may have been carried out"):
        run_retry_preview(user=make_operator(), run=run)
    assert ActionRun.objects.count() == 1


def test_what_is_safe_to_repeat_is_repeated_once_though_nobody_knows() -> None:
    ada = make_operator()
    run = make_run(action="Ping", status=Status.UNKNOWN)
    assert run_snapshot(run)["retryable"]
    preview, same = (run_retry_preview(user=ada, run=run) for _ in range(2))
    assert preview.confirm == Confirm.NONE
    retry = submit(ada, preview).run
    assert retry is not None
    assert (retry.retry_of, retry.action) == (run, "Ping")
    assert not run_snapshot(run)["retryable"]
    with pytest.raises(RequestChanged, match="repeated meanwhile"):
        submit(ada, same)
    with pytest.raises(RunRefused, match=f"repeated before, as run {retry.pk}"):
        run_retry_preview(user=ada, run=run)


def test_whether_an_unknown_request_is_safe_is_judged_by_its_headers() -> None:
    looks, acts = (
        make_run(
            action="Command",
            headers=[("Command", cli)],
            status=Status.UNKNOWN,
            server_name=cli,
            server=server,
        )
        for cli, server in zip(("core show channels", "core restart now"), make_servers(2), strict=True)
    )
    assert run_snapshot(looks)["retryable"]
    assert not run_snapshot(acts)["retryable"]


def test_nobody_repeats_what_he_may_not_run() -> None:
    run = make_run(action="Hangup", status=Status.FAILED)
    viewer = make_person("viewer")
    grant(viewer, Danger.READ, on=run.server)
    preview = run_retry_preview(user=viewer, run=run)
    assert preview.refused
    with pytest.raises(RunRefused, match="No access rule"):
        submit(viewer, preview)
    assert ActionRun.objects.count() == 1


def test_a_run_whose_headers_cannot_be_read_is_not_repeated(settings: Settings) -> None:
    failed, unknown = (
        make_run(status=status, server=server)
        for status, server in zip((Status.FAILED, Status.UNKNOWN), make_servers(2), strict=True)
    )
    settings.AMIWEB_ENCRYPTION_KEYS = {"other": Fernet.generate_key().decode()}
    assert not run_snapshot(unknown)["retryable"]
    for run in (failed, unknown):
        with pytest.raises(SecretUnreadable):
            run_retry_preview(user=make_operator(f"of {run.pk}"), run=run)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", [Status.UNKNOWN, Status.FAILED])
def test_two_who_repeat_one_run_at_the_same_moment_send_it_once(status: str) -> None:
    ada = make_operator()
    run = make_run(action="Ping", status=status)
    refused = _all_at_once(ada, [run_retry_preview(user=ada, run=run).token for _ in range(4)])
    assert len(refused) == 3
    assert ActionRun.objects.filter(retry_of=run).count() == 1


def _all_at_once(user: User, tokens: Sequence[str]) -> list[RequestChanged]:
    """Submit previews at the same moment; returns the refusals."""
    start = threading.Barrier(len(tokens))
    refused: list[RequestChanged] = []

    def retry(token: str) -> None:
        start.wait(10)
        try:
            request_submit(user=user, token=token, confirmed=True)
        except RequestChanged as changed:
            refused.append(changed)
        finally:
            connection.close()

    threads = [threading.Thread(target=retry, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return refused


# -- a fan-out's failed ones


def test_only_the_failed_are_retried_and_never_what_may_have_happened() -> None:
    ada, servers = make_operator(), make_servers(6)
    fanout = fanned_out(ada, servers, action="Originate", headers=[("Channel", "PJSIP/1")])
    for run, status in zip(
        fanout.runs.order_by("pk"), ("failed", "unknown", "succeeded", "errored", "expired"), strict=False
    ):
        if status == "expired":
            ActionRun.objects.filter(pk=run.pk).update(status="expired")
        else:
            end(run, status)
    assert [run.server_name for run in runs_to_retry(fanout=fanout, user=ada)] == ["PBX 0", "PBX 4"]


def test_of_the_unknown_ones_only_what_is_safe_to_repeat_is_retried() -> None:
    ada = make_operator()
    fanout = fanned_out(ada, make_servers(2), action="Ping")
    end(fanout.runs.order_by("pk")[0], "unknown")
    assert [run.server_name for run in runs_to_retry(fanout=fanout, user=ada)] == ["PBX 0"]


def test_a_retry_is_a_fan_out_of_its_own_that_names_the_first_and_happens_once() -> None:
    ada = make_operator()
    fanout = fanned_out(ada, make_servers(3), headers=[("Queue", "sales")])
    fanout.runs.update(timeout=7)
    for run in fanout.runs.order_by("pk")[1:]:
        end(run, "failed")
    preview = fanout_retry_preview(user=ada, fanout=fanout)
    same = fanout_retry_preview(user=ada, fanout=fanout)
    assert [server.name for server in preview.servers] == ["PBX 1", "PBX 2"]
    retry = submit(ada, preview).fanout
    assert retry is not None
    assert retry.retry_of == fanout
    assert {run.timeout for run in retry.runs.all()} == {7}
    assert {run.retry_of.server_name for run in retry.runs.all() if run.retry_of} == {"PBX 1", "PBX 2"}
    with pytest.raises(RequestChanged, match="repeated meanwhile"):
        submit(ada, same)
    with pytest.raises(RunRefused, match="nothing to retry"):
        fanout_retry_preview(user=ada, fanout=fanout)


def test_a_retry_leaves_out_servers_that_the_person_does_not_see() -> None:
    ada, servers = make_operator(), make_servers(2)
    fanout = fanned_out(ada, servers)
    for run in fanout.runs.all():
        end(run, "failed")
    eve = make_person("eve")
    grant(eve, on=servers[0])
    assert fanout_retry_preview(user=eve, fanout=fanout).servers == [servers[0]]


@pytest.mark.django_db(transaction=True)
def test_two_who_retry_at_the_same_moment_send_it_once() -> None:
    ada = make_operator()
    fanout = fanned_out(ada, make_servers(2))
    for run in fanout.runs.all():
        end(run, "failed")
    tokens = [fanout_retry_preview(user=ada, fanout=fanout).token for _ in range(4)]
    refused = _all_at_once(ada, tokens)
    assert len(refused) == 3
    assert ActionRun.objects.filter(retry_of__fanout=fanout).count() == 2
