"""In which order a request goes to several servers.

A fan-out goes by it; templates and schedules keep it until they make one. So its columns, their limits and
their words stand here once.
"""

from dataclasses import dataclass

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

#: Runs in progress at once that a person may ask for.
MOST_AT_ONCE = 100
#: Failures to stop after that a person may ask for.
MOST_FAILURES = 10_000
STOP_AFTER_HELP = "Then nothing more is sent; what is on its way ends. Empty: go on to the last."
#: The fields of a `Plan`, which are columns of a `StoredPlan` and fields of forms.
PLAN = ("mode", "limit", "stop_after")


class Mode(models.TextChoices):
    """Which of the runs go together."""

    PARALLEL = "parallel", "All at once, up to the limit"
    SERIAL = "serial", "One after the other"
    FIRST_THEN_REST = "first_then_rest", "One first, and the rest if it succeeded"


@dataclass(frozen=True)
class Plan:
    """The order of a fan-out.

    Attributes:
        mode: a `Mode`.
        limit: runs in progress at once, at most.
        stop_after: failures after which nothing more is sent; None: it goes on to the last.
    """

    mode: str = Mode.PARALLEL
    limit: int = 20
    stop_after: int | None = None


class StoredPlan(models.Model):
    """For a model that keeps a `Plan`: a fan-out, a template, a schedule."""

    mode = models.CharField("order", max_length=20, choices=Mode.choices, default=Mode.PARALLEL)
    limit = models.PositiveSmallIntegerField(
        "at once, at most",
        default=Plan.limit,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_AT_ONCE)],
        help_text="Runs in progress at once, on several servers.",
    )
    stop_after = models.PositiveSmallIntegerField(
        "stop after failures",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_FAILURES)],
        help_text=STOP_AFTER_HELP,
    )

    class Meta:
        abstract = True

    @property
    def plan(self) -> Plan:
        return Plan(self.mode, self.limit, self.stop_after)
