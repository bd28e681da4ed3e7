"""From the row of a delivery to the message: who takes it, and what becomes of it.

A worker takes deliveries by one compare-and-swap that also says when they may be taken again, so that two
workers at once never send the same, and what a killed one held comes back by itself. Killed between the
message and the row, it leaves a message that another worker sends once more: at most one twice, and none is
lost.

While more than `STORM` deliveries of a channel came within a minute, all that is due goes as one message, and
one goes each minute: nobody reads five hundred mails, and a mail server takes whoever sends them for a
spammer.

An attempt that failed is repeated after a minute, and then after twice as long each time, up to an hour; what
couldn't be sent for a day is given up. Each attempt is noted in the delivery's row.
"""

import logging
import time
import uuid
from datetime import datetime, timedelta

from django.db.models import Exists, F, Max, OuterRef
from django.utils import timezone

from ami_integration.schedules.alerts.messages import message_of
from ami_integration.schedules.alerts.models import AlertChannel, AlertDelivery, AlertDeliveryQuerySet
from ami_integration.schedules.alerts.sending import NotSent, message_send

logger = logging.getLogger(__name__)

#: Deliveries of one channel within a minute that are still messages of their own.
STORM = 20
STORM_SECONDS = 60
#: Deliveries that one message tells of, at most.
LARGEST = 1000
#: Seconds after which what a worker took may be taken by another: longer than any attempt lasts.
HELD_SECONDS = 180
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
GIVE_UP_AFTER = timedelta(days=1)
#: Seconds after which one call takes nothing new; the sweep rings for the rest.
TURN_SECONDS = 30.0

_Status = AlertDelivery.Status
_DIED = "The worker ended before it knew what came of it."


def channel_deliver(*, channel_id: int) -> int:
    """Send what is due of a channel, until nothing is or the first attempt fails. Returns how many messages.

    Whatever goes wrong ends in the rows; nothing is raised but what the database raises.
    """
    channel = AlertChannel.objects.filter(pk=channel_id).first()
    if channel is None:
        return 0
    until = time.monotonic() + TURN_SECONDS
    sent = 0
    while time.monotonic() < until:
        now = timezone.now()
        deliveries = deliveries_claim(channel=channel, now=now)
        if not deliveries:
            break
        if not _deliver(channel, deliveries, now):
            break
        sent += 1
    return sent


def due(*, now: datetime) -> AlertDeliveryQuerySet:
    """The deliveries that may be taken now. That an alert is over is told behind that it was open."""
    opening = AlertDelivery.objects.filter(
        alert=OuterRef("alert"), channel=OuterRef("channel"), closing=False, status=_Status.WAITING
    )
    waiting = AlertDelivery.objects.filter(
        status=_Status.WAITING, next_try_at__lte=now, channel__isnull=False
    )
    return waiting.exclude(Exists(opening), closing=True)


def deliveries_claim(*, channel: AlertChannel, now: datetime) -> list[AlertDelivery]:
    """Take what the next message of this channel tells; nobody else has any of it then.

    Returns:
        deliveries with their alerts, the oldest first; none, if nothing is due or somebody was faster.
    """
    of_channel = AlertDelivery.objects.filter(channel=channel)
    pks = list(
        due(now=now)
        .filter(channel=channel)
        .order_by("created_at", "pk")
        .values_list("pk", flat=True)[:LARGEST]
    )
    if not pks:
        return []
    if of_channel.filter(created_at__gt=now - timedelta(seconds=STORM_SECONDS)).count() > STORM:
        lately = of_channel.filter(
            created_at__gt=now - 2 * GIVE_UP_AFTER, sent_at__gt=now - timedelta(seconds=STORM_SECONDS)
        )
        last = lately.aggregate(last=Max("sent_at"))["last"]
        if last is not None:
            of_channel.filter(pk__in=pks, status=_Status.WAITING, next_try_at__lte=now).update(
                next_try_at=last + timedelta(seconds=STORM_SECONDS)
            )
            return []
    elif len(pks) <= STORM:
        del pks[1:]
    claim = uuid.uuid4().hex
    # The conditions once more: between the look and this, another worker may have taken some.
    free = AlertDelivery.objects.filter(pk__in=pks, status=_Status.WAITING, next_try_at__lte=now)
    free.update(claim=claim, attempts=F("attempts") + 1, next_try_at=now + timedelta(seconds=HELD_SECONDS))
    taken = AlertDelivery.objects.filter(pk__in=pks, claim=claim).select_related("alert")
    return list(taken.order_by("created_at", "pk"))


def _deliver(channel: AlertChannel, deliveries: list[AlertDelivery], now: datetime) -> bool:
    """One attempt. Returns whether everybody has it."""
    for delivery in deliveries:
        if len(delivery.tries) < delivery.attempts - 1:
            delivery.tries.append({"at": None, "what": _DIED})
    if not channel.enabled:
        _note(deliveries, now, "The channel is disabled.", status=_Status.GIVEN_UP)
        return True
    everybody = set(deliveries[0].reached).intersection(*(one.reached for one in deliveries))
    message = message_of(deliveries=deliveries, channel=channel, now=now)
    try:
        what = message_send(channel=channel, message=message, reached=sorted(everybody))
    except NotSent as error:
        _failed(channel, deliveries, now, str(error), error.reached)
        return False
    except Exception as error:
        # A mistake of ours must neither stop the other channels nor be tried again every few seconds.
        logger.exception("An alert can't be sent to the channel %s", channel.pk)
        what = f"amiweb itself failed ({type(error).__name__}); its log says more."
        _failed(channel, deliveries, now, what, [])
        return False
    _note(deliveries, now, what, status=_Status.SENT)
    if any(one.attempts > 1 for one in deliveries):
        logger.warning("Alerts of the channel %s are sent again.", channel.pk)
    return True


def _failed(
    channel: AlertChannel, deliveries: list[AlertDelivery], now: datetime, what: str, reached: list[str]
) -> None:
    if any(one.attempts == 1 for one in deliveries):
        logger.warning("Alerts of the channel %s (%s) can't be sent: %s", channel.pk, channel.name, what)
    old = [one for one in deliveries if now - one.created_at >= GIVE_UP_AFTER]
    young = [one for one in deliveries if now - one.created_at < GIVE_UP_AFTER]
    if old:
        logger.error("Given up after a day: %s alerts of the channel %s", len(old), channel.pk)
        _note(old, now, what, status=_Status.GIVEN_UP, reached=reached)
    _note(young, now, what, status=_Status.WAITING, reached=reached)


def _note(
    deliveries: list[AlertDelivery],
    now: datetime,
    what: str,
    *,
    status: AlertDelivery.Status,
    reached: list[str] | None = None,
) -> None:
    """What came of an attempt. Whoever was too slow to keep its hold writes nothing: the row is another's."""
    for one in deliveries:
        one.tries.append({"at": now.isoformat(), "what": what})
        one.reached = sorted({*one.reached, *(reached or [])})
        values = {"status": status, "tries": one.tries, "reached": one.reached}
        if status == _Status.SENT:
            values |= {"sent_at": timezone.now(), "last_error": ""}
        else:
            values |= {"last_error": what, "next_try_at": timezone.now() + pause_after(one.attempts)}
        AlertDelivery.objects.filter(pk=one.pk, claim=one.claim).update(**values)


def pause_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts that failed."""
    return min(FIRST_PAUSE * 2 ** min(attempts - 1, 10), LONGEST_PAUSE)


def deliveries_give_up(*, now: datetime) -> int:
    """Give up what has no channel any more. Returns how many."""
    gone = AlertDelivery.objects.filter(status=_Status.WAITING, channel=None)
    return gone.update(status=_Status.GIVEN_UP, last_error="The channel was deleted.", next_try_at=now)
