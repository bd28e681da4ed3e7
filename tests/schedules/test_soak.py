"""Exactly once, whoever dies: two beats, two tickers and three workers over fast schedules, killed at random.

As long as AMIWEB_SOAK_SECONDS says (20 s by default; the issue's figure is 600). What is asserted is counted
on both ends: each planned time has one row, its runs are there once, and no PBX heard an ActionID twice.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.actions.watch import runs_reap, runs_sweep
from ami_integration.schedules import services
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.rules import LATE_OK
from ami_integration.schedules.tick import schedules_tick
from ami_integration.servers.models import Server, Tag
from amiweb.processes import commands
from tests.ami.scripted import Peer, served
from tests.polling import wait_until
from tests.processes import Process, Stack
from tests.schedules.factories import make_planner
from tests.servers.factories import make_server

SECONDS = float(os.environ.get("AMIWEB_SOAK_SECONDS", "20"))
#: Seconds between two kills.
KILL_EVERY = 4.0
#: Of each kind of process, by its names in the herd.
HERD = {
    "worker": ("worker 1", "worker 2", "worker 3"),
    "ticker": ("ticker 1", "ticker 2"),
    "beat": ("beat 1", "beat 2"),
}
SERVERS = 3

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


class Herd:
    """Processes of which any may die at any time, and comes back."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.processes: dict[str, Process] = {}
        self.kinds = {name: kind for kind, names in HERD.items() for name in names}

    def start(self, name: str) -> None:
        kind = self.kinds[name]
        base = commands(port=self.stack.port, simulator_ports=self.stack.simulator_ports)[kind]
        mine = name.replace(" ", "-")
        extra = (
            ["--schedule", str(self.stack.folder / mine)] if kind == "beat" else ["--hostname", f"{mine}@%h"]
        )
        self.processes[name] = Process(
            [*base, *extra], log=self.stack.folder / f"{mine}.log", env=os.environ | self.stack.env
        )

    def log(self, name: str) -> str:
        return Path(self.stack.folder / f"{name.replace(' ', '-')}.log").read_text(errors="replace")

    def kill(self, name: str) -> None:
        self.processes.pop(name).end(signal.SIGKILL)

    def end(self) -> None:
        """End all of them together."""
        for process in self.processes.values():
            process.tell(signal.SIGTERM)
        for process in self.processes.values():
            process.ended()
        self.processes.clear()


@contextmanager
def pbxs(heard: Counter[str]) -> Iterator[list[Server]]:
    """PBXs that answer each Ping, and count by its ActionID what they hear."""

    def answers(peer: Peer) -> None:
        peer.log_in()
        while True:
            action = peer.hear()
            if action.name == "Ping":
                heard[action.action_id or ""] += 1
            peer.answer(action, "Ping: Pong")

    with ExitStack() as stack:
        yield [
            make_server(stack.enter_context(served(answers)), name=f"PBX {number}")
            for number in range(SERVERS)
        ]


def fast_schedules(servers: list[Server]) -> list[Schedule]:
    """One for each second on each server, and one on all of them by their tag."""
    user = make_planner()
    tag = Tag.objects.create(name="all")
    for server in servers:
        server.tags.add(tag)
    values = {"action": "Ping", "kind": "interval", "overlap": "allow", "misfire": "all"}
    single = [
        services.schedule_save(
            user=user,
            schedule=Schedule(name=f"On {server.name}", interval_seconds=1, **values),
            servers=[server],
            headers=[],
        )
        for server in servers
    ]
    fleet = Schedule(name="On all", interval_seconds=2, tag=tag, jitter_seconds=1, **values)
    return [*single, services.schedule_save(user=user, schedule=fleet, headers=[])]


def look_after() -> None:
    """What the listener does every few seconds."""
    runs_sweep()
    runs_reap()


@pytest.mark.soak
def test_every_planned_time_exists_once_whoever_is_killed(stack: Stack) -> None:
    heard: Counter[str] = Counter()
    chance = random.Random(6)  # noqa: S311
    herd = Herd(stack)
    with pbxs(heard) as servers:
        try:
            for name in herd.kinds:
                herd.start(name)
            ready = {name: " ready." for name in herd.kinds if herd.kinds[name] != "beat"}
            for name, words in ready.items():
                wait_until(said(herd, name, words), seconds=60, what=lambda name=name: herd.log(name))  # type: ignore[misc]
            schedules = fast_schedules(servers)
            succeeded = ActionRun.objects.filter(status=ActionRun.Status.SUCCEEDED)
            wait_until(succeeded.exists, seconds=30, what=lambda: herd.log("worker 1"))
            killed: Counter[str] = Counter()
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                victim = chance.choice(list(herd.kinds))
                herd.kill(victim)
                killed[victim] += 1
                herd.start(victim)
                next_kill = time.monotonic() + KILL_EVERY
                while time.monotonic() < min(deadline, next_kill):
                    look_after()
                    time.sleep(1)  # the pace of the killing; nothing is waited for
            for schedule in schedules:
                services.schedule_pause(user=schedule.owner, schedule=schedule)
        finally:
            herd.end()
        # Nobody works any more: what was in progress with the killed and the ended is given up.
        runs_reap(now=timezone.now() + timedelta(hours=1))
        runs_sweep(now=timezone.now() + timedelta(hours=1))
        schedules_tick()
    print(f"killed: {dict(killed)}; {PlannedRun.objects.count()} planned times")
    check(schedules, heard)


def said(herd: Herd, name: str, words: str) -> Callable[[], bool]:
    return lambda: words in herd.log(name)


def check(schedules: list[Schedule], heard: Counter[str]) -> None:
    """Whether every planned time is there once, and went once to each PBX that it was for, at most."""
    seen: list[int] = []
    for schedule in schedules:
        planned = list(schedule.planned_runs.select_related("run", "fanout").order_by("planned_at"))
        step = timedelta(seconds=schedule.interval_seconds or 0)
        times = [one.planned_at for one in planned]
        assert times == [times[0] + step * number for number in range(len(times))], schedule.name
        assert len(times) * step >= timedelta(seconds=SECONDS) - 2 * step
        for one in planned:
            if one.outcome != PlannedRun.Outcome.SUBMITTED:
                assert one.outcome in (PlannedRun.Outcome.MISFIRED, PlannedRun.Outcome.SKIPPED), one
                assert one.reason, one
                continue
            assert one.result, f"{one} was settled"
            runs = [one.run] if one.run is not None else list(one.fanout.runs.all() if one.fanout else [])
            assert len(runs) == (1 if schedule.tag is None else SERVERS), one
            assert {run.action_id for run in runs if run is not None}
            seen += [run.pk for run in runs if run is not None]
            assert one.created_at - one.planned_at < timedelta(seconds=LATE_OK + 30)
    assert len(seen) == len(set(seen)) == ActionRun.objects.count(), "each run belongs to one planned time"
    assert set(heard.values()) == {1}, "no PBX heard anything twice"
    answered = ActionRun.objects.filter(status=ActionRun.Status.SUCCEEDED)
    assert set(answered.values_list("action_id", flat=True)) <= set(heard)
    assert answered.count() > ActionRun.objects.count() / 2
