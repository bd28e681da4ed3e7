"""What was submitted and hasn't begun, when a blackout comes or all schedules are paused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.services import fanout_advance
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.switch import SchedulesPause
from ami_integration.schedules.tick import schedules_tick
from ami_integration.servers.models import Server, Tag
from tests.schedules.factories import make_schedule
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rung")]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def fleet() -> list[Server]:
    return [make_server(name=name) for name in ("Berlin", "Boston", "Lagos")]


def submitted(fleet: list[Server], **values: object) -> Schedule:
    """On three servers, at noon."""
    schedule = make_schedule(servers=fleet, kind="crontab", crontab="0 12 * * *", next_at=NOON, **values)
    assert schedules_tick(now=NOON) == 1
    return schedule


def statuses() -> dict[str, str]:
    return dict(ActionRun.objects.values_list("server_name", "status"))


def window(name: str = "The move", since: datetime = NOON + MINUTE, minutes: int = 60, **of: object) -> None:
    Blackout.objects.create(name=name, starts_at=since, ends_at=since + minutes * MINUTE, **of)


def test_what_waits_for_its_turn_does_not_start_in_a_blackout(fleet: list[Server]) -> None:
    submitted(fleet, mode="serial")
    window()
    first = ActionRun.objects.get(held=False)
    schedules_tick(now=NOON + 30 * SECOND)
    assert set(statuses().values()) == {"queued"}
    ActionRun.objects.filter(pk=first.pk).update(status="succeeded", started_at=NOON, finished_at=NOON)
    schedules_tick(now=NOON + MINUTE)
    assert sorted(statuses().values()) == ["cancelled", "cancelled", "succeeded"]
    fanout = FanOut.objects.get()
    assert fanout_advance(fanout_id=fanout.pk) == 0
    assert fanout.status == FanOut.Status.CANCELLED
    reason = PlannedRun.objects.get().reason
    assert "Not begun on Boston, Lagos: The blackout “The move” holds until 2026-01-31 13:01" in reason
    run = ActionRun.objects.filter(status="cancelled").first()
    assert run is not None
    assert run.reason.startswith("Not begun: The blackout “The move” holds until")
    assert AuditEntry.objects.filter(verb="run.cancel").count() == 2


def test_a_blackout_that_is_made_later_holds_what_is_spread_and_starts_within_it(
    fleet: list[Server],
) -> None:
    submitted(fleet, jitter_seconds=3600)
    first, *_, last = ActionRun.objects.order_by("start_at")
    assert first.start_at is not None
    assert last.start_at is not None
    window(since=NOON, minutes=(last.start_at - NOON) // MINUTE)
    # Until its moment comes the window may be gone again; then it is taken back in time.
    schedules_tick(now=first.start_at - 10 * SECOND)
    assert statuses()[first.server_name] == "queued"
    schedules_tick(now=first.start_at - SECOND)
    assert (statuses()[first.server_name], statuses()[last.server_name]) == ("cancelled", "queued")
    schedules_tick(now=last.start_at)
    assert statuses()[last.server_name] == "queued"  # it lies behind the window


def test_one_of_a_tag_takes_back_its_servers_alone_and_the_others_go_on(fleet: list[Server]) -> None:
    submitted(fleet)
    tag = Tag.objects.create(name="north")
    fleet[0].tags.add(tag)
    window(tag=tag)
    schedules_tick(now=NOON + MINUTE)
    assert statuses() == {"Berlin": "cancelled", "Boston": "queued", "Lagos": "queued"}
    assert FanOut.objects.get().status == FanOut.Status.ACTIVE
    assert "Not begun on Berlin: The blackout" in PlannedRun.objects.get().reason


def test_what_has_begun_and_what_others_submitted_goes_on(fleet: list[Server]) -> None:
    submitted(fleet)
    ActionRun.objects.filter(server=fleet[0]).update(status="running", started_at=NOON)
    other = make_schedule(name="Other", owner=None, server=fleet[1], next_at=None)
    blackout = Blackout.objects.create(name="Other's", scope="some", starts_at=NOON, ends_at=NOON + MINUTE)
    blackout.schedules.add(other)
    schedules_tick(now=NOON + SECOND)
    assert sorted(statuses().values()) == ["queued", "queued", "running"]
    window()
    schedules_tick(now=NOON + 2 * MINUTE)
    assert sorted(statuses().values()) == ["cancelled", "cancelled", "running"]


def test_what_a_pause_of_all_left_behind_is_taken_back_by_the_clock(fleet: list[Server]) -> None:
    """Whoever paused died halfway, for example."""
    submitted(fleet, jitter_seconds=3600)
    switch = SchedulesPause.objects.create(pk=1, paused=True, username="bob", turned_at=timezone.now())
    SchedulesPause.objects.update(turned_at=NOON)
    schedules_tick(now=NOON + SECOND)
    assert set(statuses().values()) == {"queued"}
    schedules_tick(now=NOON + 11 * SECOND)
    assert set(statuses().values()) == {"cancelled"}
    run = ActionRun.objects.first()
    assert run is not None
    assert switch.username in run.reason
