"""The fields that say when and where; by themselves, they answer the preview while somebody types.

Moments (`once_at`, `starts_at`, `ends_at`) are typed as clocks on the wall show them in the schedule's zone,
and become moments when the zone is known: that is the one that was written, or else the one that all its
servers share. So the servers belong to the question of when.
"""

import zoneinfo
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.db.models import Q
from django.utils import timezone

from ami_integration.access.services import servers_visible
from ami_integration.actions.forms import ServersField, TagField, choices_set
from ami_integration.actions.submission import servers_tagged
from ami_integration.schedules.calendar import (
    BadTiming,
    first_time,
    next_times,
    timing_check,
    timing_words,
    wall_moment,
)
from ami_integration.schedules.durations import DurationField, duration_text
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.slots import FIRST, LAST
from ami_integration.schedules.targets import schedule_zone
from ami_integration.servers.models import Server, Tag
from ami_integration.zones import zone_names

#: Planned times that a preview shows.
PREVIEW = 10
#: What says when; a change of any of them begins to count anew.
TIMING = ("kind", "crontab", "interval_seconds", "once_at", "timezone", "starts_at", "ends_at", "max_runs")
_WALL = ("once_at", "starts_at", "ends_at")
_MARGIN = timedelta(days=7)


class WallTimeField(forms.DateTimeField):
    """A moment as a clock on the wall shows it, in a zone that isn't known yet: a naive datetime."""

    widget = forms.DateTimeInput

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault(
            "widget",
            forms.DateTimeInput(format="%Y-%m-%dT%H:%M:%S", attrs={"type": "datetime-local", "step": "1"}),
        )
        kwargs.setdefault(
            "error_messages", {"invalid": "Write a day and a time, for example 2027-01-31 02:30."}
        )
        super().__init__(**kwargs)

    def to_python(self, value: Any) -> Any:
        moment = super().to_python(value)
        if moment is None:
            return None
        # A week within, since the same moment may be another day elsewhere.
        if not FIRST + _MARGIN <= moment.date() <= LAST - _MARGIN:
            raise forms.ValidationError(
                f"Write a year between {FIRST.year} and {LAST.year}.", code="year_out_of_range"
            )
        return timezone.make_naive(moment, timezone.get_current_timezone())


class TimingForm(forms.ModelForm):
    """When and where. `user` is set by whoever makes the form: whose servers are offered."""

    user: Any = None
    server = ServersField(help_text="It runs on these and on no others.")
    tag = TagField(
        help_text="Every enabled server that has the tag when it is due, as far as its owner may. The list "
        "shows those of now."
    )
    interval_seconds = DurationField(
        required=False,
        label="Every",
        help_text="For example 30 s, 15 min, 2 h or 1 d. Counted from the moment of saving.",
    )
    once_at = WallTimeField(required=False, label="At", help_text="In the time zone below.")
    starts_at = WallTimeField(required=False, label="Not before", help_text="Empty: from now on.")
    ends_at = WallTimeField(required=False, label="Not after", help_text="Empty: for ever.")
    max_runs = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        label="Runs at most",
        help_text="After so many it ends. Empty: no limit.",
    )

    class Meta:
        model = Schedule
        fields: tuple[str, ...] = (*TIMING, "tag")
        widgets: dict[str, Any] = {  # noqa: RUF012 - Django reads it as it stands
            "crontab": AdminTextInputWidget(
                attrs={"class": "schedule-cron", "autocapitalize": "off", "spellcheck": "false"}
            ),
            "timezone": AdminTextInputWidget(
                attrs={"list": "timezones", "autocapitalize": "off", "spellcheck": "false"}
            ),
        }
        help_texts: dict[str, Any] = {  # noqa: RUF012 - as above
            "crontab": f"{Schedule._meta.get_field('crontab').help_text} Each time that clocks on the wall "
            "show runs once; what should go on through an hour that they show twice is an interval.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: When the preview asks, and from when an interval of this form counts.
        self.now = timezone.now()
        if "server" not in self.fields:
            return  # a form that may only be looked at
        offered = servers_visible(user=self.user)
        stored = self.instance
        # Whoever edits a schedule throws no server out of it that is only disabled just now.
        named = list(stored.servers.values_list("pk", flat=True)) if stored.pk else []
        shown = offered.filter(Q(enabled=True) | Q(pk__in=named))
        choices_set(self, "tag", Tag.objects.filter(servers__in=offered.filter(enabled=True)).distinct())
        choices_set(self, "server", shown.select_related("health").prefetch_related("tags"))
        if stored.pk:
            self.initial["server"] = list(offered.filter(pk__in=named).order_by("name"))
            self.initial["tag"] = stored.tag.name if stored.tag is not None else None
            zone = _zone_of(stored.timezone)
            for name in _WALL:
                moment = getattr(stored, name)
                self.initial[name] = moment and moment.astimezone(zone).replace(tzinfo=None)

    # -- reading it

    def clean(self) -> dict[str, Any]:
        super().clean()
        values = self.cleaned_data
        values["servers"] = self._servers(values)
        if not any(name in self.errors for name in (*TIMING, "server", "tag")):
            try:
                self._place(values)
                if self.retimed and values.get("enabled", True):
                    first_time(timing=self.timing(), now=self.now)
                else:
                    timing_check(timing=self.timing())
            except BadTiming as error:
                self.add_error(error.field if error.field in self.fields else None, str(error))
        return values

    def _servers(self, values: dict[str, Any]) -> list[Server]:
        """The servers that are meant now: those of the tag, or the ticked ones."""
        tag: Tag | None = values.get("tag")
        if tag is not None:
            return servers_tagged(user=self.user, tag=tag.name)
        return sorted(values.get("server") or (), key=lambda server: server.name)

    def _place(self, values: dict[str, Any]) -> None:
        """Find the zone, and turn times on the wall into moments. Raises `BadTiming`."""
        zone = values["timezone"] = (values["timezone"] or "").strip()
        if not zone:
            try:
                zone = schedule_zone(values["servers"])
            except BadTiming:
                # A length of time is the same in every zone; only its first and last moment are not.
                if values["kind"] != Schedule.Kind.INTERVAL or any(values[name] for name in _WALL):
                    raise
                zone = "UTC"
            values["timezone"] = zone
        if zone not in zone_names():
            raise BadTiming(
                "timezone", f"There is no time zone “{zone}”. Write one like Europe/Berlin, or UTC."
            )
        for name in _WALL:
            if (wall := values[name]) is not None and wall.tzinfo is None:
                values[name] = wall_moment(wall, zoneinfo.ZoneInfo(zone))

    @property
    def retimed(self) -> bool:
        """Whether saving begins to count anew: a new schedule, or another when."""
        return not self.instance.pk or any(name in TIMING for name in self.changed_data)

    def timing(self) -> SimpleNamespace:
        """What the calendar reads, as far as the fields are clean; an interval is counted from now."""
        values = {name: self.cleaned_data[name] for name in TIMING}
        return SimpleNamespace(**values, anchor_at=self.now if self.retimed else self.instance.anchor_at)

    def next_times(self, *, count: int) -> list[datetime]:
        """The next planned times if it were saved now. Raises `BadTiming`."""
        if (most := self.cleaned_data["max_runs"]) is not None:
            had = 0 if self.retimed else self.instance.runs_counted
            count = max(0, min(count, most - had))
        return next_times(timing=self.timing(), after=self.now, count=count)


def when_words(timing: Any) -> str:
    """When something is due, in words, for people; without its zone. Raises `BadTiming`."""
    if timing.kind == Schedule.Kind.INTERVAL and timing.interval_seconds:
        return f"Every {duration_text(timing.interval_seconds)}"
    return timing_words(timing=timing)


def _zone_of(name: str) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(name if name in zone_names() else "UTC")


def moment_text(moment: datetime, zone: str) -> str:
    """A moment on the clocks of a zone, with its distance to UTC, so that a change of the clocks shows."""
    local = moment.astimezone(_zone_of(zone) if zone in zone_names() else UTC)
    if zone == "UTC":
        return f"{local:%a %Y-%m-%d %H:%M:%S} UTC"
    name = f"{local:%Z}"
    distance = f"{local:%z}"
    # Zones without letters of their own call themselves by their distance.
    return f"{local:%a %Y-%m-%d %H:%M:%S} " + (distance if name[:1] in "+-" else f"{name} ({distance})")
