"""When a schedule is due. One function, `next_times`, which the tick and the preview both call.

A crontab names times on the wall, in the schedule's time zone, and each of them runs once. A time that the
clocks skip runs at the next minute that exists (02:30 becomes 03:00, once, however many were skipped); one
that they show twice runs the first time. So `*/15 * * * *` has a gap in the repeated hour: what should go on
through it is an interval.

An interval knows no time zone: it is counted from the moment at which it was saved, or from its start if
that lies later, which then is the first time itself. `once_at`, `starts_at` and `ends_at` are moments.

Celery's own crontab is not used: it runs a skipped 02:30 at 03:30. `cronsim` follows Debian's cron, whose
stars go on in real time, and may return the same moment twice; so wall time is walked here, in naive
datetimes, and turned into moments by one rule.
"""

import re
import zoneinfo
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count as counted_from
from itertools import islice, takewhile
from typing import Protocol

from cronsim import CronSim, CronSimError

from ami_integration.schedules.slots import FIRST, LAST
from ami_integration.zones import zone_names

_FIELDS = {
    "minute": "0–59",
    "hour": "0–23",
    "day-of-month": "1–31, L for the last day",
    "month": "1–12 or JAN–DEC",
    "day-of-week": "0–7 or SUN–SAT, 1 is Monday, 5L the last Friday, 5#2 the second one",
}
_MINUTE = timedelta(minutes=1)
_LONGEST_INTERVAL = 366 * 24 * 3600
#: Crontabs whose fields a process remembers.
_REMEMBERED = 10_000
#: As `cronsim` writes steps; greater ones in digits.
_ORDINALS = {
    word: number
    for number, word in enumerate(
        ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"), start=2
    )
}
#: Years without a day that fits after which it gives up, as `cronsim` does.
_FARTHEST = 50


class BadTiming(ValueError):
    """A schedule can't be read.

    Attributes:
        field: which of its fields is at fault, as `Timing` names them.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Timing(Protocol):
    """What says when something is due; a `Schedule`, or a form that is not saved yet."""

    kind: str
    crontab: str
    interval_seconds: int | None
    timezone: str
    anchor_at: datetime
    once_at: datetime | None
    starts_at: datetime | None
    ends_at: datetime | None


def timing_check(*, timing: Timing) -> None:
    """Whether a schedule can be read.

    Raises:
        BadTiming: with the field and what to write instead.
    """
    _zone(timing.timezone)
    if timing.kind == "interval":
        seconds = timing.interval_seconds
        if seconds is None or not 1 <= seconds <= _LONGEST_INTERVAL:
            raise BadTiming("interval_seconds", "Give the interval in seconds: 1 to 31622400 (366 days).")
    elif timing.kind == "once":
        if timing.once_at is None:
            raise BadTiming("once_at", "Give the day and the time at which it runs.")
    else:
        _crontab_check(timing.crontab)
    for name in ("once_at", "starts_at", "ends_at"):
        moment = getattr(timing, name)
        if moment is not None and not FIRST <= moment.date() <= LAST:
            raise BadTiming(name, f"Write a year between {FIRST.year} and {LAST.year}.")
    if timing.starts_at is not None and timing.ends_at is not None and timing.ends_at <= timing.starts_at:
        raise BadTiming("ends_at", "It ends before it starts. Give a later end, or an earlier start.")


def next_times(*, timing: Timing, after: datetime, count: int) -> list[datetime]:
    """The moments at which a schedule is due.

    Args:
        timing: when, as a schedule says it.
        after: the answers come later than this; an aware datetime.
        count: how many at most.

    Returns:
        moments in UTC, ascending, each once, none before `starts_at` and none after `ends_at`; fewer than
        `count` where the calendar ends (31 February).

    Raises:
        BadTiming: the schedule can't be read.
    """
    return list(islice(times_after(timing=timing, after=after), count))


def times_after(*, timing: Timing, after: datetime) -> Iterator[datetime]:
    """As `next_times`, one by one and without an end of its own."""
    timing_check(timing=timing)
    after = after.astimezone(UTC)
    if timing.starts_at is not None:
        # The start itself counts, and the answers come later than `after`.
        after = max(after, timing.starts_at.astimezone(UTC) - timedelta(microseconds=1))
    times = _times(timing, after)
    if timing.ends_at is not None:
        ends_at = timing.ends_at.astimezone(UTC)
        times = takewhile(lambda time: time <= ends_at, times)
    return times


def first_time(*, timing: Timing, now: datetime) -> datetime:
    """The next moment at which a schedule is due.

    Raises:
        BadTiming: it can't be read, or there is none; with the field that is at fault.
    """
    if times := next_times(timing=timing, after=now, count=1):
        return times[0]
    if timing.ends_at is not None and timing.ends_at <= now:
        raise BadTiming("ends_at", "This end has passed already, so it would never run. Give a later one.")
    if timing.kind == "once" and timing.once_at is not None and timing.once_at <= now:
        raise BadTiming("once_at", "This moment has passed already. Give a later one.")
    if timing.kind == "once" or timing.ends_at is not None:
        raise BadTiming(
            "ends_at" if timing.ends_at is not None else "starts_at",
            "It would never run: none of its times lies between its start and its end.",
        )
    raise BadTiming("crontab", "No day of the calendar fits this crontab (like 31 February).")


def timing_words(*, timing: Timing) -> str:
    """The schedule in words, for example "At 02:30 on Monday through Friday". Raises `BadTiming`."""
    timing_check(timing=timing)
    if timing.kind == "interval":
        return f"Every {timing.interval_seconds} seconds"
    if timing.kind == "once":
        assert timing.once_at is not None
        return f"Once, on {timing.once_at.astimezone(_zone(timing.timezone)):%A %d %B %Y at %H:%M:%S}"
    return _plainly(CronSim(timing.crontab, datetime.now(UTC)).explain())


def _plainly(words: str) -> str:
    """“Every 30 minutes”, where steps come evenly: “every 30th minute of every hour” is read as another."""

    def every(said: re.Match[str]) -> str:
        step = said["step"]
        number = _ORDINALS[step] if step in _ORDINALS else int(step.rstrip("stndrh"))
        whole, unit, begins = (
            (60, "minutes", "Every") if said["unit"] == "minute" else (24, "hours", ", every")
        )
        return f"{begins} {number} {unit}" if whole % number == 0 else said[0]

    words = re.sub(r"^Every (?P<step>\w+) (?P<unit>minute)\b( of every hour)?", every, words)
    if words.startswith("At minute "):
        words = re.sub(r" past every (?P<step>\w+) (?P<unit>hour)\b", every, words)
    return words


def _zone(name: str) -> zoneinfo.ZoneInfo:
    if name not in zone_names():
        raise BadTiming("timezone", f"There is no time zone {name!r}. Write one like Europe/Berlin, or UTC.")
    return zoneinfo.ZoneInfo(name)


@lru_cache(maxsize=_REMEMBERED)
def _crontab_check(crontab: str) -> None:
    parts = crontab.split()
    if len(parts) != len(_FIELDS):
        raise BadTiming(
            "crontab",
            "A crontab has five fields (minute, hour, day of month, month, day of week), and this has "
            f"{len(parts)}. Every day at 02:30 is 30 2 * * *.",
        )
    for position, (name, allowed) in enumerate(_FIELDS.items()):
        alone = ["*"] * len(_FIELDS)
        alone[position] = parts[position]
        try:
            CronSim(" ".join(alone), datetime.now(UTC))
        except (CronSimError, ValueError):
            raise BadTiming(
                "crontab",
                f"The {name.replace('-', ' ')} {parts[position]!r} can't be read. It takes {allowed}; also "
                "* for every one, */5 for every fifth, 1-5 for a range and 1,3 for a list.",
            ) from None
    try:
        CronSim(crontab, datetime.now(UTC))
    except (CronSimError, ValueError):
        # Each field is fine by itself: together they name a day that no month has.
        raise BadTiming("crontab", "No day of the calendar fits this crontab (like 31 February).") from None


def _times(timing: Timing, after: datetime) -> Iterator[datetime]:
    """All moments later than `after`, in UTC."""
    if timing.kind == "interval":
        assert timing.interval_seconds is not None  # timing_check saw to it
        return _interval_times(timing, timing.interval_seconds, after)
    if timing.kind == "once":
        assert timing.once_at is not None
        once_at = timing.once_at.astimezone(UTC)
        return iter([once_at] if once_at > after else [])
    return _crontab_times(timing.crontab, _zone(timing.timezone), after)


def _interval_times(timing: Timing, seconds: int, after: datetime) -> Iterator[datetime]:
    step = timedelta(seconds=seconds)
    anchor, earliest = timing.anchor_at.astimezone(UTC), 1
    if timing.starts_at is not None and timing.starts_at > anchor:
        # "Every two hours, not before Monday at eight": on Monday at eight, at ten, …
        anchor, earliest = timing.starts_at.astimezone(UTC), 0
    first = max(earliest, (after - anchor) // step + 1)
    return (anchor + step * number for number in counted_from(first))


def _crontab_times(crontab: str, zone: zoneinfo.ZoneInfo, after: datetime) -> Iterator[datetime]:
    wall = after.astimezone(zone).replace(tzinfo=None)
    moments = (wall_moment(time, zone) for time in _wall_times(_parsed(crontab), wall))
    newest = after
    for moment in moments:
        # Skipped times fall together on one minute, and a repeated hour was served the first time.
        if moment > newest:
            newest = moment
            yield moment


@lru_cache(maxsize=_REMEMBERED)
def _parsed(crontab: str) -> CronSim:
    """A crontab's fields, to be read only."""
    return CronSim(crontab, datetime(2000, 1, 1))


def _wall_times(fields: CronSim, after: datetime) -> Iterator[datetime]:
    """The times on the wall that a crontab means, later than this one (naive).

    As `cronsim` steps to them, only faster: it goes hour by hour, this day by day.
    """
    hours, minutes = sorted(fields.hours), sorted(fields.minutes)
    today = day = after.date()
    found_in = day.year
    while day.year <= found_in + _FARTHEST:
        if day.month not in fields.months:
            day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
            continue
        if fields.match_day(day):
            found_in = day.year
            for hour in hours:
                if day == today and hour < after.hour:
                    continue
                for minute in minutes:
                    time = datetime(day.year, day.month, day.day, hour, minute)
                    if time > after:
                        yield time
        day += timedelta(days=1)


def wall_moment(wall: datetime, zone: zoneinfo.ZoneInfo) -> datetime:
    """When clocks on the wall show this time (naive), in UTC.

    That is the first such moment where it comes twice, and the next minute that exists where it is skipped.
    """
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    # The clocks jump over it between these two: read as if they had jumped already, and as if they never did.
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC).replace(second=0, microsecond=0)
    minutes = range(1, (moment - before) // _MINUTE + 1)
    gone = bisect_left(minutes, True, key=lambda minute: _jumped(before, before + minute * _MINUTE, zone))
    return before + minutes[gone] * _MINUTE


def _jumped(before: datetime, moment: datetime, zone: zoneinfo.ZoneInfo) -> bool:
    return moment.astimezone(zone).utcoffset() != before.astimezone(zone).utcoffset()


def clock_note(*, timing: Timing, moment: datetime) -> str:
    """What a change of the clocks does to a planned time, in words; "" on almost all days.

    Args:
        timing: when, as a schedule says it.
        moment: one of its `next_times`.
    """
    zone = _zone(timing.timezone)
    local = moment.astimezone(zone)
    if timing.kind == "crontab" and (skipped := _skipped_until(moment, zone)):
        # Of what the clocks skip, the first time that the crontab names; else it is the next one.
        meant = next(_wall_times(_parsed(timing.crontab), skipped - timedelta(microseconds=1)))
        if meant < local.replace(tzinfo=None):
            return f"the clocks skip {meant:%H:%M} that day"
    if timing.kind == "once" and timing.once_at == moment and (before := _skipped_until(moment, zone)):
        # The form moved what was typed to the next minute that exists, and only that is known.
        return f"the clocks skip {before:%H:%M} to {local:%H:%M} that day"
    earlier, later = (local.replace(fold=fold).utcoffset() for fold in (0, 1))
    # Where clocks skip an hour the two differ as well, the other way round.
    if earlier is None or later is None or earlier <= later:
        return ""
    if timing.kind == "crontab":
        return f"{local:%H:%M} comes twice that day and runs once; an interval goes on through both"
    return f"{local:%H:%M} comes twice that day; this is the {'second' if local.fold else 'first'}"


def _skipped_until(moment: datetime, zone: zoneinfo.ZoneInfo) -> datetime | None:
    """Where at this very moment the clocks jump forward: the first time on the wall that they leave out."""
    before = (moment - timedelta(minutes=1)).astimezone(zone).replace(tzinfo=None) + timedelta(minutes=1)
    return before if before < moment.astimezone(zone).replace(tzinfo=None) else None
