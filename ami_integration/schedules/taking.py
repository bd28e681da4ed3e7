"""From what is due to planned runs: one schedule at a time, and all of it or nothing.

A schedule is taken under its lock, in one transaction: the planned times' rows, the runs or the fan-out of
those that run, the audit's entries, and the schedule's next time, which moves by a compare-and-swap. Wherever
the process dies, each planned time is there once, or is taken by the next tick. A schedule that another tick
has in hand is passed over; it is as late as that one.

What was missed and runs after all isn't submitted here: it is written down as waiting, with the move of the
next time, and the same tick's next step submits it (`waiting.py`).
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import IntegrityError, InterfaceError, OperationalError, transaction

from ami_integration.audit.models import AuditEntry
from ami_integration.audit.services import entry_write
from ami_integration.schedules.blackouts import Window, blackout_for
from ami_integration.schedules.calendar import BadTiming, next_times
from ami_integration.schedules.left_out import left_out_note
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.pausing import schedules_switch
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.rules import (
    LATE_OK,
    Before,
    missed_decide,
    missed_reason,
    moment_words,
    overlap_decide,
)
from ami_integration.schedules.submission import planned_starts, planned_submit, planned_take_back
from ami_integration.schedules.switch import Paused
from ami_integration.schedules.targets import schedule_servers, targets_audit
from ami_integration.schedules.turn import Tick
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server

logger = logging.getLogger(__name__)

Outcome = PlannedRun.Outcome
#: Planned times of one schedule that one tick takes, when it is late but within `LATE_OK`.
CATCH_UP = LATE_OK
#: What a planned time may become at once, without running.
LEFT_OUT = (Outcome.SKIPPED, Outcome.MISFIRED, Outcome.BLACKOUT, Outcome.PAUSED, Outcome.REFUSED)


class _EditedMeanwhileError(Exception):
    """The schedule is not as it was read; nothing of it is stored."""


def schedule_take(*, schedule_id: int, tick: Tick) -> int:
    """Deal with all that is due of one schedule. Returns how many planned times were dealt with.

    Whatever goes wrong is logged and stops no other schedule.
    """
    try:
        try:
            return _take(schedule_id, tick)
        except IntegrityError:
            # A server that was deleted this very moment, for example. Nothing of it is stored.
            return _take(schedule_id, tick)
    except (OperationalError, InterfaceError) as error:
        # A lock, a deadlock, a connection that broke: nothing of it is stored, so its time still stands.
        logger.warning(
            "The schedule %s can't be taken now; the next tick takes it again: %s", schedule_id, error
        )
    except _EditedMeanwhileError:
        logger.info("The schedule %s was edited while it was taken; the next tick takes it.", schedule_id)
    except Exception as error:
        # It must not be tried again every second.
        logger.exception("The schedule %s can't be taken", schedule_id)
        try:
            _give_up(schedule_id, tick, error)
        except Exception:
            # It stays due; the others have their turn all the same.
            logger.exception("That the schedule %s failed can't be recorded", schedule_id)
    return 0


def _take(schedule_id: int, tick: Tick) -> int:
    to_ring: list[int] = []
    with transaction.atomic():
        due = Schedule.objects.due(tick.now).filter(pk=schedule_id)
        schedule = due.locked().select_related("owner", "tag").first()
        if schedule is None or schedule.next_at is None:
            return 0  # another tick has it, or it was edited since it was looked for
        taking = Taking(schedule, tick, to_ring)
        taking.go()
        noted = {"next_at": taking.next_at} | taking.noted()
        if not Schedule.objects.advance(schedule, taking.first, **noted):
            raise _EditedMeanwhileError
        taking.audit()
    tick.to_ring += to_ring
    tick.misfired += sum(planned.outcome == Outcome.MISFIRED for planned in taking.left_out)
    return taking.dealt


class Taking:
    """One schedule in the hands of a tick, within a transaction and under its lock."""

    def __init__(self, schedule: Schedule, tick: Tick, to_ring: list[int]) -> None:
        self.schedule = schedule
        self.tick = tick
        self.to_ring = to_ring
        self.first = schedule.next_at or tick.now
        self.next_at = schedule.next_at
        self.dealt = 0
        self.left_out: list[PlannedRun] = []
        self.rows = list(schedule.planned_runs.open_or_since(self.first).order_by("planned_at"))
        self.known = {row.planned_at for row in self.rows}
        submitted = [row.pk for row in self.rows if row.state == Outcome.SUBMITTED]
        going: set[int] = set()
        if submitted:
            going.update(PlannedRun.objects.filter(pk__in=submitted).going().values_list("pk", flat=True))
        self.before = Before.of(self.rows, going)
        self.switch = schedules_switch()
        #: Whether all schedules are paused now.
        self.paused = self.switch is not None and self.switch.paused
        self.runs_counted = schedule.runs_counted
        self.failures = schedule.failures
        self.stopped = ""

    def go(self) -> None:
        """Deal with one planned time after the other, as far as the tick's time goes."""
        now, missed = self.tick.now, self.tick.missed_before
        while self.next_at is not None and self.next_at <= now and self.dealt < CATCH_UP:
            if self.next_at < missed:
                self._missed(self.next_at)
            else:
                self._due(self.next_at)
            if self.tick.over:
                break

    def _following(self, due_at: datetime) -> datetime | None:
        """The next time, unless it has run as often as it shall, or was stopped."""
        if self.stopped or self.exhausted:
            return None
        return next(iter(next_times(timing=self.schedule, after=due_at, count=1)), None)

    @property
    def exhausted(self) -> bool:
        """Whether it has run as often as it shall."""
        return self.schedule.max_runs is not None and self.runs_counted >= self.schedule.max_runs

    # -- what was missed

    def _missed(self, due_at: datetime) -> None:
        """Write down what was missed: left out, or waiting for its turn (`waiting.py`)."""
        missed = missed_decide(
            timing=self.schedule,
            due_at=due_at,
            now=self.tick.now,
            before=self.tick.missed_before,
            paused=self.paused,
            held=self._held_since,
        )
        told = ""
        if missed.run and self.schedule.misfire == Schedule.Misfire.ONCE:
            told = f" The one planned for {moment_words(missed.run[-1])} runs once for all of them."
        elif self.paused and self.schedule.misfire != Schedule.Misfire.SKIP:
            told = " None runs after all, since all schedules are paused."
        left_out = [self._passed(time, told) for time in missed.left_out if time not in self.known]
        if missed.last is not None and left_out:
            left_out[-1].reason += (
                f" The planned times after this one, up to {moment_words(missed.last)}, did not run either, "
                "and are not listed one by one."
            )
        late = [self._late(time) for time in missed.run if time not in self.known]
        PlannedRun.objects.bulk_create([*left_out, *late])
        self.known |= {row.planned_at for row in (*left_out, *late)}
        self.left_out += left_out
        self.before = Before(self.before.running, (*self.before.waiting, *(row.planned_at for row in late)))
        self.dealt += len(left_out) + len(late)
        self.next_at = missed.following

    def _held_since(self, time: datetime) -> datetime | None:
        """Since when a pause or a window held the whole schedule back at a time; None: nothing did."""
        if (pause := self._pause(time)) is not None:
            return pause.since
        held = self._blackout(time)
        return None if held is None else held.starts_at

    def _passed(self, time: datetime, told: str) -> PlannedRun:
        """One that doesn't run any more. Was it kept back at its time, that is the reason, and no outage."""
        if (pause := self._pause(time)) is not None:
            return self._row(time, Outcome.PAUSED, pause.sentence)
        held = self._blackout(time)
        if held is not None:
            return self._row(time, Outcome.BLACKOUT, f"Not run: {held.sentence}")
        tick = self.tick
        reason = missed_reason(time=time, now=tick.now, since=tick.since, before=tick.missed_before)
        return self._row(time, Outcome.MISFIRED, reason + told)

    def _late(self, time: datetime) -> PlannedRun:
        """One that runs after all, or behind those."""
        if time < self.tick.missed_before:
            reason = f"Missed at {moment_words(time)}, and run after all."
        elif self.schedule.misfire == Schedule.Misfire.ONCE:
            reason = "Run once for those that were missed before it."
        else:
            reason = "Its turn came after those that were missed before it."
        return self._row(time, Outcome.WAITING, reason)

    # -- what is due

    def _due(self, due_at: datetime) -> None:
        self.dealt += 1
        if due_at not in self.known:
            planned = self._decide(due_at)
            if planned.pk is None:
                planned.save(force_insert=True)
            if planned.outcome in LEFT_OUT:
                self.left_out.append(planned)
        self.next_at = self._following(due_at)

    def _decide(self, due_at: datetime) -> PlannedRun:
        if (pause := self._pause(due_at, now=True)) is not None:
            return self._row(due_at, Outcome.PAUSED, pause.sentence)
        held = self._blackout(due_at)
        if held is not None:
            return self._row(due_at, Outcome.BLACKOUT, f"Not run: {held.sentence}")
        outcome, reason = overlap_decide(overlap=self.schedule.overlap, before=self.before)
        if outcome == Outcome.WAITING:
            self.before = Before(self.before.running, (*self.before.waiting, due_at))
        planned = self._row(due_at, outcome, reason)
        if outcome == Outcome.SUBMITTED:
            self.submit(planned, since=due_at)
        return planned

    def _pause(self, at: datetime, *, now: bool = False) -> Paused | None:
        """The pause of all schedules that a moment lies in; with `now` the one that lasts, whatever it is."""
        if self.switch is None:
            return None
        return self.switch.at(max(at, self.switch.turned_at) if now and self.paused else at)

    def _blackout(self, at: datetime) -> Window | None:
        """What holds the whole schedule back. What is about a tag is asked once its servers are known."""
        return blackout_for(schedule=self.schedule, at=at, servers=(), rules=self.tick.blackouts).whole

    def submit(self, planned: PlannedRun, *, since: datetime) -> None:
        """Find the servers, and submit what is left of them.

        Args:
            planned: a new one, or one that waited.
            since: from when on the starts of its servers are spread.
        """
        schedule, owner = self.schedule, self.tick.owner(self.schedule)
        try:
            rules = self.tick.rules_of(owner)
            targets = schedule_servers(schedule=schedule, user=owner, rules_read=rules)
        except SecretUnreadable as error:
            self._refuse(planned, str(error))
            return
        if targets.stops:
            self._stop(planned, targets.stops)
            return
        targets_audit(schedule=schedule, user=owner, targets=targets)
        planned.reason = f"{planned.reason} {targets.reason}".strip()
        planned.refused = targets.forbidden
        if not targets.servers:
            if targets.refused and not planned.refused:
                # A server's switch (maintenance, read-only) is turned for a while, by somebody who knows.
                planned.outcome = Outcome.SKIPPED
            else:
                # Where all were deleted or disabled, nobody would hear of it otherwise.
                self._refuse(planned, "")
            return
        starts = planned_starts(schedule=schedule, servers=targets.servers, since=since)
        servers = self._outside_blackouts(planned, targets.servers, starts)
        if not servers:
            planned.outcome = Outcome.BLACKOUT
            return
        planned_submit(
            schedule=schedule,
            planned=planned,
            servers=servers,
            user=owner,
            now=self.tick.now,
            decisions=targets.decisions,
            start_at=starts,
            to_ring=self.to_ring,
        )
        if planned.outcome == Outcome.REFUSED:
            self.failures += 1
            return
        self.runs_counted += 1
        self.before = Before(self.before.running or planned.planned_at, self.before.waiting)

    def _outside_blackouts(
        self, planned: PlannedRun, servers: Sequence[Server], starts: dict[int, datetime]
    ) -> list[Server]:
        """Those that may start at their moment; the others are told in the planned run's reason."""
        if not self.tick.blackouts:
            return list(servers)
        free, told = [], []
        for server in servers:
            at = starts.get(server.pk, max(planned.planned_at, self.tick.now))
            held = blackout_for(schedule=self.schedule, at=at, servers=[server], rules=self.tick.blackouts)
            if held.whole is None:
                free.append(server)
            else:
                told.append(f"Not run on {server.name}: {held.whole.sentence}")
        planned.reason = " ".join([planned.reason, *told]).strip()
        return free

    def _refuse(self, planned: PlannedRun, reason: str) -> None:
        planned.outcome = Outcome.REFUSED
        planned.reason = f"{planned.reason} {reason}".strip()
        self.failures += 1

    def _stop(self, planned: PlannedRun, why: str) -> None:
        """The schedule doesn't go on with this person's rights: visibly, until somebody takes it over."""
        self._refuse(planned, why)
        self.stopped = why
        planned_take_back(
            schedule=self.schedule, reason=f"Not begun: the schedule was stopped. {why}", now=self.tick.now
        )
        self.before = Before(self.before.running)
        entry_write(
            actor=None,
            origin="schedule",
            verb="schedule.stop",
            what={"reason": why, "owner": self.schedule.owner_name},
            object_type="schedule",
            object_id=self.schedule.pk,
            object_name=self.schedule.name,
            outcome=AuditEntry.Outcome.REFUSED,
        )

    def _row(self, planned_at: datetime, outcome: str, reason: str) -> PlannedRun:
        return PlannedRun(schedule_id=self.schedule.pk, planned_at=planned_at, outcome=outcome, reason=reason)

    # -- what the schedule keeps of it

    def noted(self) -> dict[str, Any]:
        """The columns of the schedule that changed, besides its next time."""
        noted: dict[str, Any] = {}
        if self.runs_counted != self.schedule.runs_counted:
            noted["runs_counted"] = self.runs_counted
        if self.failures != self.schedule.failures:
            noted["failures"] = self.failures
        if self.left_out:
            newest = max(self.left_out, key=lambda planned: planned.planned_at)
            if self.schedule.last_at is None or newest.planned_at >= self.schedule.last_at:
                noted |= {"last_state": newest.state, "last_at": newest.planned_at}
        if self.stopped:
            noted |= {"stopped_at": self.tick.now, "stopped_why": self.stopped, "next_at": None}
        return noted

    def audit(self) -> None:
        """One entry for all that didn't run, however many there are."""
        left_out_note(schedule=self.schedule, left_out=self.left_out)


def _give_up(schedule_id: int, tick: Tick, error: Exception) -> None:
    """A planned time that amiweb itself failed on: recorded, and not tried again."""
    with transaction.atomic():
        schedule = Schedule.objects.due(tick.now).filter(pk=schedule_id).locked().first()
        if schedule is None or schedule.next_at is None:
            return
        due_at, following, noted = schedule.next_at, None, {}
        why = f"amiweb itself failed ({type(error).__name__}); its log says more."
        try:
            following = next(iter(next_times(timing=schedule, after=max(due_at, tick.now), count=1)), None)
        except Exception as unreadable:  # whatever it is: without a next time it is due for ever
            said = str(unreadable) if isinstance(unreadable, BadTiming) else type(unreadable).__name__
            why = f"Its times can't be read: {said}"
            noted = {"stopped_at": tick.now, "stopped_why": why}
        planned, created = PlannedRun.objects.get_or_create(
            schedule_id=schedule.pk,
            planned_at=due_at,
            defaults={"outcome": Outcome.REFUSED, "reason": why},
        )
        noted |= {
            "failures": schedule.failures + created,
            "last_state": planned.state,
            "last_at": planned.planned_at,
        }
        if Schedule.objects.advance(schedule, due_at, following, **noted) and created:
            left_out_note(schedule=schedule, left_out=[planned])
