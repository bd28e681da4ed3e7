"""Blackouts: windows in which nothing starts by a schedule: on the fleet, on a tag, for some schedules.

A window holds from its first moment up to, not including, its last. Of a weekly one people think as clocks
on the wall show it ("from 22:00 to 06:00"), and so it is read: through the night in which the clocks change
it still ends when they show 06:00. Where its beginning or its end comes twice, it begins at the first and
ends at the second. Where one of them is skipped, it begins at the next minute that exists and lasts its
minutes in real time; so what the calendar moves out of the skipped hour doesn't slip out of the window.
"""

import zoneinfo
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from ami_integration.schedules.calendar import wall_moment
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.slots import FIRST, LAST
from ami_integration.servers.models import Server, Tag
from ami_integration.zones import validate_zone

#: The longest weekly window, in minutes.
LONGEST = 7 * 24 * 60
_DAYS = ("", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Blackout(models.Model):
    """A window, once or every week. It holds from its first moment up to, not including, its last."""

    class Kind(models.TextChoices):
        ONCE = "once", "Once"
        WEEKLY = "weekly", "Every week"

    class Scope(models.TextChoices):
        """Said, and not read from an empty list: deleting a schedule must not make its window everybody's."""

        ALL = "all", "Every schedule"
        SOME = "some", "The chosen schedules"

    name = models.CharField(
        max_length=100, unique=True, help_text="Why nothing shall start; shown where it held."
    )
    enabled = models.BooleanField(default=True)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.ONCE)
    timezone = models.CharField(
        "time zone",
        max_length=64,
        default="UTC",
        validators=[validate_zone],
        help_text="In which its times are read.",
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
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST)],
    )
    tag = models.ForeignKey(
        Tag,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="On which servers alone it holds. Empty: on all.",
    )
    scope = models.CharField("holds for", max_length=10, choices=Scope.choices, default=Scope.ALL)
    schedules = models.ManyToManyField(
        Schedule, blank=True, related_name="blackouts", help_text="For which alone it holds."
    )

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse what is no window. What the other kind asks for is dropped."""
        if self.kind == self.Kind.ONCE:
            self.weekdays, self.starts_time, self.minutes = "", None, None
            if self.starts_at is None or self.ends_at is None:
                field_name = "starts_at" if self.starts_at is None else "ends_at"
                raise ValidationError({field_name: "Give the day and the time."})
            for field_name, moment in (("starts_at", self.starts_at), ("ends_at", self.ends_at)):
                if not FIRST <= moment.date() <= LAST:
                    raise ValidationError({field_name: f"Write a year between {FIRST.year} and {LAST.year}."})
            if self.ends_at <= self.starts_at:
                raise ValidationError({"ends_at": "It ends before it begins. Give a later end."})
            return
        self.starts_at = self.ends_at = None
        if not self.weekdays or set(self.weekdays) - set("1234567"):
            raise ValidationError(
                {"weekdays": "Give the days on which it begins, at least one: 1 is Monday, 7 Sunday."}
            )
        self.weekdays = "".join(sorted(set(self.weekdays)))
        if self.starts_time is None:
            raise ValidationError({"starts_time": "Give the time at which it begins, for example 22:00."})
        if self.minutes is None:
            raise ValidationError({"minutes": "Give its length in minutes: 480 are eight hours."})

    @property
    def about(self) -> frozenset[int] | None:
        """The ids of the schedules for which alone it holds; None: every schedule."""
        if self.scope == self.Scope.ALL:
            return None
        return frozenset(schedule.pk for schedule in self.schedules.all())

    @property
    def words(self) -> str:
        """When it holds, for people."""
        if self.kind == self.Kind.ONCE:
            if self.starts_at is None or self.ends_at is None:
                return ""
            zone = zoneinfo.ZoneInfo(self.timezone)
            since, until = (moment.astimezone(zone) for moment in (self.starts_at, self.ends_at))
            return f"{since:%Y-%m-%d} {_clock(since)} to {until:%Y-%m-%d} {_clock(until)} ({self.timezone})"
        if self.starts_time is None or self.minutes is None:
            return ""
        days = "every day" if len(self.weekdays) == 7 else ", ".join(_DAYS[int(day)] for day in self.weekdays)
        end = datetime.combine(datetime(2001, 1, 1), self.starts_time) + timedelta(minutes=self.minutes)
        later = (end - datetime(2001, 1, 1)).days
        after = "" if later == 0 else " the next day" if later == 1 else f" {later} days later"
        return f"{days}, {self.starts_time:%H:%M} to {end:%H:%M}{after} ({self.timezone})"


@dataclass(frozen=True)
class Window:
    """One time that a blackout holds, in UTC. The end isn't part of it."""

    blackout: Blackout
    starts_at: datetime
    ends_at: datetime

    @property
    def sentence(self) -> str:
        """For the record of what didn't run."""
        until = self.ends_at.astimezone(zoneinfo.ZoneInfo(self.blackout.timezone))
        return (
            f"The blackout “{self.blackout.name}” holds until {until:%Y-%m-%d} {_clock(until)} "
            f"({self.blackout.timezone})."
        )


@dataclass(frozen=True)
class Held:
    """What blackouts keep from starting at one moment; false if nothing.

    Attributes:
        whole: the window that holds all of it back: it is fleet-wide, or about the schedule, or its tags are
            those of all servers that were asked about.
        servers: by its id, the window of each server that is held back.
    """

    whole: Window | None = None
    servers: dict[int, Window] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.whole is not None or bool(self.servers)


@dataclass(frozen=True)
class Rule:
    """A blackout with what it is about, read once for many questions; None: all there are."""

    blackout: Blackout
    schedules: frozenset[int] | None
    servers: frozenset[int] | None


def blackouts_load() -> list[Rule]:
    """Every enabled blackout, for `blackout_for`. At most four queries."""
    rows = Blackout.objects.filter(enabled=True).select_related("tag")
    return [
        Rule(
            blackout,
            blackout.about,
            None if blackout.tag is None else frozenset(server.pk for server in blackout.tag.servers.all()),
        )
        for blackout in rows.prefetch_related(
            models.Prefetch("schedules", Schedule.objects.only("pk")),
            models.Prefetch("tag__servers", Server.objects.only("pk")),
        )
    ]


def blackout_for(
    *,
    schedule: Schedule | None,
    at: datetime,
    servers: Iterable[Server],
    rules: Sequence[Rule] | None = None,
) -> Held:
    """What may not start at a moment.

    Args:
        schedule: which; None: one that isn't saved yet.
        at: when it would start; for what is spread, ask once for each start.
        servers: on which.
        rules: from `blackouts_load`, if many are asked about; read anew if not given.

    Returns:
        of several windows the one that ends last.
    """
    asked = [server.pk for server in servers]
    whole: Window | None = None
    by_server: dict[int, Window] = {}
    for rule in blackouts_load() if rules is None else rules:
        if rule.schedules is not None and (schedule is None or schedule.pk not in rule.schedules):
            continue
        if rule.servers is not None and not rule.servers.intersection(asked):
            continue
        window = max(windows(rule.blackout, at, at), key=lambda window: window.ends_at, default=None)
        if window is None:
            continue
        if rule.servers is None:
            whole = _later(whole, window)
        else:
            for pk in rule.servers.intersection(asked):
                by_server[pk] = _later(by_server.get(pk), window)
    if whole is None and asked and len(by_server) == len(set(asked)):
        # All are held back; it may go on when the first of them is free again.
        whole = min(by_server.values(), key=lambda window: window.ends_at)
    return Held(whole, by_server)


def windows(blackout: Blackout, since: datetime, until: datetime) -> list[Window]:
    """The times at which a blackout holds in a span, its end included, as they begin."""
    if blackout.kind == Blackout.Kind.ONCE:
        found = [(blackout.starts_at, blackout.ends_at)]
    else:
        found = list(_weekly(blackout, since, until))
    return [
        Window(blackout, starts_at.astimezone(UTC), ends_at.astimezone(UTC))
        for starts_at, ends_at in found
        if starts_at is not None and ends_at is not None and starts_at <= until and since < ends_at
    ]


def blackouts_between(since: datetime, until: datetime) -> list[Window]:
    """Every window of every enabled blackout that touches a span, as they begin. For calendars."""
    found = Blackout.objects.filter(enabled=True).select_related("tag").prefetch_related("schedules")
    return sorted(
        (window for blackout in found for window in windows(blackout, since, until)),
        key=lambda window: (window.starts_at, window.blackout.name),
    )


def _weekly(blackout: Blackout, since: datetime, until: datetime) -> Iterable[tuple[datetime, datetime]]:
    if blackout.starts_time is None or blackout.minutes is None:
        return
    zone, length = zoneinfo.ZoneInfo(blackout.timezone), timedelta(minutes=blackout.minutes)
    # A day more on each side, for what a change of the clocks adds.
    day = (since.astimezone(zone) - length).date() - timedelta(days=1)
    last = until.astimezone(zone).date() + timedelta(days=1)
    while day <= last:
        if str(day.isoweekday()) in blackout.weekdays:
            wall = datetime.combine(day, blackout.starts_time)
            yield _window(wall, length, zone)
        day += timedelta(days=1)


def _window(wall: datetime, length: timedelta, zone: zoneinfo.ZoneInfo) -> tuple[datetime, datetime]:
    """Beginning and end of a window that begins at this time on the wall."""
    starts_at = wall_moment(wall, zone)
    end = wall + length
    # fold=1: the second of two.
    ends_at = end.replace(tzinfo=zone, fold=1).astimezone(UTC)
    skipped = [
        moment.astimezone(zone).replace(tzinfo=None) != time
        for moment, time in ((starts_at, wall), (ends_at, end))
    ]
    return starts_at, starts_at + length if any(skipped) else ends_at


def _clock(moment: datetime) -> str:
    """A time of day, with its seconds where they aren't 0: people act on when a window ends."""
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"


def _later(one: Window | None, other: Window) -> Window:
    return other if one is None or other.ends_at > one.ends_at else one
