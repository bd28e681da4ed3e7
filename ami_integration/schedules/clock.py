"""Since when the clock has been ticking without a break, in one row.

A planned time that passed while nothing ticked was missed, and the schedule's rule says what becomes of it.
One that passed while ticks were running is only late: more was due than they could submit, and they go on
with it. Only this row can tell the one from the other, since both are found with their moment long gone.
"""

import logging
from datetime import datetime, timedelta

from django.db import Error, models

from ami_integration.schedules.rules import LATE_OK

logger = logging.getLogger(__name__)

#: There is one row.
_ROW = 1
#: Seconds between two notes: every tick reads the row, and few write it.
_NOTED_EVERY = 5


class Clock(models.Model):
    """When the unbroken row of ticks began, and about when the newest of them was. One row, or none yet."""

    unbroken_since = models.DateTimeField()
    ticked_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"Ticking since {self.unbroken_since:%Y-%m-%d %H:%M:%S} UTC"


def clock_tick(*, now: datetime) -> datetime:
    """Note a tick.

    Returns:
        since when ticks follow each other with no more than `LATE_OK` seconds between them: `now` itself
        after an outage, or where the computer's clock was set back.
    """
    clock = Clock.objects.filter(pk=_ROW).first()
    broken = clock is None or abs(now - clock.ticked_at) > timedelta(seconds=LATE_OK)
    since = now if clock is None or broken else min(clock.unbroken_since, now)
    if broken or (clock is not None and now - clock.ticked_at >= timedelta(seconds=_NOTED_EVERY)):
        try:
            if not Clock.objects.filter(pk=_ROW).update(unbroken_since=since, ticked_at=now):
                Clock.objects.create(pk=_ROW, unbroken_since=since, ticked_at=now)
        except Error as error:
            logger.warning("The tick can't be noted; the next one is: %s", error)
    return since
