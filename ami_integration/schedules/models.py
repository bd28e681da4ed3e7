"""Schedules, and one row for every time that one of them was due.

`next_at` is the whole memory of the calendar: the tick takes what is due by a compare-and-swap on it (and on
`updated_at`), so two ticks at once share the work and an edit holds from the moment of its commit. The
unique key (schedule, planned time) is the promise of "exactly once" that survives everything else: two
beats, a message that comes twice, an old form saved late.
"""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.utils.timezone import now

from ami_integration.actions.models import ActionRun
from ami_integration.actions.stored import StoredHeaders
from ami_integration.servers.models import Server


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def due(self, now: datetime) -> "ScheduleQuerySet":
        """Enabled schedules whose time has come, the oldest first."""
        return self.filter(enabled=True, next_at__lte=now).order_by("next_at", "pk")

    def advance(self, schedule: "Schedule", due_at: datetime, next_at: datetime | None) -> bool:
        """Move a schedule on from the planned time that the caller takes.

        Returns:
            whether it is still as the caller read it: not taken by somebody else, and not edited.
        """
        unchanged = self.filter(pk=schedule.pk, enabled=True, next_at=due_at, updated_at=schedule.updated_at)
        return unchanged.update(next_at=next_at) == 1


class Schedule(StoredHeaders):
    """An action on a server that runs by itself, with the rights of its owner."""

    class Kind(models.TextChoices):
        CRONTAB = "crontab", "Crontab"
        INTERVAL = "interval", "Interval"

    name = models.CharField(max_length=100, unique=True, help_text="What it is for; the action log shows it.")
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="schedules")
    action = models.CharField(max_length=255, help_text="The AMI action, for example QueueReset.")
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.CRONTAB)
    crontab = models.CharField(
        max_length=200,
        blank=True,
        help_text="Five fields: minute, hour, day of month, month, day of week. “30 2 * * 1-5” is 02:30 "
        "from Monday to Friday.",
    )
    interval_seconds = models.PositiveIntegerField(
        "interval in seconds", null=True, blank=True, help_text="Counted from the moment of saving."
    )
    timezone = models.CharField(
        "time zone",
        max_length=64,
        default="UTC",
        help_text="In which the crontab is read, for example Europe/Berlin.",
    )
    enabled = models.BooleanField(default=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    owner_name = models.CharField(max_length=150, blank=True, editable=False)
    anchor_at = models.DateTimeField(
        default=now, editable=False, help_text="From where an interval is counted."
    )
    next_at = models.DateTimeField(
        "next run",
        null=True,
        editable=False,
        db_index=True,
        help_text="UTC; empty: never again, or disabled.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class PlannedRun(models.Model):
    """A time at which a schedule was due, and what became of it."""

    class Outcome(models.TextChoices):
        SUBMITTED = "submitted", "Submitted"
        MISFIRED = "misfired", "Misfired"
        REFUSED = "refused", "Refused"

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="planned_runs")
    planned_at = models.DateTimeField()
    run = models.ForeignKey(ActionRun, on_delete=models.SET_NULL, null=True, related_name="planned_runs")
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-planned_at",)
        constraints = (models.UniqueConstraint(fields=("schedule", "planned_at"), name="planned_run_once"),)

    def __str__(self) -> str:
        return f"{self.schedule_id} at {self.planned_at:%Y-%m-%d %H:%M:%S} UTC"
