"""5,000 schedules, of which 500 or all are due in the same minute: the tick, the whole way, and the pages.

First the ticks alone, in this process: how long each takes, and how many queries a planned time costs. Then
with beat, ticker and worker: from the planned time to the last submission, and to the last answer. Then the
pages as Django itself serves them, every query included; the first answer doesn't count.
"""

from __future__ import annotations

import json
import statistics
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.taking import schedule_take
from ami_integration.schedules.tick import schedules_tick
from ami_integration.schedules.turn import Tick
from ami_integration.secrets.encryption import Secret
from ami_integration.servers.models import Server
from tests.ami.scripted import Peer, served
from tests.bench import SCALE
from tests.polling import wait_until
from tests.processes import Stack
from tests.schedules.factories import make_planner
from tests.servers.factories import make_server

SCHEDULES = max(50, int(5_000 * SCALE))
DUE = max(5, int(500 * SCALE))
SERVERS = 20
TIMES = 5

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def answers_pings(peer: Peer) -> None:
    peer.log_in()
    while True:
        peer.answer(peer.hear(), "Ping: Pong")


def make_schedules(servers: list[Server], owner: User, due_at: datetime, due: int = DUE) -> None:
    """`due` of them at that moment, the others each at a minute of its own of the day."""
    payload = Secret.from_plain(json.dumps([]))  # one for all: to encrypt takes long
    minutes = [minute for minute in range(24 * 60) if minute != due_at.hour * 60 + due_at.minute]
    rows = []
    for number in range(SCHEDULES):
        other = minutes[number % len(minutes)]
        at = due_at if number < due else due_at.replace(hour=other // 60, minute=other % 60)
        rows.append(
            Schedule(
                name=f"Schedule {number}",
                action="Ping",
                payload=payload,
                kind=Schedule.Kind.CRONTAB,
                crontab=f"{at.minute} {at.hour} * * *",
                timezone="UTC",
                owner=owner,
                owner_name=owner.username,
                next_at=at if at >= due_at else at + timedelta(days=1),
            )
        )
    rows = Schedule.objects.bulk_create(rows, batch_size=500)
    through = Schedule.servers.through
    through.objects.bulk_create(
        (
            through(schedule_id=row.pk, server_id=servers[number % SERVERS].pk)
            for number, row in enumerate(rows)
        ),
        batch_size=1000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def ticks_until(due: int, *, dealt: int = 0) -> None:
    """Tick until all is dealt with, and tell how long that took."""
    seconds: list[float] = []
    already = dealt
    while dealt < due:
        began = time.perf_counter()
        dealt += schedules_tick()
        seconds.append(time.perf_counter() - began)
        assert len(seconds) < 10 * due, "the ticks come to an end"
    print(
        f"{len(seconds)} ticks, {sum(seconds):.1f} s of work: {(due - already) / sum(seconds):.0f} planned "
        f"times/s; the longest tick {max(seconds):.2f} s"
    )
    assert PlannedRun.objects.filter(outcome="submitted").count() == ActionRun.objects.count() == due
    assert PlannedRun.objects.count() == due


def bench_ticks_when_all_are_due_at_midnight(valkey: object) -> None:
    servers = [make_server(name=f"PBX {number}") for number in range(SERVERS)]
    midnight = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    make_schedules(servers, make_planner(), midnight, SCHEDULES)
    Schedule.objects.update(next_at=timezone.now())
    print(f"\n{SCHEDULES:,} schedules on {connection.vendor}, all due at once")
    ticks_until(SCHEDULES)


def bench_ticks_when_many_are_due(valkey: object) -> None:
    servers = [make_server(name=f"PBX {number}") for number in range(SERVERS)]
    due_at = timezone.now().astimezone(UTC).replace(second=0, microsecond=0)
    make_schedules(servers, make_planner(), due_at)
    Schedule.objects.filter(next_at=due_at).update(next_at=timezone.now())
    with CaptureQueriesContext(
        connection,
    ) as captured:
        due = Schedule.objects.due(timezone.now()).values_list("pk", flat=True)[0]
        schedule_take(schedule_id=due, tick=Tick.begin(timezone.now()))
    print(f"\n{SCHEDULES:,} schedules on {connection.vendor}, {DUE} due at once")
    print(f"one planned time: {len(captured)} queries")
    ticks_until(DUE, dealt=1)
    ActionRun.objects.update(status="succeeded", finished_at=timezone.now())
    began = time.perf_counter()
    ticks = 0
    while PlannedRun.objects.open().exists():
        schedules_tick()
        ticks += 1
    print(f"settled by {ticks} ticks in {time.perf_counter() - began:.1f} s")
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        schedules_tick()
        seconds.append(time.perf_counter() - began)
    print(f"a tick with nothing to do: {statistics.median(seconds) * 1000:.1f} ms")


def bench_from_the_planned_time_to_the_last_answer(stack: Stack) -> None:
    for name in ("worker", "ticker", "beat"):
        stack.start(name)
    with ExitStack() as pbxs:
        servers = [
            make_server(pbxs.enter_context(served(answers_pings)), name=f"PBX {number}")
            for number in range(SERVERS)
        ]
        due_at = timezone.now().astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=10)
        make_schedules(servers, make_planner(), due_at)
        # Sooner than that: the clock goes by the column.
        since = timezone.now() + timedelta(seconds=3)
        Schedule.objects.filter(next_at=due_at).update(next_at=since)
        planned = PlannedRun.objects.filter(outcome="submitted", planned_at=since)
        wait_until(lambda: planned.count() >= DUE, seconds=120, what=lambda: stack.log("ticker"), step=0.25)
        done = ActionRun.objects.filter(status="succeeded", planned_runs__planned_at=since)
        wait_until(lambda: done.count() >= DUE, seconds=120, what=lambda: stack.log("worker"), step=0.25)
    submitted = max(planned.values_list("created_at", flat=True)) - since
    ended = max(ended for ended in done.values_list("finished_at", flat=True) if ended) - since
    print(
        f"\n{DUE} of {SCHEDULES:,} due at once, with beat, ticker and worker: all submitted after "
        f"{submitted.total_seconds():.1f} s, all answered after {ended.total_seconds():.1f} s"
    )
    assert planned.count() == done.count() == DUE


def bench_pages_of_schedules(valkey: object) -> None:
    servers = [make_server(name=f"PBX {number}") for number in range(SERVERS)]
    due_at = timezone.now().astimezone(UTC).replace(second=0, microsecond=0) + timedelta(hours=1)
    make_schedules(servers, make_planner(), due_at)
    boss = Client()
    boss.force_login(User.objects.create_superuser("boss"))
    print(f"\n{SCHEDULES:,} schedules on {connection.vendor}")
    for name, address in (
        ("the list", reverse("admin:ami_integration_schedule_changelist")),
        ("the calendar", reverse("schedule_calendar")),
    ):
        seconds = []
        for number in range(TIMES + 1):
            began = time.perf_counter()
            answer = boss.get(address)
            assert answer.status_code == 200, (name, answer)
            if number:
                seconds.append(time.perf_counter() - began)
        print(f"{name:14} {statistics.median(seconds):6.2f} s")
