"""When schedules are due in one week, remembered: the calendar shows thousands at once.

The times come from `calendar`, as the tick's do. They depend on nothing but the timing and the
week, so a process keeps what it computed; the memory is bounded, by number and by the length of each. What
is due more than `FREQUENT` times is not listed but counted: the page draws it as a band.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from typing import Any

from ami_integration.schedules.calendar import BadTiming, next_times, times_after
from ami_integration.schedules.slots import Week

#: Planned times of one week that are drawn one by one: every four hours at most.
FREQUENT = 42
#: Weeks of timings that a process remembers: 43 times at most each; and of frequent ones, all their times.
_LISTED = 20_000
_COUNTED = 64
#: A crontab is due every minute that clocks on the wall show, at most.
_MOST = 7 * 24 * 60
_SOME_DAY = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = 1_000_000
#: What is read of each schedule.
SCHEDULE_COLUMNS = (
    "pk", "name", "kind", "crontab", "interval_seconds", "timezone", "anchor_at", "once_at", "starts_at",
    "ends_at", "enabled", "stopped_at", "next_at", "max_runs", "runs_counted", "failures",
)  # fmt: skip


@dataclass(unsafe_hash=True, slots=True)
class Plan:
    """What decides when a schedule is due, and nothing else; a `calendar.Timing`. Never changed once made."""

    kind: str
    crontab: str
    interval_seconds: int | None
    timezone: str
    anchor_at: datetime
    once_at: datetime | None
    starts_at: datetime | None
    ends_at: datetime | None


def plan_of(schedule: Any) -> Plan:
    """Of a schedule, or of a row with its fields: two that are due at the same times are equal."""
    interval = schedule.kind == "interval"
    return Plan(
        schedule.kind,
        schedule.crontab if schedule.kind == "crontab" else "",
        schedule.interval_seconds if interval else None,
        schedule.timezone,
        schedule.anchor_at if interval else _SOME_DAY,
        schedule.once_at if schedule.kind == "once" else None,
        schedule.starts_at,
        schedule.ends_at,
    )


def planned_times(plan: Plan, week: Week) -> "array[int] | None":
    """When it is due in this week: seconds since 1970, ascending. None: too often to be listed."""
    return _listed(plan, week.days[0].since, week.days[-1].until)


def planned_count(plan: Plan, week: Week, since: float, until: float) -> int:
    """How often it is due from `since` up to, not including, `until` (seconds since 1970), in this week."""
    first, last = week.days[0].since, week.days[-1].until
    since, until = max(since, first), min(until, last)
    if until <= since:
        return 0
    if plan.kind == "interval":
        return _interval_count(plan, since, until)
    times = _counted(plan, first, last)
    return bisect_left(times, until) - bisect_left(times, since)


@lru_cache(maxsize=_LISTED)
def _listed(plan: Plan, since: int, until: int) -> "array[int] | None":
    times = _times(plan, since, until, FREQUENT + 1)
    return None if len(times) > FREQUENT else times


@lru_cache(maxsize=_COUNTED)
def _counted(plan: Plan, since: int, until: int) -> "array[int]":
    return _times(plan, since, until, _MOST)


def _times(plan: Plan, since: int, until: int, count: int) -> "array[int]":
    after = datetime.fromtimestamp(since, UTC) - timedelta(microseconds=1)
    end = datetime.fromtimestamp(until, UTC)
    try:
        moments = takewhile(lambda moment: moment < end, times_after(timing=plan, after=after))
        return array("q", (int(moment.timestamp()) for moment in islice(moments, count)))
    except BadTiming:
        return array("q")  # the form would not save it any more; its page says so


def _interval_count(plan: Plan, since: float, until: float) -> int:
    """By arithmetic, as `next_times` counts: every second of a week is too much to walk through."""
    step = (plan.interval_seconds or 1) * _MICROSECONDS
    origin = _micros(plan.anchor_at) + step
    if plan.starts_at is not None and plan.starts_at > plan.anchor_at:
        origin = _micros(plan.starts_at)
    first, end = int(since * _MICROSECONDS), int(until * _MICROSECONDS)
    if plan.ends_at is not None:
        end = min(end, _micros(plan.ends_at) + 1)
    # -(-a // b) rounds up: the steps that lie before a moment.
    return max(0, -((origin - end) // step)) - max(0, -((origin - first) // step)) if end > first else 0


def _micros(moment: datetime) -> int:
    elapsed = moment - _SOME_DAY
    return (elapsed.days * 86_400 + elapsed.seconds) * _MICROSECONDS + elapsed.microseconds


@lru_cache(maxsize=_LISTED)
def last_time(plan: Plan, next_at: datetime, remaining: int) -> datetime | None:
    """When a schedule that may run only so many times more is due for the last time.

    None: never, or so many times from now (more than `FREQUENT` * 12) that a calendar needs no end of it.
    """
    if remaining > FREQUENT * 12:
        return None
    times = next_times(timing=plan, after=next_at - timedelta(microseconds=1), count=remaining)
    return times[-1] if times else None


# Of the schedules of a page: rows with `SCHEDULE_COLUMNS`


def divided(
    schedules: Iterable[Any], week: Week
) -> tuple[list[tuple[Any, Plan, "array[int]"]], list[tuple[Any, Plan]]]:
    """The schedules with their times of the week, and those that are due too often; these fail first."""
    listed, frequent = [], []
    for row in schedules:
        plan = plan_of(row)
        times = planned_times(plan, week)
        if times is None:
            frequent.append((row, plan))
        else:
            listed.append((row, plan, times))
    frequent.sort(key=lambda pair: -pair[0].failures)
    return listed, frequent


def comes(row: Any) -> bool:
    """Whether a schedule is due again at all."""
    return row.enabled and row.stopped_at is None and row.next_at is not None


def end_of(row: Any, plan: Plan) -> float:
    """After which moment it isn't due any more because it will have run as often as it may."""
    if row.max_runs is None:
        return float("inf")
    remaining = row.max_runs - row.runs_counted
    if remaining <= 0:
        return float("-inf")
    last = last_time(plan, row.next_at, remaining)
    return float("inf") if last is None else last.timestamp()


def upcoming(row: Any, plan: Plan, times: "array[int]") -> "array[int]":
    """Those of the week's times that the tick will take.

    `next_at` says which is the first that is still to be taken; one that is due this very second may be it.
    """
    if not comes(row) or not times:
        return times[:0]
    first = bisect_left(times, int(row.next_at.timestamp()))
    end = end_of(row, plan)
    return times[first : bisect_right(times, end)] if end < times[-1] else times[first:]
