"""Schedules through real processes: of each two, each planned time once; and beside a PBX that hangs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.actions.services import run_submit
from ami_integration.ami import TCP
from ami_integration.schedules import services
from ami_integration.schedules.clock import Clock
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from amiweb.processes import commands
from tests.ami.scripted import Peer, served
from tests.polling import wait_until
from tests.processes import Process, Stack
from tests.schedules.factories import make_planner
from tests.servers.factories import make_server
from tests.simulator.fixtures import Simulator

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


#: Threads that a server which hangs gets of a worker's 32 (`actions.lanes`).
LANES = 8
MINUTE = timedelta(minutes=1)


def answers_pings(peer: Peer) -> None:
    peer.log_in()
    while True:
        peer.answer(peer.hear(), "Ping: Pong")


def test_two_clocks_and_two_workers_run_each_planned_time_once(stack: Stack) -> None:
    for name in ("worker", "ticker", "beat"):
        stack.start(name)
    # A second of each; each beat keeps its own memory of when it last ticked.
    twins = [
        Process(
            [*commands(port=stack.port, simulator_ports=stack.simulator_ports)[name], *extra],
            log=stack.folder / f"{name}-twin.log",
            env=os.environ | stack.env,
        )
        for name, extra in (
            ("worker", ["--hostname", "twin@%h"]),
            ("ticker", ["--hostname", "ticking-twin@%h"]),
            ("beat", ["--schedule", str(stack.folder / "b")]),
        )
    ]
    try:
        with served(answers_pings) as transport:
            schedule = services.schedule_save(
                user=make_planner(),
                schedule=Schedule(
                    name="Fast", action="Ping", kind="interval", interval_seconds=1, overlap="allow"
                ),
                servers=[make_server(transport)],
                headers=[],
            )
            succeeded = ActionRun.objects.filter(status=ActionRun.Status.SUCCEEDED)
            wait_until(lambda: succeeded.count() >= 8, seconds=60, what=lambda: stack.log("worker"))
            services.schedule_pause(user=schedule.owner, schedule=schedule)
            # What nobody had begun is taken back by the pause.
            unfinished = ActionRun.objects.exclude(status__in=("succeeded", "cancelled"))
            wait_until(lambda: not unfinished.exists(), seconds=30, what="the last runs end")
    finally:
        for twin in twins:
            twin.end()
    planned = list(PlannedRun.objects.order_by("planned_at"))
    assert {one.outcome for one in planned} == {"submitted"}
    times = [one.planned_at for one in planned]
    assert times == [times[0] + timedelta(seconds=number) for number in range(len(times))]
    assert ActionRun.objects.count() == len(planned) == len({one.run_id for one in planned})
    assert set(ActionRun.objects.values_list("origin", "origin_detail")) == {("schedule", "Fast")}
    schedule.refresh_from_db()
    assert schedule.last_good_at is not None
    assert timezone.now() - times[-1] < timedelta(seconds=60)


def test_after_an_outage_each_schedule_runs_as_its_rule_says(stack: Stack) -> None:
    with served(answers_pings) as transport:
        server, owner = make_server(transport), make_planner()
        for misfire in ("skip", "once", "all"):
            services.schedule_save(
                user=owner,
                schedule=Schedule(
                    name=misfire, action="Ping", crontab="* * * * *", timezone="UTC", misfire=misfire
                ),
                servers=[server],
                headers=[],
            )
        Schedule.objects.update(next_at=timezone.now().replace(second=0, microsecond=0) - 15 * MINUTE)
        for name in ("worker", "ticker", "beat"):
            stack.start(name)
        done = ActionRun.objects.filter(status=ActionRun.Status.SUCCEEDED)
        ran = done.filter(origin_detail="all")
        wait_until(lambda: ran.count() >= 10, seconds=90, what=lambda: stack.log("ticker"))
        wait_until(
            lambda: set(done.values_list("origin_detail", flat=True)) >= {"skip", "once"},
            seconds=90,
            what=lambda: stack.log("ticker"),
        )
    newest = Clock.objects.get().unbroken_since.replace(second=0, microsecond=0)
    outage = PlannedRun.objects.filter(planned_at__lte=newest)
    ran_of = {
        name: list(
            outage.filter(schedule__name=name, run__isnull=False)
            .order_by("run__started_at")
            .values_list("planned_at", flat=True)
        )
        for name in ("skip", "once", "all")
    }
    assert ran_of == {
        "skip": [newest],
        "once": [newest],
        "all": [newest - number * MINUTE for number in reversed(range(10))],
    }
    assert set(outage.filter(run=None).values_list("outcome", flat=True)) == {"misfired"}


def test_a_schedule_runs_on_time_while_another_pbx_leaves_20_runs_hanging(
    stack: Stack, make_simulator: Callable[..., Simulator]
) -> None:
    silent, well = make_simulator(), make_simulator()
    silent.hang("Ping")
    silent_server, well_server = (
        make_server(TCP(pbx.host, pbx.port), name=name, username=pbx.username, secret=pbx.secret)
        for name, pbx in (("Silent", silent), ("Well", well))
    )
    for name in ("worker", "ticker", "beat"):
        stack.start(name)
    hanging = [
        run_submit(user=None, origin="command", server=silent_server, action="Ping", headers=[])
        for _ in range(20)
    ]
    wait_until(lambda: silent.blocked_sessions == LANES, seconds=30, what=lambda: stack.log("worker"))
    schedule = services.schedule_save(
        user=make_planner(),
        schedule=Schedule(name="Fast", action="Ping", kind="interval", interval_seconds=1, overlap="allow"),
        servers=[well_server],
        headers=[],
    )
    done = ActionRun.objects.filter(server=well_server, status=ActionRun.Status.SUCCEEDED)
    wait_until(lambda: done.count() >= 6, seconds=20, what=lambda: stack.log("ticker") + stack.log("worker"))
    services.schedule_pause(user=schedule.owner, schedule=schedule)
    for planned in PlannedRun.objects.select_related("run").order_by("planned_at")[:6]:
        assert planned.outcome == PlannedRun.Outcome.SUBMITTED
        assert planned.run is not None
        assert planned.run.finished_at is not None
        assert planned.run.finished_at - planned.planned_at < timedelta(seconds=6)  # three times the promise
    for name, line in (("ticker", "schedules.tick["), ("beat", "Sending due task schedules")):
        assert line not in stack.log(name), "a log that grows by itself"
    assert "actions.execute[" in stack.log("worker")
    assert silent.blocked_sessions == LANES  # it hung all the while, and took no more than its share
    # Whoever ends rings for the next one: nobody sweeps here.
    silent.unhang("Ping")
    silent.kick()
    mine = ActionRun.objects.filter(pk__in=[run.pk for run in hanging])
    ended = mine.exclude(finished_at=None)
    wait_until(lambda: ended.count() == 20, seconds=30, what=lambda: stack.log("worker"))
    assert Counter(mine.values_list("status", flat=True)) == {"unknown": LANES, "succeeded": 20 - LANES}
