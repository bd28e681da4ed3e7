"""What the calendar is asked for: read from its address, which can be kept and sent to somebody.

`tz` is the time zone in which days are cut; the page's script says the browser's. What can't be read becomes
the usual, and a sentence says so: a link that is old or mistyped still shows a calendar.
"""

import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db import models
from django.db.models import Q, QuerySet

from ami_integration.access.services import AnyUser, servers_visible, tags_visible
from ami_integration.keys import pk_of
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.outcomes import Group
from ami_integration.schedules.slots import FIRST, LAST, Week, week_of
from ami_integration.servers.models import Server, Tag
from ami_integration.zones import zone_names

#: Beside the groups of outcomes, what is still to come.
PLANNED = "planned"
#: Its first and its last week are left out, since they may begin or end elsewhere.
_EARLIEST, _LATEST = FIRST + timedelta(days=7), LAST - timedelta(days=7)


@dataclass(frozen=True)
class Question:
    """What the calendar shows.

    Attributes:
        zone: of the page; `zone_given`: whether the address named it.
        day: the day that is shown on a phone; the week is the one that it lies in.
        outcome: a `Group`, or `PLANNED`; "": all.
        notes: sentences about what could not be read.
    """

    zone: str
    day: date
    now: datetime
    zone_given: bool = False
    server: Server | None = None
    tag: Tag | None = None
    outcome: str = ""
    notes: tuple[str, ...] = ()

    @cached_property
    def week(self) -> Week:
        return week_of(self.zone, self.day)

    @cached_property
    def zone_info(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.zone)

    @property
    def today(self) -> date:
        return self.now.astimezone(self.zone_info).date()

    @property
    def filtered(self) -> bool:
        return bool(self.server or self.tag or self.outcome)

    @property
    def narrowed(self) -> bool:
        """Whether it is about some schedules alone."""
        return self.server is not None or self.tag is not None

    def local(self, seconds: float) -> datetime:
        """Seconds since 1970 as the clocks of the page's zone show them: without a zone, or templates would
        turn it into their own."""
        return datetime.fromtimestamp(seconds, self.zone_info).replace(tzinfo=None)

    def query(self, **changes: Any) -> str:
        """The address of this question; `day` and others may be changed, None leaves a part out."""
        parts: dict[str, Any] = {
            "day": self.day.isoformat(),
            "tz": self.zone if self.zone_given else None,
            "server": self.server.pk if self.server else None,
            "tag": self.tag.pk if self.tag else None,
            "outcome": self.outcome or None,
        } | changes
        return "?" + urlencode({name: value for name, value in parts.items() if value is not None})

    def day_after(self, days: int) -> date:
        """The day so many days later, or earlier, as far as the calendar goes."""
        return min(max(self.day + timedelta(days=days), _EARLIEST), _LATEST)

    def group(self) -> Group | None:
        """The group of outcomes that is asked for; None: all of them, or none."""
        return Group(self.outcome) if self.outcome in Group.values else None

    def schedules(self, user: AnyUser) -> QuerySet[Schedule]:
        """The schedules that are asked about, of those that this person may see."""
        found = Schedule.objects.visible_to(user)
        if self.server is not None:
            found = found.filter(
                Q(pk__in=_named(server_id=self.server.pk))
                | Q(tag__in=self.server.tags.order_by().values("pk"))
            )
        if self.tag is not None:
            found = found.filter(Q(tag=self.tag) | Q(pk__in=_named(server__tags=self.tag)))
        return found


def question_read(*, user: AnyUser, address: Mapping[str, str], now: datetime) -> Question:
    """Read an address; never fails."""
    notes: list[str] = []
    zone = zone_read(address, notes)
    given_zone = address.get("tz", "") == zone
    today = now.astimezone(zoneinfo.ZoneInfo(zone)).date()
    question = Question(zone, today, now, zone_given=given_zone)
    if text := address.get("day", ""):
        day = _day(text)
        if day is None:
            notes.append(
                f"“{text[:40]}” is no day between {FIRST.year} and {LAST.year}: this is today's week. "
                f"Write it as in {today.isoformat()}."
            )
        else:
            question = replace(question, day=day)
    server = _chosen(servers_visible(user=user), address.get("server", ""), "server", notes)
    tag = _chosen(tags_visible(user=user), address.get("tag", ""), "tag", notes)
    outcome = address.get("outcome", "")
    if outcome not in ("", PLANNED, *Group.values):
        notes.append("There is no such outcome: all are shown. Choose one from the list.")
        outcome = ""
    return replace(question, server=server, tag=tag, outcome=outcome, notes=tuple(notes))


def zone_read(address: Mapping[str, str], notes: list[str]) -> str:
    """The time zone that an address names, else the project's; a sentence is added if it can't be read."""
    text = address.get("tz", "")
    if text and text not in zone_names():
        notes.append(
            f"amiweb knows no time zone “{text[:60]}”: times are those of {settings.TIME_ZONE}. Write "
            "one like Europe/Berlin."
        )
    return text if text in zone_names() else settings.TIME_ZONE


def moment_read(text: str) -> datetime | None:
    """A moment of an address, as in 2026-01-31T09:00:00Z, if it lies where the calendar goes."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None or not _EARLIEST < moment.date() < _LATEST:
        return None
    return moment.astimezone(UTC)


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if _EARLIEST <= day <= _LATEST else None


def _chosen(rows: QuerySet[Any], text: str, what: str, notes: list[str]) -> Any:
    if not text:
        return None
    found: models.Model | None = rows.filter(pk=pk_of(text)).first()
    if found is None:
        notes.append(f"There is no such {what}, or you may not see it: all are shown.")
    return found


def _named(**conditions: Any) -> QuerySet[Any, Any]:
    return Schedule.servers.through.objects.filter(**conditions).values("schedule_id")
