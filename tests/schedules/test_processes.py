"""A schedule through real processes: two clocks, two workers, each planned time once."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.schedules import services
from ami_integration.schedules.models import PlannedRun, Schedule
from amiweb.processes import commands
from tests.ami.scripted import Peer, scripted
from tests.polling import wait_until
from tests.processes import Process, Stack
from tests.schedules.factories import make_planner
from tests.servers.factories import make_server

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def answers_pings(peer: Peer) -> None:
    peer.log_in()
    peer.answer(peer.hear(), "Ping: Pong")
    peer.hear()


def test_two_clocks_and_two_workers_run_each_planned_time_once(stack: Stack) -> None:
    stack.start("worker")
    stack.start("beat")
    # A second beat and a second worker; each beat keeps its own memory of when it last ticked.
    twins = [
        Process(
            [*commands(port=stack.port, simulator_ports=stack.simulator_ports)[name], *extra],
            log=stack.folder / f"{name}-twin.log",
            env=os.environ | stack.env,
        )
        for name, extra in (
            ("worker", ["--hostname", "twin@%h"]),
            ("beat", ["--schedule", str(stack.folder / "b")]),
        )
    ]
    try:
        with scripted(*[answers_pings] * 60) as transport:
            schedule = services.schedule_save(
                user=make_planner(),
                schedule=Schedule(
                    name="Fast",
                    server=make_server(transport),
                    action="Ping",
                    kind="interval",
                    interval_seconds=1,
                ),
                headers=[],
            )
            succeeded = ActionRun.objects.filter(status=ActionRun.Status.SUCCEEDED)
            wait_until(lambda: succeeded.count() >= 8, seconds=60, what=lambda: stack.log("worker"))
            schedule.enabled = False
            services.schedule_save(user=schedule.owner, schedule=schedule, headers=[])
            unfinished = ActionRun.objects.exclude(status=ActionRun.Status.SUCCEEDED)
            wait_until(lambda: not unfinished.exists(), seconds=30, what="the last runs end")
    finally:
        for twin in twins:
            twin.end()
    planned = list(PlannedRun.objects.order_by("planned_at"))
    assert {one.outcome for one in planned} == {"submitted"}
    times = [one.planned_at for one in planned]
    assert times == [times[0] + timedelta(seconds=number) for number in range(len(times))]
    assert ActionRun.objects.count() == len(planned) == len({one.run_id for one in planned})
    assert set(ActionRun.objects.values_list("status", "origin", "origin_detail")) == {
        ("succeeded", "schedule", "Fast")
    }
    assert timezone.now() - times[-1] < timedelta(seconds=60)
