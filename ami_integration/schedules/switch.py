"""The switch that keeps every schedule from starting anything, as it is stored; `pausing` turns it.

It remembers when it was turned before: what was planned for a pause doesn't run, even if the clock was down
all through it and finds the pause over. The row keeps that itself, since the tick must read both as of one
moment.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import models
from django.utils.timezone import now as now_utc

#: Earlier pauses that are remembered, the newest ones.
REMEMBERED = 100


@dataclass(frozen=True)
class Paused:
    """One time that all schedules were paused; the moment of its end isn't part of it.

    Attributes:
        until: None: they still are.
    """

    since: datetime
    until: datetime | None
    username: str
    reason: str

    @property
    def sentence(self) -> str:
        """For the record of what didn't run."""
        why = f": {self.reason}" if self.reason else ""
        return f"Not run: all schedules were paused by {self.username}{why}."


class SchedulesPause(models.Model):
    """The switch that keeps every schedule from starting anything. One row, or none: never paused yet."""

    paused = models.BooleanField(default=False)
    reason = models.CharField(max_length=200, blank=True)
    username = models.CharField(max_length=150, blank=True, help_text="Who turned it last.")
    turned_at = models.DateTimeField(default=now_utc)
    past = models.JSONField(
        default=list, blank=True, help_text="Earlier pauses, the oldest first: since, until, by whom and why."
    )

    class Meta:
        verbose_name = "pause of all schedules"
        permissions = (("pause_schedules", "Can pause all schedules"),)

    def __str__(self) -> str:
        return "All schedules are paused" if self.paused else "Schedules run"

    def turn(self, *, paused: bool, username: str, reason: str, now: datetime) -> None:
        """Turn it, and remember the pause that ends with that. The caller has its lock, and saves it."""
        if self.paused:
            ended = [self.turned_at.isoformat(), now.isoformat(), self.username, self.reason]
            self.past = [*self.past, ended][-REMEMBERED:]
        self.paused, self.username, self.reason, self.turned_at = paused, username, reason, now

    def at(self, moment: datetime) -> Paused | None:
        """The pause that a moment lies in; None: schedules ran then."""
        if moment >= self.turned_at:
            return Paused(self.turned_at, None, self.username, self.reason) if self.paused else None
        for since, until, username, reason in reversed(self.past):
            one = Paused(datetime.fromisoformat(since), datetime.fromisoformat(until), username, reason)
            if one.until is not None and moment >= one.until:
                return None
            if moment >= one.since:
                return one
        return None
