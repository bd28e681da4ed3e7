"""One tick of the clock: what is due is taken, what ended is settled, what waited is submitted.

Every second, and well within it: each step has its share of the time, and what it doesn't reach the next
tick goes on with. A step that fails stops no other. Two ticks at once are harmless, since each works on a
schedule under its lock, and share the work.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime

from django.db import Error
from django.utils import timezone

from ami_integration.actions.watch import runs_begin
from ami_integration.schedules.alerts.conditions import MOST as MOST_ALERTS
from ami_integration.schedules.alerts.services import alerts_look
from ami_integration.schedules.holding import held_take_back
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.settling import planned_settle
from ami_integration.schedules.taking import schedule_take
from ami_integration.schedules.turn import RING_AT_ONCE, Tick
from ami_integration.schedules.waiting import waiting_schedules, waiting_submit

logger = logging.getLogger(__name__)

#: Seconds after which a tick begins nothing more.
LONGEST = 0.8
#: Seconds of them after which nothing more is taken until ends and waiting ones have had their turn, too.
TAKING = 0.6
SETTLING = 0.72
#: Seconds of them that are left for the look for alerts, in a tick that has it: it comes under any load.
ALERTS = 0.2
#: Schedules that one tick takes.
BATCH = 1000
#: Seconds between two looks for alerts, where one was enough.
ALERTS_EVERY = 10.0

_alerts_at = 0.0


def schedules_tick(*, now: datetime | None = None) -> int:
    """Do what is to be done now; returns how many planned times were dealt with.

    Args:
        now: the moment; the clock's if not given, and then the time is kept, too.
    """
    began = time.monotonic() if now is None else None
    now = now or timezone.now()
    tick = Tick.begin(now)

    def within(seconds: float) -> None:
        tick.until = None if began is None else began + seconds

    dealt = 0
    looks = time.monotonic() >= _alerts_at
    spare = ALERTS if looks else 0.0
    within(TAKING - spare)
    dealt += _step("taking what is due", lambda: _take_due(tick))
    more = tick.over
    within(SETTLING - spare)
    _step("settling what ended", lambda: _settle(tick))
    within(LONGEST - spare)
    dealt += _step("submitting what waited", lambda: _submit_waiting(tick))
    if more:
        # What the others left of their time.
        dealt += _step("taking what is still due", lambda: _take_due(tick))
    within(LONGEST)
    _step("taking back what must not begin", lambda: held_take_back(tick=tick))
    _step("beginning what is spread", lambda: runs_begin(now=now))
    if looks:
        _step("looking for alerts", lambda: _look_for_alerts(now))
    return dealt


def _step(what: str, step: Callable[[], int]) -> int:
    try:
        return step()
    except Error as error:
        logger.warning("The database didn't let the tick go on with %s; the next one does: %s", what, error)
    except Exception:
        logger.exception("The tick failed at %s", what)
    return 0


def _take_due(tick: Tick) -> int:
    dealt = 0
    try:
        for schedule_id in Schedule.objects.due(tick.now).values_list("pk", flat=True)[:BATCH]:
            dealt += schedule_take(schedule_id=schedule_id, tick=tick)
            tick.ring(at_least=RING_AT_ONCE)
            if tick.over:
                break
    finally:
        tick.ring()
        if tick.misfired:
            # Once for all: after an outage it may be thousands.
            logger.warning("%s planned times were missed and don't run.", tick.misfired)
    return dealt


def _settle(tick: Tick) -> int:
    settled = 0
    while not tick.over and (number := planned_settle(now=tick.now)):
        settled += number
    return settled


def _submit_waiting(tick: Tick) -> int:
    dealt = 0
    try:
        for schedule_id in waiting_schedules(tick=tick):
            if tick.over:
                break
            dealt += waiting_submit(schedule_id=schedule_id, tick=tick)
            tick.ring(at_least=RING_AT_ONCE)
    finally:
        tick.ring()
    return dealt


def _look_for_alerts(now: datetime) -> int:
    global _alerts_at
    _alerts_at = time.monotonic() + ALERTS_EVERY
    changed = alerts_look(now=now)
    if changed >= MOST_ALERTS:
        _alerts_at = 0.0  # the next tick goes on
    return changed
