"""A week on the clocks of one time zone, cut into the hours that these clocks show.

Most days have 24 hours. On the day of a clock change an hour is missing or comes twice (or half of one, on
Lord Howe Island), and in some zones the day does not begin at midnight. So nothing here counts on 24: a day
is what lies between two midnights of its zone, and an hour is what lies between two changes of the hour hand
or of the clocks.
"""

import zoneinfo
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache

#: Since 2000 every zone differs from UTC by whole quarters of an hour.
QUARTER = 900
FIRST, LAST = date(2000, 1, 3), date(2099, 12, 28)
_HOUR = 3600


@dataclass(frozen=True)
class Slot:
    """An hour of one day, or what the clocks leave of it.

    Attributes:
        since, until: seconds since 1970; the second is not part of it.
        hour: what the clocks show, 0 to 23.
        again: whether they show it for the second time that day.
    """

    since: int
    until: int
    hour: int
    again: bool = False


@dataclass(frozen=True)
class Day:
    """A day; `note` says in words what a clock change does to it, "" on all other days."""

    date: date
    since: int
    until: int
    slots: tuple[Slot, ...]

    @property
    def note(self) -> str:
        seconds = self.until - self.since
        if seconds == 24 * _HOUR:
            return ""
        hours = f"{seconds / _HOUR:g} hours"
        return f"{hours}: the clocks go {'forward' if seconds < 24 * _HOUR else 'back'}"


@dataclass(frozen=True)
class Week:
    """Monday to Sunday in a zone."""

    zone: str
    monday: date
    days: tuple[Day, ...]

    @property
    def since(self) -> datetime:
        return datetime.fromtimestamp(self.days[0].since, UTC)

    @property
    def until(self) -> datetime:
        return datetime.fromtimestamp(self.days[-1].until, UTC)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """All hours of the week, in their order."""
        return tuple(slot for day in self.days for slot in day.slots)

    @cached_property
    def starts(self) -> list[int]:
        """When each of `slots` begins; `days_start` is the same for the days."""
        return [slot.since for slot in self.slots]

    @cached_property
    def days_start(self) -> list[int]:
        return [day.since for day in self.days]

    def slot_at(self, moment: int) -> int:
        """Which of `slots` holds this moment (seconds since 1970), which lies in the week."""
        return bisect_right(self.starts, moment) - 1

    def day_at(self, moment: int) -> int:
        """Which of the days holds this moment, which lies in the week."""
        return bisect_right(self.days_start, moment) - 1

    @cached_property
    def rows(self) -> list[tuple[int, bool]]:
        """Every hour, with `again`, that a day of this week shows: the rows of a table; 24 at least."""
        shown = {(slot.hour, slot.again) for slot in self.slots}
        return sorted(shown | {(hour, False) for hour in range(24)})


def week_of(zone: str, day: date) -> Week:
    """The week that a day lies in.

    Args:
        zone: one of `zones.zone_names()`.
        day: between `FIRST` and `LAST`.
    """
    return _week(zone, day - timedelta(days=day.weekday()))


@lru_cache(maxsize=256)
def _week(zone: str, monday: date) -> Week:
    info = zoneinfo.ZoneInfo(zone)
    days = (monday + timedelta(days=number) for number in range(7))
    return Week(zone, monday, tuple(_day(info, day) for day in days))


def _day(zone: zoneinfo.ZoneInfo, day: date) -> Day:
    since, until = _midnight(zone, day), _midnight(zone, day + timedelta(days=1))
    slots: list[Slot] = []
    seen: set[int] = set()
    begun, hand = since, _hand(zone, since)
    for moment in range(since + QUARTER, until + 1, QUARTER):
        now = _hand(zone, moment) if moment < until else None
        if now == hand:
            continue
        slots.append(Slot(begun, moment, hand[0], again=hand[0] in seen))
        seen.add(hand[0])
        if now is not None:
            begun, hand = moment, now
    return Day(day, since, until, tuple(slots))


def _midnight(zone: zoneinfo.ZoneInfo, day: date) -> int:
    """When a day begins. Where the clocks skip midnight, this is the moment at which they do."""
    return int(datetime.combine(day, time(), tzinfo=zone).timestamp())


def _hand(zone: zoneinfo.ZoneInfo, moment: int) -> tuple[int, timedelta | None]:
    local = datetime.fromtimestamp(moment, zone)
    return local.hour, local.utcoffset()
