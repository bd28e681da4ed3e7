"""What a planned time meets before it becomes runs: the pure decisions, and the words for them.

Everything here is computed from what was read before; nothing is written.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

from ami_integration.schedules.calendar import Timing, next_times, times_after
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun

#: Up to so many seconds after its planned time something just runs; later it was missed.
LATE_OK = 60
#: So many seconds late something runs that fell due while ticks were running: they were behind, not down.
BEHIND_OK = 15 * 60
#: Missed times of one schedule that are written down one by one; the rest is told in a sentence.
MISSED_LISTED = 100
#: So far back the newest missed times are looked for at first; each further look goes twice as far.
_FIRST_LOOK = timedelta(minutes=5)
_TICK = timedelta(microseconds=1)


def moment_words(moment: datetime) -> str:
    """A moment in a sentence that is kept or sent: whoever reads it may be anywhere."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


# -- the one before


@dataclass(frozen=True)
class Before:
    """The planned times of a schedule that haven't ended, by-hand ones left aside.

    Attributes:
        running: the planned time of the oldest whose runs haven't ended, or None.
        waiting: the planned times of those that wait.
    """

    running: datetime | None = None
    waiting: tuple[datetime, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[PlannedRun], going: Collection[int]) -> "Before":
        """From planned runs, the oldest first.

        Args:
            going: the ids of those of which a run is queued or in progress. What has ended but isn't on
                record as ended yet stands in nobody's way.
        """
        mine = [row for row in rows if not row.by_hand]
        running = (row.planned_at for row in mine if row.pk in going)
        waiting = (row.planned_at for row in mine if row.outcome == PlannedRun.Outcome.WAITING)
        return cls(next(running, None), tuple(waiting))


def overlap_decide(*, overlap: str, before: Before) -> tuple[str, str]:
    """What becomes of a planned time as far as the one before it decides.

    Returns:
        SUBMITTED, WAITING or SKIPPED, and the sentence that says why.
    """
    if before.running is None and not before.waiting:
        return PlannedRun.Outcome.SUBMITTED, ""
    if overlap == Schedule.Overlap.ALLOW:
        if not before.waiting:
            return PlannedRun.Outcome.SUBMITTED, ""
        # It was missed, and runs first: they may run beside each other, but begin in their order.
        return PlannedRun.Outcome.WAITING, (
            f"Waited for the turn of the one planned for {moment_words(before.waiting[-1])}."
        )
    if before.waiting and overlap == Schedule.Overlap.QUEUE:
        return PlannedRun.Outcome.SKIPPED, (
            f"Left out: the one planned for {moment_words(before.waiting[0])} was still waiting, and one "
            "may wait at a time."
        )
    if overlap == Schedule.Overlap.QUEUE:
        assert before.running is not None
        return PlannedRun.Outcome.WAITING, (
            f"Waited for the one planned for {moment_words(before.running)}, which had not ended."
        )
    earlier = before.running or before.waiting[0]
    return PlannedRun.Outcome.SKIPPED, (
        f"Left out: the one planned for {moment_words(earlier)} had not ended."
    )


# -- what was missed


@dataclass(frozen=True)
class Missed:
    """What was due while nothing ticked.

    Attributes:
        run: those that run after all, the oldest first.
        left_out: those that don't, the oldest first, and no more than are listed.
        last: the newest one that is left out, if not all are listed.
        following: the first time that isn't decided on here; None if there is none.
    """

    run: Sequence[datetime] = ()
    left_out: Sequence[datetime] = ()
    last: datetime | None = None
    following: datetime | None = None


def late_at_most(seconds: int) -> timedelta:
    """How late something may begin, by a schedule's “late by at most”; within `LATE_OK` it always may."""
    return timedelta(seconds=max(seconds, LATE_OK))


def missed_decide(
    *,
    timing: Schedule,
    due_at: datetime,
    now: datetime,
    before: datetime,
    paused: bool,
    held: Callable[[datetime], datetime | None],
) -> Missed:
    """What becomes of the planned times that were missed.

    Where some of them run after all, what is only late goes with them: it has its turn behind those that are
    older, or runs for all of them.

    Args:
        timing: the schedule.
        due_at: the first one.
        before: older than this is missed; `due_at` is.
        paused: whether all schedules are, so that none runs after all.
        held: since when a blackout held at a moment, or None. What it held back is none of those that run.

    Raises:
        BadTiming: the schedule can't be read.
    """
    most = {Schedule.Misfire.ONCE: 1, Schedule.Misfire.ALL: timing.misfire_limit}.get(
        Schedule.Misfire(timing.misfire), 0
    )
    run: list[datetime] = []
    if most and not paused:
        before = now + _TICK
        earliest = now - late_at_most(timing.grace_seconds)
        run = _newest_free(timing, due_at, before, earliest, most, held)
    first = [due_at, *next_times(timing=timing, after=due_at, count=MISSED_LISTED + len(run))]
    left_out = [time for time in first if time < before and time not in run]
    last = None
    if len(left_out) > MISSED_LISTED:
        left_out = left_out[:MISSED_LISTED]
        newest = newest_times(timing=timing, since=due_at, before=before, count=len(run) + 1)
        last = next(time for time in reversed(newest) if time not in run)
    following = next(iter(next_times(timing=timing, after=before - _TICK, count=1)), None)
    return Missed(run, left_out, last, following)


def _newest_free(
    timing: Schedule,
    due_at: datetime,
    before: datetime,
    earliest: datetime,
    most: int,
    held: Callable[[datetime], datetime | None],
) -> list[datetime]:
    """The newest `most` times in no blackout, from `earliest` up to, not including, `before`; ascending."""
    free: list[datetime] = []
    while len(free) < most and before > due_at:
        newest = newest_times(timing=timing, since=due_at, before=before, count=most - len(free))
        for time in reversed(newest):
            if time < earliest:
                return free[::-1]
            before = time
            if (window := held(time)) is not None:
                before = min(window, time)  # all in it are held back: on with what is older
                break
            free.append(time)
    return free[::-1]


def newest_times(*, timing: Timing, since: datetime, before: datetime, count: int) -> list[datetime]:
    """The last `count` planned times from `since` up to, not including, `before`; `since` is one of them."""
    look = _FIRST_LOOK
    while True:
        start = max(since, before - look)
        found = list(takewhile(lambda time: time < before, times_after(timing=timing, after=start - _TICK)))
        if start == since and (not found or found[0] != since):
            found = [since, *found]  # it was planned before the schedule was edited
        if len(found) >= count or start == since:
            return found[-count:]
        look *= 2


def missed_reason(*, time: datetime, now: datetime, since: datetime, before: datetime) -> str:
    """Why a planned time was missed.

    Args:
        since: since when ticks follow each other without a break.
        before: older than this is missed; what is younger was left out with what is.
    """
    if time >= before:
        return (
            f"Not run: amiweb got to it at {moment_words(now)}, together with times that were missed, and of "
            "all of them only newer ones run."
        )
    if time >= since - timedelta(seconds=LATE_OK):
        return (
            f"Not run: it was due more than {BEHIND_OK // 60} min before amiweb got to it "
            f"({moment_words(now)}). The clock was running, but more was due than it could submit."
        )
    return (
        f"Not run: it was due more than {LATE_OK} s before amiweb got to it ({moment_words(now)}). The clock "
        "(the processes beat and ticker) was not running, or could not reach the task queue or the database."
    )


def times_words(times: Sequence[datetime], most: int = 3) -> str:
    """A few planned times, for an entry of the audit."""
    shown = [moment_words(time) for time in islice(times, most)]
    return ", ".join(shown) + (f" and {len(times) - most} more" if len(times) > most else "")
