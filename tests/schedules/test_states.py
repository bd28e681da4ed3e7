"""How a schedule stands: the word on its page, and the same for the database."""

from __future__ import annotations

from itertools import product

import pytest
from django.utils import timezone

from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.states import PLANNED_LABELS, STATE_IS, State, state_of
from tests.schedules.factories import make_planner, make_schedule
from tests.servers.factories import make_server


@pytest.mark.django_db
def test_the_list_is_filtered_by_the_word_that_it_shows() -> None:
    now, owner, server = timezone.now(), make_planner(), make_server()
    for number, (enabled, next_at, stopped_at) in enumerate(product((True, False), (None, now), (None, now))):
        make_schedule(
            name=str(number),
            owner=owner,
            server=server,
            enabled=enabled,
            next_at=next_at,
            stopped_at=stopped_at,
        )
    for schedule in Schedule.objects.all():
        found = [
            state for state in State if Schedule.objects.filter(STATE_IS[state], pk=schedule.pk).exists()
        ]
        assert found == [state_of(schedule)], schedule.name


def test_every_state_of_a_planned_run_has_a_label() -> None:
    for outcome in PlannedRun.Outcome:
        assert PlannedRun(outcome=outcome).state in PLANNED_LABELS
    for result in PlannedRun.Result:
        assert PlannedRun(outcome="submitted", result=result).state in PLANNED_LABELS
