"""Alerts: opened and closed by the tick of the clock and beside the listener, told by the workers.

The row of an alert and those of its deliveries are written in one transaction, under unique keys: one open
alert of each kind for a schedule, one delivery of its opening and one of its closing for a channel. So a
second tick at the same moment adds nothing, and an alert is told however long the task queue, a worker or a
mail server is away.
"""

import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from ami_integration.actions import doorbell
from ami_integration.audit.services import entries_write, entry_make, entry_write
from ami_integration.schedules.alerts import conditions
from ami_integration.schedules.alerts.conditions import Ending, Finding
from ami_integration.schedules.alerts.delivery import deliveries_give_up, due
from ami_integration.schedules.alerts.messages import message_test
from ami_integration.schedules.alerts.models import (
    Alert,
    AlertChannel,
    AlertDelivery,
    AlertDeliveryQuerySet,
    AlertQuerySet,
)
from ami_integration.schedules.alerts.sending import NO_MAIL_SERVER, NotSent, message_send
from ami_integration.schedules.models import Schedule

__all__ = [
    "NotSent",
    "RetryRefused",
    "alerts_due",
    "alerts_look",
    "alerts_look_through",
    "alerts_prune",
    "alerts_sweep",
    "channel_test",
    "deliveries_retry",
    "delivery_retry",
    "mail_is_missing",
    "mail_problem",
]

#: The Celery task that sends what is due of one channel.
TASK = "schedules.alerts_deliver"
#: Seconds after which a look goes on to no other kind of alert: the tick has one for all that it does.
LOOK_SECONDS = 0.2
#: Looks in a row.
MOST_LOOKS = 50
#: Rows that one transaction removes.
BATCH = 500


def alerts_look(*, now: datetime | None = None) -> int:
    """Open the alerts that are due and close those that are over; returns how many of both.

    Called by the tick, now and then. Each call is bounded: where it returns `conditions.MOST` or more, the
    next one may find more.

    Args:
        now: the moment; the clock's if not given.
    """
    now = now or timezone.now()
    until = time.monotonic() + LOOK_SECONDS
    punctuality = conditions.punctuality_look(now=now)
    _late_go_on(punctuality)
    changed = _close(conditions.endings(now=now, punctuality=punctuality), now)
    for found in conditions.findings(now=now, punctuality=punctuality):
        changed += _open(found, now)
        if time.monotonic() >= until:
            break
    return changed


def alerts_look_through(*, now: datetime | None = None) -> int:
    """Look until nothing is left, for whoever has the time: the listener's upkeep. As `alerts_look` else."""
    changed = 0
    for _ in range(MOST_LOOKS):
        found = alerts_look(now=now)
        changed += found
        if found < conditions.MOST:
            break
    return changed


def _late_go_on(punctuality: dict[int, conditions.Punctuality]) -> None:
    """An open alert is about what is late since, too: it is over when what comes after that is in time."""
    if all(one.late is None for one in punctuality.values()):
        return
    # All that are open, as plain values: thousands may be late, and then to name each in the query costs more
    # than what the others weigh.
    columns = ("pk", "schedule_id", "planned_at")
    rows = Alert.objects.open().filter(kind=Alert.Kind.LATE).order_by().values_list(*columns)
    behind = []
    for pk, schedule_id, planned_at in rows:
        one = punctuality.get(schedule_id or 0)
        if one is not None and one.late is not None and (planned_at is None or one.late > planned_at):
            behind.append(Alert(pk=pk, planned_at=one.late))
    Alert.objects.bulk_update(behind[: conditions.MOST], ("planned_at",))


def _open(found: list[Finding], now: datetime) -> int:
    if not found:
        return 0
    alerts = [
        Alert(
            schedule_id=one.schedule_id,
            schedule_name=one.schedule_name,
            kind=one.kind,
            text=one.text,
            planned_at=one.planned_at,
            opened_at=now,
        )
        for one in found
    ]
    ids = [one.schedule_id for one in found]
    with transaction.atomic():
        Alert.objects.bulk_create(alerts, ignore_conflicts=True)
        # Read again: what another tick opened a moment ago is told by it, and this adds nothing to that.
        opened = Alert.objects.open().filter(schedule__in=ids, kind=found[0].kind)
        channels: dict[int, list[tuple[int, str]]] = {}
        rows = Schedule.alert_channels.through.objects.filter(
            schedule__in=ids, alertchannel__enabled=True
        ).values_list("schedule_id", "alertchannel_id", "alertchannel__name")
        for schedule_id, channel_id, name in rows:
            channels.setdefault(schedule_id, []).append((channel_id, name))
        deliveries = [
            AlertDelivery(
                alert_id=pk, channel_id=channel_id, channel_name=name, created_at=now, next_try_at=now
            )
            for pk, schedule_id in opened.values_list("pk", "schedule_id")
            for channel_id, name in channels.get(schedule_id or 0, ())
        ]
        AlertDelivery.objects.bulk_create(deliveries, ignore_conflicts=True)
        _ring_after_commit(delivery.channel_id for delivery in deliveries)
    return len(found)


def _close(over: list[Ending], now: datetime) -> int:
    if not over:
        return 0
    texts = {one.alert_id: one.text for one in reversed(over)}
    with transaction.atomic():
        # Another tick that closes the same waits here, and then finds them closed.
        alerts = list(Alert.objects.open().filter(pk__in=texts).select_for_update(of=("self",)))
        for alert in alerts:
            alert.closed_at, alert.closing_text = now, texts[alert.pk]
        # They exist, so this only changes them: in a fraction of the time that bulk_update takes.
        Alert.objects.bulk_create(
            alerts, update_conflicts=True, unique_fields=("pk",), update_fields=("closed_at", "closing_text")
        )
        # Whom its opening was meant for, whatever the schedule's channels are now.
        told = AlertDelivery.objects.filter(alert__in=alerts, closing=False, channel__enabled=True)
        deliveries = [
            AlertDelivery(
                alert_id=alert_id,
                channel_id=channel_id,
                channel_name=name,
                closing=True,
                created_at=now,
                next_try_at=now,
            )
            for alert_id, channel_id, name in told.values_list("alert_id", "channel_id", "channel_name")
        ]
        AlertDelivery.objects.bulk_create(deliveries, ignore_conflicts=True)
        _ring_after_commit(delivery.channel_id for delivery in deliveries)
    return len(alerts)


def _ring_after_commit(channels: Iterable[int | None]) -> None:
    ids = sorted({pk for pk in channels if pk is not None})
    if ids:
        transaction.on_commit(lambda: doorbell.ring(ids, task=TASK), robust=True)


def alerts_sweep(*, now: datetime | None = None) -> int:
    """Ring for what is due and wasn't sent: second attempts, doorbells that nobody heard, dead workers.

    Returns:
        for how many channels.
    """
    now = now or timezone.now()
    deliveries_give_up(now=now)
    ids = list(due(now=now).order_by().values_list("channel_id", flat=True).distinct())
    return len(doorbell.ring([pk for pk in ids if pk is not None], task=TASK)) if ids else 0


def alerts_prune(*, now: datetime | None = None, batches: int = 10) -> int:
    """Remove alerts that were over for as long as the action log keeps a run, with their deliveries.

    Args:
        now: the moment; the clock's if not given.
        batches: transactions of one call, at most; the next call goes on.

    Returns:
        how many left.
    """
    old = _too_old(now or timezone.now()).order_by("opened_at")
    removed = 0
    while batches > 0 and (found := list(old.values_list("pk", flat=True)[:BATCH])):
        batches -= 1
        with transaction.atomic():
            AlertDelivery.objects.filter(alert__in=found).delete()
            removed += Alert.objects.filter(pk__in=found).delete()[1].get(Alert._meta.label, 0)
    return removed


def alerts_due(*, now: datetime | None = None) -> int:
    """How many alerts `alerts_prune` would remove in the end."""
    return _too_old(now or timezone.now()).count()


def _too_old(now: datetime) -> AlertQuerySet:
    end = now - timedelta(days=settings.AMIWEB_RUN_RETENTION_DAYS[""])
    # Its opening, which is indexed, lies before its end.
    return Alert.objects.filter(opened_at__lt=end, closed_at__lt=end)


def channel_test(*, user: Any, channel: AlertChannel, address: str = "") -> str:
    """Send a test message now, and wait for what comes of it. Audited.

    Args:
        user: who asks for it.
        address: the IP address that asks, if any.

    Returns:
        what came of it.

    Raises:
        NotSent: it didn't arrive.
    """
    message = message_test(channel=channel, username=user.get_username(), now=timezone.now())
    entry_write(
        actor=user,
        origin="admin",
        address=address,
        verb="alertchannel.test",
        object_type="alertchannel",
        object_id=channel.pk,
        object_name=channel.name,
    )
    return message_send(channel=channel, message=message)


class RetryRefused(Exception):
    """This delivery isn't tried again. The message says why, for people."""


def delivery_retry(*, user: Any, delivery: AlertDelivery, address: str = "") -> None:
    """Have a delivery that was given up sent again, now. Audited.

    Its day is over, so if that attempt fails, too, it is given up again at once.

    Args:
        user: who asks for it.
        address: the IP address that asks, if any.

    Raises:
        RetryRefused: it wasn't given up, or its channel takes nothing.
    """
    with transaction.atomic():
        stored = _locked(AlertDelivery.objects.filter(pk=delivery.pk)).get()
        if stored.status != AlertDelivery.Status.GIVEN_UP:
            raise RetryRefused("It was not given up, so there is nothing to send again.")
        if stored.channel is None:
            raise RetryRefused("Its channel was deleted, so nobody can get it any more.")
        if not stored.channel.enabled:
            raise RetryRefused(f"The channel “{stored.channel.name}” is disabled. Enable it first.")
        _send_again([stored], user, address)


def deliveries_retry(*, user: Any, deliveries: AlertDeliveryQuerySet, address: str = "") -> int:
    """Have those of these sent again, as `delivery_retry` does, that it would not refuse.

    Returns:
        how many they are.
    """
    with transaction.atomic():
        wanted = deliveries.filter(status=AlertDelivery.Status.GIVEN_UP, channel__enabled=True)
        stored = list(_locked(wanted.order_by("pk")))
        _send_again(stored, user, address)
    return len(stored)


def _locked(deliveries: AlertDeliveryQuerySet) -> AlertDeliveryQuerySet:
    return deliveries.select_related("channel", "alert").select_for_update(of=("self",))


def _send_again(given_up: list[AlertDelivery], user: Any, address: str) -> None:
    """Let a worker take these, which the caller has locked, and tell the audit of each."""
    rows = AlertDelivery.objects.filter(pk__in=[one.pk for one in given_up])
    rows.update(status=AlertDelivery.Status.WAITING, next_try_at=timezone.now())
    entries_write(
        entry_make(
            actor=user,
            origin="admin",
            address=address,
            verb="alertdelivery.retry",
            what={"channel": one.channel_name},
            object_type="alertdelivery",
            object_id=one.pk,
            object_name=str(one.alert),
        )
        for one in given_up
    )
    _ring_after_commit(one.channel_id for one in given_up)


def mail_is_missing() -> bool:
    """Whether nobody said through which mail server mails leave."""
    return not settings.AMIWEB_SMTP_HOST


def mail_problem() -> str:
    """Why no mail of an alert can be sent although somebody wants it, or ""."""
    wanted = AlertChannel.objects.filter(kind=AlertChannel.Kind.MAIL, enabled=True)
    return NO_MAIL_SERVER if mail_is_missing() and wanted.exists() else ""
