"""One row for every time that a schedule was due: what was decided, and how what it submitted ended.

The unique key (schedule, planned time) is the promise of "exactly once" that survives everything else: two
beats, a message that comes twice, an old form saved late.
"""

from datetime import datetime

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils.timezone import now as now_utc

from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.schedules.models import Schedule


class PlannedRunQuerySet(models.QuerySet["PlannedRun"]):
    def open(self) -> "PlannedRunQuerySet":
        """Those that wait for the one before, and those whose runs haven't ended."""
        return self.filter(_OPEN)

    def open_or_since(self, moment: datetime) -> "PlannedRunQuerySet":
        """Those, and every planned time from a moment on."""
        return self.filter(_OPEN | Q(planned_at__gte=moment))

    def going(self) -> "PlannedRunQuerySet":
        """Those of which a run is queued or in progress."""
        return self.filter(_going())

    def over(self) -> "PlannedRunQuerySet":
        """Those that were submitted and whose runs have ended, which isn't on record yet."""
        return self.open().filter(~_going(), outcome=PlannedRun.Outcome.SUBMITTED)


def _going() -> Q:
    runs = ActionRun.objects.filter(status__in=(ActionRun.Status.QUEUED, ActionRun.Status.RUNNING)).order_by()
    return Q(Exists(runs.filter(pk=OuterRef("run_id")))) | Q(
        Exists(runs.filter(fanout=OuterRef("fanout_id")))
    )


class PlannedRun(models.Model):
    """A time at which a schedule was due, or at which somebody ran it by hand, and what became of it."""

    class Outcome(models.TextChoices):
        """What the tick decided."""

        WAITING = "waiting", "Waiting"
        SUBMITTED = "submitted", "Submitted"
        SKIPPED = "skipped", "Skipped"
        MISFIRED = "misfired", "Misfired"
        BLACKOUT = "blackout", "Blackout"
        PAUSED = "paused", "Paused"
        REFUSED = "refused", "Refused"

    class Result(models.TextChoices):
        """How what was submitted ended; of several servers, `PARTLY` where some succeeded."""

        NONE = "", "In progress"
        SUCCEEDED = "succeeded", "Succeeded"
        PARTLY = "partly", "Partly"
        FAILED = "failed", "Failed"
        UNKNOWN = "unknown", "Unknown"
        CANCELLED = "cancelled", "Cancelled"
        EXPIRED = "expired", "Expired"
        ERRORED = "errored", "Errored"

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="planned_runs")
    planned_at = models.DateTimeField()
    by_hand = models.CharField(
        max_length=150, blank=True, help_text="Who ran it by hand; empty: it was planned."
    )
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    reason = models.TextField(blank=True, help_text="Sentences for people; what was left out, and why.")
    run = models.ForeignKey(
        ActionRun,
        on_delete=models.SET_NULL,
        null=True,
        related_name="planned_runs",
        help_text="On one server.",
    )
    fanout = models.ForeignKey(
        FanOut, on_delete=models.SET_NULL, null=True, related_name="planned_runs", help_text="On several."
    )
    refused = models.PositiveIntegerField(
        default=0,
        help_text="Servers that were left out because it may not run there, which is a failure in part.",
    )
    result = models.CharField(max_length=10, choices=Result.choices, default=Result.NONE, blank=True)
    started_at = models.DateTimeField(null=True, help_text="When the first of its runs began.")
    finished_at = models.DateTimeField(null=True, help_text="When the last of its runs ended.")
    created_at = models.DateTimeField(default=now_utc)

    objects = PlannedRunQuerySet.as_manager()

    class Meta:
        ordering = ("-planned_at",)
        constraints = (models.UniqueConstraint(fields=("schedule", "planned_at"), name="planned_run_once"),)
        indexes = (
            models.Index(fields=("planned_at",), name="planned_run_planned"),
            models.Index(fields=("created_at",), name="planned_run_created"),
            models.Index(
                fields=("schedule",),
                condition=Q(outcome="waiting") | Q(outcome="submitted", result=""),
                name="planned_run_open",
            ),
        )

    def __str__(self) -> str:
        return f"{self.schedule_id} at {self.planned_at:%Y-%m-%d %H:%M:%S} UTC"

    @property
    def state(self) -> str:
        """One word for lists and colours: how it ended, or else what was decided."""
        return self.result or self.outcome


_OPEN = Q(outcome=PlannedRun.Outcome.WAITING) | Q(
    outcome=PlannedRun.Outcome.SUBMITTED, result=PlannedRun.Result.NONE
)
