"""How a schedule stands, in one word: for its page, the list and the list's filter."""

from django.db import models
from django.db.models import Q

from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun


class State(models.TextChoices):
    RUNS = "active", "Runs"
    PAUSED = "paused", "Paused"
    STOPPED = "halted", "Stopped"
    ENDED = "ended", "Ended"


#: The same as `state_of`, for the database.
STATE_IS = {
    State.RUNS: Q(stopped_at=None, enabled=True, next_at__isnull=False),
    State.PAUSED: Q(stopped_at=None, enabled=False),
    State.STOPPED: Q(stopped_at__isnull=False),
    State.ENDED: Q(stopped_at=None, enabled=True, next_at=None),
}

#: Every word that `PlannedRun.state` can say, with its label.
PLANNED_LABELS: dict[str, str] = {
    **{str(value): str(label) for value, label in PlannedRun.Outcome.choices},
    **{str(value): str(label) for value, label in PlannedRun.Result.choices if value},
}


def state_of(schedule: Schedule) -> State:
    """How a schedule stands by itself, whatever the pause of all schedules says."""
    if schedule.stopped_at is not None:
        return State.STOPPED
    if not schedule.enabled:
        return State.PAUSED
    return State.ENDED if schedule.next_at is None else State.RUNS
