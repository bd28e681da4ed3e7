"""The switch that keeps every schedule from starting anything, as it is stored; `pausing` turns it."""

from django.db import models
from django.utils.timezone import now as now_utc


class SchedulesPause(models.Model):
    """The switch that keeps every schedule from starting anything. One row, or none: never paused yet."""

    paused = models.BooleanField(default=False)
    reason = models.CharField(max_length=200, blank=True)
    username = models.CharField(max_length=150, blank=True, help_text="Who turned it last.")
    turned_at = models.DateTimeField(default=now_utc)

    class Meta:
        verbose_name = "pause of all schedules"
        permissions = (("pause_schedules", "Can pause all schedules"),)

    def __str__(self) -> str:
        return "All schedules are paused" if self.paused else "Schedules run"
