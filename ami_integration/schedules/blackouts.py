"""Blackouts: windows in which nothing starts by a schedule: on the fleet, on a tag, for some schedules."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Tag


class Blackout(models.Model):
    """A window, once or every week. It holds from its first moment up to, not including, its last."""

    class Kind(models.TextChoices):
        ONCE = "once", "Once"
        WEEKLY = "weekly", "Every week"

    name = models.CharField(
        max_length=100, unique=True, help_text="Why nothing shall start; shown where it held."
    )
    enabled = models.BooleanField(default=True)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.ONCE)
    timezone = models.CharField(
        "time zone", max_length=64, default="UTC", help_text="In which its times are read."
    )
    starts_at = models.DateTimeField("from", null=True, blank=True)
    ends_at = models.DateTimeField("until", null=True, blank=True)
    weekdays = models.CharField(
        max_length=7, blank=True, help_text="Digits, 1 is Monday and 7 Sunday; on which the window begins."
    )
    starts_time = models.TimeField("from", null=True, blank=True)
    minutes = models.PositiveIntegerField(
        "for (minutes)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(7 * 24 * 60)],
    )
    tag = models.ForeignKey(
        Tag,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="On which servers alone it holds. Empty: on all.",
    )
    schedules = models.ManyToManyField(
        Schedule, blank=True, related_name="blackouts", help_text="For which alone it holds. None: for all."
    )

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
