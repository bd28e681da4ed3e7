"""5,000 schedules of which all go wrong at once: how long each look for alerts takes, which is in the tick.

Once for each kind of alert, with two channels: until all are open, until all are over, and a look that finds
nothing.
"""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from ami_integration.schedules.alerts.models import Alert, AlertDelivery
from ami_integration.schedules.alerts.services import alerts_look
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from tests.bench.bench_schedules import SCHEDULES, SERVERS, make_schedules
from tests.schedules.alerts.factories import make_channel
from tests.schedules.factories import make_planner
from tests.servers.factories import make_server

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def looks(what: str, enough: int, *, closed: bool) -> None:
    """Look until so many alerts are open, or over."""
    seconds: list[float] = []
    while Alert.objects.filter(closed_at__isnull=not closed).count() < enough:
        began = time.perf_counter()
        alerts_look()
        seconds.append(time.perf_counter() - began)
        assert len(seconds) < enough, "the looks come to an end"
    began = time.perf_counter()
    alerts_look()
    idle = time.perf_counter() - began
    print(
        f"{what:24} {len(seconds):3} looks, {sum(seconds):5.1f} s of work, the longest {max(seconds):.2f} s; "
        f"one that finds nothing {idle:.2f} s"
    )


@pytest.mark.parametrize("kind", Alert.Kind.values)
def bench_looks_when_all_go_wrong(kind: str, valkey: object) -> None:
    now = timezone.now()
    servers = [make_server(name=f"PBX {number}") for number in range(SERVERS)]
    make_schedules(servers, make_planner(), now + timedelta(days=1))
    through = Schedule.alert_channels.through
    schedules = list(Schedule.objects.values_list("pk", flat=True))
    for number in range(2):
        channel = make_channel(name=f"Channel {number}")
        through.objects.bulk_create(through(schedule_id=pk, alertchannel_id=channel.pk) for pk in schedules)
    # All are watched in every way, and each has some history.
    Schedule.objects.update(
        alert_failures=3,
        alert_silent_seconds=12 * 3600,
        alert_late_seconds=60,
        last_good_at=now - timedelta(hours=1),
        created_at=now - timedelta(days=90),
        updated_at=now - timedelta(days=90),
        next_at=now + timedelta(days=1),
    )
    PlannedRun.objects.bulk_create(
        PlannedRun(
            schedule_id=pk,
            planned_at=at,
            created_at=at,
            started_at=at,
            finished_at=at,
            outcome="submitted",
            result="failed",
        )
        for pk in schedules
        for at in (now - timedelta(hours=hours) for hours in range(1, 11))
    )
    wrong = {
        "failing": {"failures": 3},
        "silent": {"last_good_at": now - timedelta(days=1)},
        "late": {"next_at": now - timedelta(minutes=5)},
        "stopped": {"stopped_at": now, "stopped_why": "Its owner was deleted."},
    }
    Schedule.objects.update(**wrong[kind])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    print(f"\n{SCHEDULES:,} schedules on {connection.vendor}, all of them {kind}")
    looks("all open", SCHEDULES, closed=False)
    assert AlertDelivery.objects.count() == 2 * SCHEDULES
    if kind == "late":
        PlannedRun.objects.bulk_create(
            PlannedRun(
                schedule_id=pk, planned_at=now, started_at=now, outcome="submitted", result="succeeded"
            )
            for pk in schedules
        )
    well = {
        "failures": 0,
        "last_good_at": timezone.now(),
        "next_at": now + timedelta(days=1),
        "stopped_at": None,
    }
    Schedule.objects.update(**well)
    looks("all over", SCHEDULES, closed=True)
