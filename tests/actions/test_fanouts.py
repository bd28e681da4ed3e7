"""The order of a fan-out: what it lets go, when it stops, and that nothing is let go twice."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from ami_integration.actions import services
from ami_integration.actions.fanouts import fanout_release, fanout_tally
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.plans import Mode
from ami_integration.actions.watch import run_expire, runs_reap, runs_sweep
from ami_integration.ami import new_action_id
from ami_integration.audit.models import AuditEntry
from tests.actions.factories import make_run
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


def make_fanout(count: int = 4, **values: Any) -> FanOut:
    """A fan-out on that many servers, everything held back."""
    fanout = FanOut.objects.create(key=new_action_id(), action="Ping", payload=json.dumps([]), **values)
    for number in range(count):
        make_run(server=make_server(name=f"PBX {number}"), fanout=fanout, held=True, rung_at=None)
    return fanout


def held(fanout: FanOut) -> list[bool]:
    return list(fanout.runs.order_by("pk").values_list("held", flat=True))


def end(fanout: FanOut, number: int, status: str) -> ActionRun:
    """Let one run end, as a worker does, and look at its fan-out."""
    run = fanout.runs.order_by("pk")[number]
    assert ActionRun.objects.claim(run.pk, "w")
    run.refresh_from_db()
    assert run.finish(status, "So it was.")
    services.run_tell(run_id=run.pk)
    fanout.refresh_from_db()
    return run


def statuses(fanout: FanOut) -> list[str]:
    return list(fanout.runs.order_by("pk").values_list("status", flat=True))


def test_parallel_lets_as_many_go_as_its_limit_says_and_one_more_for_each_that_ends() -> None:
    fanout = make_fanout(limit=2)
    assert services.fanout_advance(fanout_id=fanout.pk) == 2
    assert held(fanout) == [False, False, True, True]
    assert services.fanout_advance(fanout_id=fanout.pk) == 0
    end(fanout, 1, "failed")
    assert held(fanout) == [False, False, False, True]
    for number in (0, 2, 3):
        end(fanout, number, "succeeded")
    assert fanout.status == FanOut.Status.FINISHED
    assert fanout.finished_at is not None


def test_serial_goes_one_by_one_over_a_failure() -> None:
    fanout = make_fanout(3, mode=Mode.SERIAL, limit=10)
    services.fanout_advance(fanout_id=fanout.pk)
    assert held(fanout) == [False, True, True]
    end(fanout, 0, "failed")
    assert held(fanout) == [False, False, True]


def test_the_rest_follows_when_the_first_one_succeeded() -> None:
    fanout = make_fanout(mode=Mode.FIRST_THEN_REST)
    services.fanout_advance(fanout_id=fanout.pk)
    assert held(fanout) == [False, True, True, True]
    end(fanout, 0, "succeeded")
    assert held(fanout) == [False] * 4


@pytest.mark.parametrize("status", ["failed", "unknown", "errored"])
def test_the_rest_is_not_tried_when_the_first_one_did_not_succeed(status: str) -> None:
    fanout = make_fanout(3, mode=Mode.FIRST_THEN_REST)
    services.fanout_advance(fanout_id=fanout.pk)
    end(fanout, 0, status)
    assert statuses(fanout) == [status, "cancelled", "cancelled"]
    assert fanout.status == FanOut.Status.STOPPED
    assert f"the first one ended {status}" in fanout.reason.lower()
    assert "PBX 0" not in fanout.reason  # it is for everybody who sees any of the runs
    assert fanout.runs.order_by("pk").last().reason.startswith("Not sent")


def test_it_stops_after_so_many_failures_and_takes_back_what_no_worker_has_begun() -> None:
    fanout = make_fanout(6, limit=4, stop_after=2)
    services.fanout_advance(fanout_id=fanout.pk)
    end(fanout, 0, "failed")
    assert fanout.status == FanOut.Status.ACTIVE
    assert ActionRun.objects.claim(fanout.runs.order_by("pk")[2].pk, "w")
    end(fanout, 1, "unknown")
    assert statuses(fanout) == ["failed", "unknown", "running", "cancelled", "cancelled", "cancelled"]
    assert "after 2 failures" in fanout.reason


def test_a_failure_of_the_last_ones_ends_it_as_finished() -> None:
    fanout = make_fanout(2, stop_after=1)
    services.fanout_advance(fanout_id=fanout.pk)
    run = fanout.runs.order_by("pk")[0]
    assert ActionRun.objects.claim(run.pk, "w")
    end(fanout, 1, "failed")
    assert fanout.status == FanOut.Status.ACTIVE
    run.refresh_from_db()
    run.finish("succeeded")
    services.run_tell(run_id=run.pk)
    fanout.refresh_from_db()
    assert fanout.status == FanOut.Status.FINISHED


def test_what_is_held_back_is_neither_claimed_nor_expired_nor_rung_for() -> None:
    fanout = make_fanout(2, mode=Mode.SERIAL)
    later = timezone.now() + timedelta(hours=1)
    services.fanout_advance(fanout_id=fanout.pk)
    last = fanout.runs.order_by("pk")[1]
    assert not ActionRun.objects.claim(last.pk, "w")
    assert not run_expire(run_id=last.pk, now=later)


def test_its_time_in_the_queue_begins_when_its_turn_has_come() -> None:
    fanout = make_fanout(1)
    fanout.runs.update(expires_at=timezone.now() - timedelta(seconds=1))
    services.fanout_advance(fanout_id=fanout.pk)
    assert fanout.runs.get().expires_at > timezone.now() + timedelta(seconds=200)


def test_with_no_worker_at_all_it_stops_instead_of_sending_hours_later() -> None:
    fanout = make_fanout(6, limit=2)
    services.fanout_advance(fanout_id=fanout.pk)
    later = timezone.now() + timedelta(seconds=301)
    assert runs_sweep(now=later) >= 2
    fanout.refresh_from_db()
    assert statuses(fanout) == ["expired"] * 2 + ["cancelled"] * 4
    assert fanout.status == FanOut.Status.STOPPED
    assert "before a worker took them" in fanout.reason


def test_one_run_that_expires_does_not_stop_the_others() -> None:
    fanout = make_fanout(3, limit=2)
    services.fanout_advance(fanout_id=fanout.pk)
    later = timezone.now() + timedelta(seconds=301)
    run_expire(run_id=fanout.runs.order_by("pk")[0].pk, now=later)
    assert held(fanout) == [False, False, False]


def test_the_sweep_goes_on_with_a_fan_out_that_nobody_looked_at() -> None:
    fanout = make_fanout(2, mode=Mode.SERIAL)
    fanout_release(fanout_id=fanout.pk)
    run = fanout.runs.order_by("pk")[0]
    ActionRun.objects.claim(run.pk, "w")
    run.refresh_from_db()
    run.finish("succeeded")  # and here its worker was killed
    runs_sweep()
    assert held(fanout) == [False, False]


def test_a_run_that_is_reaped_lets_the_next_one_go() -> None:
    fanout = make_fanout(2, mode=Mode.SERIAL)
    services.fanout_advance(fanout_id=fanout.pk)
    first = fanout.runs.order_by("pk")[0]
    ActionRun.objects.claim(first.pk, "w", now=timezone.now() - timedelta(seconds=100))
    assert runs_reap() == 1
    assert statuses(fanout)[0] == "unknown"
    assert held(fanout) == [False, False]


def test_a_fan_out_that_is_over_lets_nothing_go() -> None:
    fanout = make_fanout(2, status=FanOut.Status.CANCELLED)
    assert fanout_release(fanout_id=fanout.pk).run_ids == ()
    assert held(fanout) == [True, True]


def test_the_tally_counts_what_is_held_apart() -> None:
    fanout = make_fanout(4, limit=2)
    services.fanout_advance(fanout_id=fanout.pk)
    end(fanout, 0, "succeeded")
    tally = fanout_tally(fanout=fanout)
    assert (tally.total, tally.ended, tally.in_progress, tally.held, tally.failed) == (4, 1, 2, 1, 0)


@pytest.mark.django_db(transaction=True)
def test_two_who_look_at_the_same_moment_let_nothing_go_twice() -> None:
    fanout = make_fanout(8, limit=3)
    released: list[int] = []
    start = threading.Barrier(4)

    def look() -> None:
        start.wait(10)
        released.extend(fanout_release(fanout_id=fanout.pk).run_ids)
        connection.close()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(released) == len(set(released)) == 3
    assert held(fanout).count(False) == 3


def entries(fanout: FanOut) -> list[tuple[str, str, str]]:
    """Verb, outcome and who, of what the audit tells of a fan-out and of its runs, in its order."""
    runs = [str(pk) for pk in fanout.runs.values_list("pk", flat=True)]
    about = Q(object_type="fanout", object_id=fanout.pk) | Q(object_type="run", object_id__in=runs)
    found = AuditEntry.objects.filter(about).order_by("pk")
    return [(entry.verb, entry.outcome, entry.actor_name) for entry in found]


def test_the_audit_tells_of_what_a_stop_takes_back_and_of_the_stop() -> None:
    fanout = make_fanout(3, mode=Mode.SERIAL, stop_after=1)
    services.fanout_advance(fanout_id=fanout.pk)
    end(fanout, 0, "failed")
    told = entries(fanout)
    assert told.count(("run.cancel", "done", "")) == 2
    assert told[-1] == ("fanout.stop", "failed", fanout.username)
    what = AuditEntry.objects.get(verb="fanout.stop").what
    assert (what["taken_back"], what["failed"]) == (2, 1)
    assert what["reason"] == fanout.reason


@pytest.mark.parametrize(("last", "outcome"), [("succeeded", "done"), ("failed", "failed")])
def test_the_audit_tells_how_a_fan_out_ended(last: str, outcome: str) -> None:
    fanout = make_fanout(2)
    services.fanout_advance(fanout_id=fanout.pk)
    end(fanout, 0, "succeeded")
    end(fanout, 1, last)
    assert entries(fanout)[-1] == ("fanout.finish", outcome, fanout.username)
