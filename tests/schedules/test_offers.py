"""The buttons of a schedule's page: what helps comes first, and nothing that would be refused is offered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.offers import offers
from ami_integration.schedules.pausing import schedules_pause_all
from ami_integration.schedules.planned import PlannedRun
from tests.access.factories import grant, make_person
from tests.actions.factories import RUN_PERMISSIONS
from tests.schedules.asking import button, change, signed_in
from tests.schedules.factories import SCHEDULE_PERMISSIONS, make_planner, make_schedule
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


def shown(user: Any, schedule: Schedule) -> list[str]:
    """The buttons, in their order."""
    found = offers(user=user, schedule=schedule, now=timezone.now())
    return [found.first, *found.names]


def viewer_of(server: Any) -> Any:
    """Somebody who may change schedules, and only look on this server."""
    viewer = make_person("viewer", *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)
    grant(viewer, Danger.READ, on=server)
    return viewer


def stopped(**values: Any) -> Schedule:
    return make_schedule(
        **{"stopped_at": timezone.now(), "stopped_why": "eve left.", "next_at": None} | values
    )


def test_what_helps_comes_first_in_each_state() -> None:
    schedule = make_schedule()
    ada, bob = schedule.owner, make_planner("bob")
    assert shown(ada, schedule) == ["run_now", "pause"]
    assert shown(bob, schedule) == ["run_now", "pause", "take_over"]
    schedule.enabled, schedule.next_at = False, None
    assert shown(ada, schedule) == ["resume", "run_now"]
    assert shown(bob, schedule) == ["resume", "run_now", "take_over"]
    schedule.enabled = True
    assert shown(ada, schedule) == ["run_now"]  # it has ended


def test_of_a_stopped_one_take_over_comes_first_and_resume_is_not_offered() -> None:
    schedule = stopped(owner=None, owner_name="eve")
    bob = make_planner("bob")
    assert shown(bob, schedule) == ["take_over", "run_now"]
    page = signed_in(bob).get(change(schedule)).content.decode()
    assert page.index(">Take over</a>") < page.index(">Run now</a>")
    assert f'class="aw-first" href="{button("take_over", schedule)}"' in page
    assert ">Resume</button>" not in page
    # Its owner takes it over as well: one way for everybody.
    mine = stopped(name="Mine", owner=bob, server=schedule.servers.get())
    assert shown(bob, mine) == ["take_over", "run_now"]
    page = signed_in(bob).get(button("take_over", mine)).content.decode()
    assert "It is yours, and amiweb stopped it." in page
    signed_in(bob).post(button("take_over", mine))
    mine.refresh_from_db()
    assert mine.stopped_at is None and mine.next_at is not None


def test_nothing_is_offered_that_would_be_refused_and_the_page_says_why() -> None:
    berlin = make_server()
    schedule = stopped(owner=None, owner_name="eve", server=berlin, action="QueueReset")
    viewer = viewer_of(berlin)
    assert shown(viewer, schedule) == ["run_now"]
    page = signed_in(viewer).get(change(schedule)).content.decode()
    assert "You can't take it over: " in page and "No access rule lets viewer run QueueReset" in page
    assert ">Take over</a>" not in page and "Take it over" not in page
    paused = make_schedule(
        name="Paused", owner=None, server=berlin, action="QueueReset", enabled=False, next_at=None
    )
    assert shown(viewer, paused) == ["run_now"]
    page = signed_in(viewer).get(change(paused)).content.decode()
    assert "You can't resume it." in page and ">Resume</button>" not in page
    # A page only asks: nobody attempted anything.
    assert not AuditEntry.objects.filter(outcome="refused").exists()


def test_what_has_no_time_left_is_not_offered_to_be_resumed() -> None:
    past = timezone.now() - timedelta(days=1)
    schedule = make_schedule(kind="once", once_at=past, enabled=False, next_at=None)
    assert shown(schedule.owner, schedule) == ["run_now"]
    page = signed_in(schedule.owner).get(change(schedule)).content.decode()
    assert "This moment has passed already" in page


def test_run_now_is_shown_with_the_reason_and_no_link_while_all_are_paused() -> None:
    schedule = make_schedule()
    client = signed_in(schedule.owner)
    asked = client.get(button("run_now", schedule)).content.decode()
    schedules_pause_all(user=schedule.owner, reason="The trunk is down")
    page = client.get(change(schedule)).content.decode()
    assert 'aria-disabled="true" aria-describedby="run-now-why"' in page
    assert f'href="{button("run_now", schedule)}"' not in page
    assert "All schedules are paused, by ada since" in page and "(The trunk is down)" in page
    look = client.get(button("run_now", schedule)).content.decode()
    assert "It can't: All schedules are paused" in look and 'id="confirm-run"' not in look
    _still_refused(client, schedule, asked)


def test_run_now_is_shown_with_the_end_of_the_blackout_that_holds_it() -> None:
    schedule = make_schedule()
    client = signed_in(schedule.owner)
    asked = client.get(button("run_now", schedule)).content.decode()
    hour = timedelta(hours=1)
    now = timezone.now()
    Blackout.objects.create(
        name="The move", starts_at=now - hour, ends_at=now + hour, timezone="Europe/Berlin"
    )
    page = client.get(change(schedule)).content.decode()
    assert 'aria-disabled="true"' in page
    assert "The blackout “The move” holds until " in page and "(Europe/Berlin)" in page
    look = client.get(button("run_now", schedule)).content.decode()
    assert "It can't: The blackout “The move” holds until" in look and 'id="confirm-run"' not in look
    _still_refused(client, schedule, asked)


def _still_refused(client: Any, schedule: Schedule, asked: str) -> None:
    """A page from before, sent now: the server refuses it whatever that page showed."""
    fields = {name: _value(asked, name) for name in ("as_of", "asked")}
    said = client.post(button("run_now", schedule), fields, follow=True).content.decode()
    assert "Nothing was run." in said
    assert not PlannedRun.objects.exists()


def _value(page: str, name: str) -> str:
    return page.split(f'name="{name}" value="')[1].split('"')[0].replace("&#x2B;", "+")


def test_who_may_not_run_it_reads_why_at_the_button() -> None:
    berlin = make_server()
    schedule = make_schedule(server=berlin, action="QueueReset")
    page = signed_in(viewer_of(berlin)).get(change(schedule)).content.decode()
    assert "It can't be run now." in page and "No access rule lets viewer run QueueReset" in page
