"""What one tick of the clock carries through its steps."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.contrib.auth.models import User

from ami_integration.access.services import Rules, rules_of
from ami_integration.actions.services import runs_ring
from ami_integration.schedules.blackouts import Rule, blackouts_load
from ami_integration.schedules.clock import clock_tick
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.rules import BEHIND_OK, LATE_OK

#: Runs that a tick collects before it rings for them.
RING_AT_ONCE = 50


@dataclass
class Tick:
    """What one tick knows, and how long it may go on.

    Attributes:
        now: the moment that it is about.
        since: since when ticks follow each other without a break.
        blackouts: as they were when it began.
        until: when its time is up, by `time.monotonic()`; None: it has no end.
        to_ring: runs that are committed, and that nobody rang for yet.
        misfired: planned times that were missed and don't run.
        owners: whose schedules it took, by their ids, with what they may in general. Workers ask again before
            they send anything.
        rules: their access rules, by the same ids, for the same reason.
    """

    now: datetime
    since: datetime
    blackouts: Sequence[Rule] = ()
    until: float | None = None
    to_ring: list[int] = field(default_factory=list)
    misfired: int = 0
    owners: dict[int, User] = field(default_factory=dict)
    rules: dict[int, Rules] = field(default_factory=dict)

    @classmethod
    def begin(cls, now: datetime, *, until: float | None = None) -> "Tick":
        """Read what is the same for all schedules."""
        return cls(now, clock_tick(now=now), blackouts_load(), until)

    @property
    def missed_before(self) -> datetime:
        """What was due before this moment was missed; what is younger is only late, and runs."""
        return max(self.since - timedelta(seconds=LATE_OK), self.now - timedelta(seconds=BEHIND_OK))

    @property
    def over(self) -> bool:
        """Whether its time is up."""
        return self.until is not None and time.monotonic() >= self.until

    def owner(self, schedule: Schedule) -> User | None:
        """With whose rights a schedule runs."""
        owner = schedule.owner
        return None if owner is None else self.owners.setdefault(owner.pk, owner)

    def rules_of(self, owner: User | None) -> Rules:
        """The access rules of an owner, as they were when this tick first asked."""
        if owner is None:
            return []
        if owner.pk not in self.rules:
            self.rules[owner.pk] = rules_of(user=owner)
        return self.rules[owner.pk]

    def ring(self, *, at_least: int = 1) -> None:
        """Tell the workers of the runs that were collected, if they are as many."""
        if len(self.to_ring) >= at_least:
            runs_ring(run_ids=self.to_ring)
            self.to_ring.clear()
