"""Why planned times ended as they did: on a schedule's page, in its history, in an hour of the calendar."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.actions.models import FanOut
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.whys import whys_shown
from tests.access.factories import grant, make_person
from tests.actions.factories import make_run, make_user
from tests.schedules.asking import change, signed_in
from tests.schedules.factories import make_planner, make_schedule, server_of
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


def failed(schedule: Schedule, hours: int = 1) -> PlannedRun:
    run = make_run(server=server_of(schedule), status="failed", reason="The PBX refused it: No such queue.")
    return PlannedRun.objects.create(
        schedule=schedule,
        planned_at=timezone.now() - timedelta(hours=hours),
        outcome="submitted",
        result="failed",
        run=run,
        reason="Bonn is disabled.",
    )


def test_every_page_says_why_a_run_failed_and_leads_to_it() -> None:
    schedule = make_schedule(kind="crontab", crontab="30 2 * * *", interval_seconds=None)
    planned = failed(schedule)
    client = signed_in(make_user("bob", "view_schedule", "change_schedule", "view_actionrun"))
    hour = f"/admin/schedules/calendar/hour/?at={planned.planned_at:%Y-%m-%dT%H:%M:%SZ}"
    for url in (change(schedule), f"/admin/schedules/{schedule.pk}/runs/", hour):
        page = client.get(url, follow=True).content.decode()
        assert "Berlin: The PBX refused it: No such queue. Bonn is disabled." in page, url
        assert f"/admin/ami_integration/actionrun/{planned.run_id}/change/" in page, url


def test_of_several_servers_each_reason_is_told_once_with_who_gave_it() -> None:
    names = ("Berlin", "Bonn", "Lisbon")
    servers = [make_server(name=name) for name in names]
    schedule = make_schedule(servers=servers)
    fanout = FanOut.objects.create(action="Ping")
    for server, status in zip(servers, ("failed", "failed", "succeeded"), strict=True):
        make_run(
            server=server, status=status, fanout=fanout, reason="No such queue." if status == "failed" else ""
        )
    planned = PlannedRun.objects.create(
        schedule=schedule, planned_at=timezone.now(), outcome="submitted", result="partly", fanout=fanout
    )
    assert whys_shown(make_user("bob", "view_actionrun"), [planned]) == {
        planned.pk: "Berlin, Bonn: No such queue."
    }
    # Nor the reason, nor the name, of what somebody may not see.
    eve = make_person("eve", "view_schedule", "view_actionrun")
    grant(eve, Danger.READ, on=servers[1])
    assert whys_shown(eve, [planned]) == {planned.pk: "Bonn: No such queue."}
    assert whys_shown(make_person("stranger", "view_schedule"), [planned]) == {}


def test_a_page_of_failures_costs_no_more_than_one() -> None:
    schedule, user = make_schedule(), make_planner("bob")

    def cost() -> int:
        rows = list(PlannedRun.objects.all())
        with CaptureQueriesContext(connection) as asked:
            assert len(whys_shown(user, rows)) == len(rows)
        return len(asked)

    failed(schedule)
    whys_shown(user, list(PlannedRun.objects.all()))
    before = cost()
    for hours in range(2, 12):
        failed(schedule, hours)
    assert cost() == before
