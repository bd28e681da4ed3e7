"""Schedules: an action, where, when, and by which rules it runs by itself.

`next_at` is the whole memory of the calendar: the tick takes what is due by a compare-and-swap on it (and on
`updated_at`), so two ticks at once share the work and an edit holds from the moment of its commit. What
became of each planned time is a row of `planned.PlannedRun`.

What the tick itself notes on a schedule (`next_at` and the columns under "Kept by the tick") it writes by
`update()`, which leaves `updated_at` alone: that is the sign of an edit.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.timezone import now as now_utc

from ami_integration.access.services import (
    AnyUser,
    servers_visible,
    user_may_view_schedules,
    user_sees_all_servers,
)
from ami_integration.actions.models import ActionTemplate
from ami_integration.actions.stored import StoredRequest
from ami_integration.servers.models import Server, Tag

if TYPE_CHECKING:
    from ami_integration.schedules.alerts.models import AlertChannel

#: Seconds by which the runs of one planned time may be spread at most.
LONGEST_JITTER = 6 * 3600
#: Missed times that are run after all, at most.
MOST_MISFIRES = 100
_DAY = 24 * 3600


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def visible_to(self, user: AnyUser) -> "ScheduleQuerySet":
        """The schedules that this person may see: the one filter of lists, pages and counts.

        Those of which they see a server, named or with the tag. What has no server (any more) is seen by its
        owner and by whoever sees every server.
        """
        if user is None or not user_may_view_schedules(user=user):
            return self.none()
        if user_sees_all_servers(user=user):
            return self
        visible = servers_visible(user=user).values("pk")
        named = Schedule.servers.through.objects
        tagged = Server.tags.through.objects
        # Subqueries, since a schedule of which several servers are seen shall be listed once.
        seen = Q(pk__in=named.filter(server_id__in=visible).values("schedule_id")) | Q(
            tag_id__in=tagged.filter(server_id__in=visible).values("tag_id")
        )
        nowhere = (
            Q(owner_id=user.pk)
            & ~Q(pk__in=named.values("schedule_id"))
            & (Q(tag_id=None) | ~Q(tag_id__in=tagged.values("tag_id")))
        )
        return self.filter(seen | nowhere)

    def due(self, now: datetime) -> "ScheduleQuerySet":
        """Enabled schedules whose time has come, the oldest first."""
        return self.filter(enabled=True, next_at__lte=now).order_by("next_at", "pk")

    def locked(self) -> "ScheduleQuerySet":
        """Under their locks, which whoever changes planned runs holds; without those that others lock."""
        return self.select_for_update(of=("self",), skip_locked=True)

    def advance(
        self, schedule: "Schedule", due_at: datetime, next_at: datetime | None, **noted: object
    ) -> bool:
        """Move a schedule on from the planned time that the caller takes.

        Args:
            **noted: other columns that the tick keeps.

        Returns:
            whether it is still as the caller read it: not taken by somebody else, and not edited.
        """
        unchanged = self.filter(pk=schedule.pk, enabled=True, next_at=due_at, updated_at=schedule.updated_at)
        return unchanged.update(next_at=next_at, **noted) == 1


class Schedule(StoredRequest):
    """An action on one server, on several or on a tag, that runs by itself with the rights of its owner."""

    class Kind(models.TextChoices):
        CRONTAB = "crontab", "Crontab"
        INTERVAL = "interval", "Interval"
        ONCE = "once", "Once"

    class Overlap(models.TextChoices):
        """What happens when it is due and the run before it hasn't ended."""

        SKIP = "skip", "Leave the new one out"
        QUEUE = "queue", "Let one wait"
        ALLOW = "allow", "Run both"

    class Misfire(models.TextChoices):
        """What happens to planned times that passed while amiweb was down."""

        SKIP = "skip", "Leave them out"
        ONCE = "once", "Run once for all of them"
        ALL = "all", "Run them all, up to a limit"

    name = models.CharField(max_length=100, unique=True, help_text="What it is for; the action log shows it.")
    template = models.ForeignKey(
        ActionTemplate,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="schedules",
        help_text="What it was made of. Later changes of the template are shown; they hold once somebody "
        "takes them over, since it runs with one person's rights what that person has seen.",
    )
    template_taken_at = models.DateTimeField(
        null=True, editable=False, help_text="As of when the template was taken over."
    )
    servers = models.ManyToManyField(
        Server, blank=True, related_name="schedules", help_text="On which servers it runs."
    )
    lost_servers = models.JSONField(
        default=list,
        editable=False,
        help_text="Those that were deleted since it was last saved: name, moment, by whom.",
    )
    tag = models.ForeignKey(
        Tag,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="schedules",
        help_text="Or on all enabled servers that have this tag when it is due, as far as its owner may.",
    )

    # When

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
    once_at = models.DateTimeField("at", null=True, blank=True, help_text="In the schedule's time zone.")
    timezone = models.CharField(
        "time zone",
        max_length=64,
        blank=True,
        help_text="In which the times of this form are read, for example Europe/Berlin. Empty: the zone of "
        "its servers.",
    )
    starts_at = models.DateTimeField(
        "not before", null=True, blank=True, help_text="Empty: from now on. In the schedule's time zone."
    )
    ends_at = models.DateTimeField(
        "not after", null=True, blank=True, help_text="Empty: for ever. In the schedule's time zone."
    )
    max_runs = models.PositiveIntegerField(
        "runs at most",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="After so many planned times that ran it ends. Empty: no limit.",
    )
    enabled = models.BooleanField(default=True)

    # Rules

    overlap = models.CharField(
        "if the one before still runs", max_length=10, choices=Overlap.choices, default=Overlap.SKIP
    )
    misfire = models.CharField(
        "if amiweb was down", max_length=10, choices=Misfire.choices, default=Misfire.SKIP
    )
    misfire_limit = models.PositiveSmallIntegerField(
        "of them at most",
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_MISFIRES)],
        help_text="The newest so many of the missed times are run, the oldest of them first.",
    )
    grace_seconds = models.PositiveIntegerField(
        "late by at most (seconds)",
        default=3600,
        validators=[MaxValueValidator(31 * _DAY)],
        help_text="What was missed longer ago is not run any more.",
    )
    jitter_seconds = models.PositiveIntegerField(
        "spread over (seconds)",
        default=0,
        validators=[MaxValueValidator(LONGEST_JITTER)],
        help_text="Each server starts at its own moment within so many seconds after the planned time, the "
        "same one each time. 0: all at once, as the order says.",
    )

    # Alerts

    alert_failures = models.PositiveSmallIntegerField(
        "failures in a row",
        null=True,
        blank=True,
        default=3,
        validators=[MinValueValidator(1)],
        help_text="Alert after so many. Empty: never.",
    )
    alert_silent_seconds = models.PositiveIntegerField(
        "nothing ran for (seconds)",
        null=True,
        blank=True,
        validators=[MinValueValidator(60)],
        help_text="Alert when nothing has succeeded for so long. Empty: never.",
    )
    alert_late_seconds = models.PositiveIntegerField(
        "late by (seconds)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Alert when a run begins so long after its planned time, or hasn't begun by then. Empty: "
        "never.",
    )
    alert_channels: "models.ManyToManyField[AlertChannel, Any]" = models.ManyToManyField(
        "AlertChannel", blank=True, related_name="schedules", help_text="Whom alerts are sent to."
    )

    # Whose

    owner_name = models.CharField(max_length=150, blank=True, editable=False)
    stopped_at = models.DateTimeField(null=True, editable=False)
    stopped_why = models.TextField(
        blank=True, editable=False, help_text="Why amiweb stopped it; empty: it did not."
    )

    # Kept by the tick

    anchor_at = models.DateTimeField(
        default=now_utc, editable=False, help_text="From where an interval is counted."
    )
    next_at = models.DateTimeField(
        "next run",
        null=True,
        editable=False,
        db_index=True,
        help_text="UTC; empty: never again, or disabled.",
    )
    runs_counted = models.PositiveIntegerField(
        default=0, editable=False, help_text="Planned times that ran, since it was last enabled or retimed."
    )
    last_state = models.CharField(
        max_length=10,
        blank=True,
        editable=False,
        help_text="`PlannedRun.state` of the newest one that ended.",
    )
    last_at = models.DateTimeField(null=True, editable=False, help_text="Its planned time.")
    last_good_at = models.DateTimeField(
        "last good run", null=True, editable=False, help_text="When the last success ended."
    )
    failures = models.PositiveIntegerField(
        default=0, editable=False, help_text="Planned times that failed since the last success."
    )

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
