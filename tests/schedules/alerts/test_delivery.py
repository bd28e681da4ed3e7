"""From the row of a delivery to the message: claims, attempts, storms."""

from __future__ import annotations

import json
import logging
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from kombu import Connection

from ami_integration.actions import doorbell
from ami_integration.schedules.alerts import delivery as machine
from ami_integration.schedules.alerts.delivery import channel_deliver, deliveries_claim, due, pause_after
from ami_integration.schedules.alerts.models import Alert, AlertChannel, AlertDelivery
from ami_integration.schedules.alerts.services import TASK, alerts_look, alerts_prune, alerts_sweep
from ami_integration.schedules.models import Schedule
from tests.processes import free_port
from tests.schedules.alerts.factories import make_alert, make_channel, make_watched, make_webhook
from tests.schedules.alerts.receivers import Receiver, receiving

MINUTE = timedelta(minutes=1)


def make_due(channel: AlertChannel, number: int = 1, **values: Any) -> None:
    """So many alerts of so many schedules that wait for this channel."""
    for one in range(number):
        make_alert(channel, schedule=make_watched(channel, name=f"Nightly {one}"), **values)


def again() -> None:
    """The pause before the next attempt is over."""
    AlertDelivery.objects.update(next_try_at=timezone.now())


@pytest.mark.django_db
def test_what_is_sent_is_noted() -> None:
    with receiving() as receiver:
        channel = make_webhook(receiver.url, url_shown=receiver.base)
        make_due(channel, 3)
        assert channel_deliver(channel_id=channel.pk) == 3
        assert channel_deliver(channel_id=channel.pk) == 0
        assert [json.loads(body)["alerts"][0]["schedule"]["name"] for *_, body in receiver.requests] == [
            "Nightly 0",
            "Nightly 1",
            "Nightly 2",
        ]
    sent = AlertDelivery.objects.first()
    assert sent is not None and sent.sent_at is not None
    assert (sent.status, sent.attempts, sent.last_error) == ("sent", 1, "")
    assert [one["what"] for one in sent.tries] == [f"{receiver.base} answered 200."]


@pytest.mark.django_db
def test_what_fails_is_tried_again_with_growing_pauses_until_it_arrives(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with receiving(500, 503, 200) as receiver:
        channel = make_webhook(receiver.url, url_shown=receiver.base)
        make_due(channel)
        assert channel_deliver(channel_id=channel.pk) == 0
        waiting = AlertDelivery.objects.get()
        assert (waiting.status, waiting.last_error) == ("waiting", f"{receiver.base} answered 500.")
        assert timedelta(seconds=55) < waiting.next_try_at - timezone.now() <= MINUTE
        assert channel_deliver(channel_id=channel.pk) == 0  # not yet
        again()
        channel_deliver(channel_id=channel.pk)
        pause = AlertDelivery.objects.get().next_try_at - timezone.now()
        assert timedelta(seconds=115) < pause <= 2 * MINUTE
        again()
        assert channel_deliver(channel_id=channel.pk) == 1
        assert Receiver.SECRET_PATH not in caplog.text
    sent = AlertDelivery.objects.get()
    assert (sent.status, sent.attempts, len(sent.tries), sent.last_error) == ("sent", 3, 3, "")
    keys = {headers["X-Amiweb-Key"] for _, headers, _ in receiver.requests}
    assert len(keys) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]  # it began, it ended


def test_the_pauses_grow_up_to_an_hour() -> None:
    minutes = [pause_after(attempts) / MINUTE for attempts in (1, 2, 3, 4, 5, 6, 7, 8, 30)]
    assert minutes == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.django_db
def test_after_a_day_it_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    with receiving(500) as receiver:
        channel = make_webhook(receiver.url)
        make_due(channel)
        AlertDelivery.objects.update(created_at=timezone.now() - timedelta(hours=24))
        channel_deliver(channel_id=channel.pk)
        again()
        assert channel_deliver(channel_id=channel.pk) == 0
        assert len(receiver.requests) == 1
    assert AlertDelivery.objects.get().status == "given_up"
    assert "Given up after a day" in caplog.text


@pytest.mark.django_db
def test_a_day_of_attempts_is_some_thirty() -> None:
    passed, attempts = timedelta(), 0
    while passed < machine.GIVE_UP_AFTER:
        attempts += 1
        passed += pause_after(attempts)
    assert 25 <= attempts <= 32


@pytest.mark.django_db
def test_a_mail_channel_without_a_mail_server_names_the_setting_and_waits() -> None:
    channel = make_channel()
    make_due(channel)
    channel_deliver(channel_id=channel.pk)
    waiting = AlertDelivery.objects.get()
    assert waiting.status == "waiting"
    assert "AMIWEB_SMTP_HOST is not set" in waiting.last_error


@pytest.mark.django_db
def test_a_mistake_of_ours_is_an_attempt_that_failed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**values: Any) -> str:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr(machine, "message_send", broken)
    channel = make_channel()
    make_due(channel)
    assert channel_deliver(channel_id=channel.pk) == 0
    waiting = AlertDelivery.objects.get()
    assert (waiting.status, waiting.attempts) == ("waiting", 1)
    assert waiting.last_error == "amiweb itself failed (KeyError); its log says more."
    assert "nobody thought of this" in caplog.text


@pytest.mark.django_db
def test_that_it_is_over_is_told_behind_that_it_began() -> None:
    with receiving(500, 200) as receiver:
        channel = make_webhook(receiver.url)
        make_alert(channel, closing=True, closed_at=timezone.now(), closing_text="It succeeded.")
        channel_deliver(channel_id=channel.pk)  # the opening fails
        assert not due(now=timezone.now()).exists()
        again()
        assert channel_deliver(channel_id=channel.pk) == 2
        assert [json.loads(body)["event"] for *_, body in receiver.requests] == [
            "alert.opened",
            "alert.opened",
            "alert.closed",
        ]


@pytest.mark.django_db
def test_a_disabled_or_deleted_channel_gets_nothing_more() -> None:
    disabled, deleted = make_channel(enabled=False), make_channel(name="Deleted")
    make_alert(disabled, deleted)
    channel_deliver(channel_id=disabled.pk)
    deleted.delete()
    alerts_sweep()
    told = AlertDelivery.objects.order_by("channel_name").values_list("channel_name", "status", "last_error")
    assert list(told) == [
        ("Deleted", "given_up", "The channel was deleted."),
        ("On call", "given_up", "The channel is disabled."),
    ]
    assert channel_deliver(channel_id=0) == 0


# Storms


@pytest.mark.django_db
def test_when_a_whole_fleet_fails_a_channel_gets_one_message() -> None:
    with receiving() as receiver:
        channel = make_webhook(receiver.url)
        make_due(channel, 25)
        assert channel_deliver(channel_id=channel.pk) == 1
        told = json.loads(receiver.requests[0][2])
        assert (told["event"], told["count"], told["text"]) == ("alert.summary", 25, "25 alerts")
        # What comes behind it within the minute waits for its end, and comes together.
        make_alert(channel, kind="late", schedule=Schedule.objects.get(name="Nightly 0"))
        make_alert(channel, kind="late", schedule=Schedule.objects.get(name="Nightly 1"))
        assert channel_deliver(channel_id=channel.pk) == 0
        assert len(receiver.requests) == 1
        with time_machine.travel(timezone.now() + timedelta(seconds=59)):
            assert channel_deliver(channel_id=channel.pk) == 0
        with time_machine.travel(timezone.now() + timedelta(seconds=61)):
            assert channel_deliver(channel_id=channel.pk) == 2  # the storm is over
    assert set(AlertDelivery.objects.values_list("status", flat=True)) == {"sent"}


@pytest.mark.django_db
def test_twenty_alerts_are_twenty_messages() -> None:
    with receiving() as receiver:
        channel = make_webhook(receiver.url)
        make_due(channel, 20)
        assert channel_deliver(channel_id=channel.pk) == 20
        assert len(receiver.requests) == 20


# Two at once


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_at_once_only_one_sends() -> None:
    both = threading.Barrier(2, timeout=30)

    def worker() -> None:
        try:
            both.wait()
            channel_deliver(channel_id=channel.pk)
        finally:
            connection.close()

    with receiving() as receiver:
        channel = make_webhook(receiver.url)
        make_due(channel, 10)
        threads = [threading.Thread(target=worker) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        names = [json.loads(body)["alerts"][0]["schedule"]["name"] for *_, body in receiver.requests]
    assert sorted(names) == [f"Nightly {number}" for number in range(10)]
    assert not AlertDelivery.objects.exclude(status="sent", attempts=1).exists()


@pytest.mark.django_db
def test_what_another_took_after_the_look_is_not_taken_again() -> None:
    channel = make_channel()
    make_due(channel)
    now = timezone.now()
    (mine,) = deliveries_claim(channel=channel, now=now)
    assert deliveries_claim(channel=channel, now=now) == []
    # Held until its worker is surely gone; then it is another's, and the first writes nothing any more.
    later = now + timedelta(seconds=machine.HELD_SECONDS)
    (other,) = deliveries_claim(channel=channel, now=later)
    machine._note([mine], now, "Too late.", status=AlertDelivery.Status.SENT)
    assert AlertDelivery.objects.get().status == "waiting"
    assert (other.attempts, other.claim == mine.claim) == (2, False)


@pytest.mark.django_db
def test_what_a_killed_worker_held_is_sent_once_more_and_the_attempt_is_noted() -> None:
    with receiving() as receiver:
        channel = make_webhook(receiver.url)
        make_due(channel)
        deliveries_claim(channel=channel, now=timezone.now())  # and then it was killed
        assert channel_deliver(channel_id=channel.pk) == 0
        again()
        assert channel_deliver(channel_id=channel.pk) == 1
    sent = AlertDelivery.objects.get()
    assert sent.status == "sent"
    assert [one["what"][:16] for one in sent.tries] == ["The worker ended", "http://chat answ"]


# Ringing


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], str]]:
    """What was rung for."""
    calls: list[tuple[list[int], str]] = []

    def ring(ids: list[int], *, task: str) -> list[int]:
        calls.append((list(ids), task))
        return list(ids)

    monkeypatch.setattr(doorbell, "ring", ring)
    return calls


@pytest.mark.django_db(transaction=True)
def test_a_new_alert_rings_once_for_each_channel_after_its_commit(rung: list[tuple[list[int], str]]) -> None:
    channels = [make_channel(), make_channel(name="Other")]
    for number in range(3):
        schedule = make_watched(*channels, name=f"Nightly {number}", alert_failures=1)
        Schedule.objects.filter(pk=schedule.pk).update(failures=1)
    alerts_look()
    assert rung == [(sorted(channel.pk for channel in channels), TASK)]


@pytest.mark.django_db
def test_the_sweep_rings_for_what_is_due_alone(rung: list[tuple[list[int], str]]) -> None:
    channel, other = make_channel(), make_channel(name="Other")
    make_alert(channel, other)
    AlertDelivery.objects.filter(channel=other).update(next_try_at=timezone.now() + MINUTE)
    assert alerts_sweep() == 1
    assert rung == [([channel.pk], TASK)]


@pytest.mark.django_db(transaction=True)
def test_without_the_task_queue_an_alert_waits_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        doorbell.current_app,
        "connection_for_write",
        lambda **options: Connection(f"redis://127.0.0.1:{free_port()}/0", **options),
    )
    doorbell.task_queue.ended()  # an earlier test may have rung without a task queue, which is told once
    schedule = make_watched(make_channel(), alert_failures=1)
    Schedule.objects.filter(pk=schedule.pk).update(failures=1)
    alerts_look()
    assert AlertDelivery.objects.get().status == "waiting"
    assert "runs and alerts wait in the database until a sweep rings again" in caplog.text
    monkeypatch.undo()
    doorbell.task_queue.ended()  # for the tests to come


@pytest.mark.django_db
def test_a_task_carries_the_channels_id_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    from ami_integration.schedules.alerts.tasks import deliver

    caplog.set_level(logging.DEBUG)
    with receiving() as receiver:
        channel = make_webhook(receiver.url)
        make_due(channel)
        deliver.apply(args=(channel.pk,)).get()
        assert len(receiver.requests) == 1
    assert Receiver.SECRET_PATH not in caplog.text


# Retention


@pytest.mark.django_db
def test_alerts_leave_with_the_days_of_the_action_log_once_they_are_over(settings: Any) -> None:
    settings.AMIWEB_RUN_RETENTION_DAYS = {"": 30, "unknown": 365}
    old = timezone.now() - timedelta(days=31)
    channel = make_channel()
    make_due(channel, 3, opened_at=old)
    over, recent, _ = Alert.objects.order_by("pk")
    Alert.objects.filter(pk=over.pk).update(closed_at=old)
    Alert.objects.filter(pk=recent.pk).update(closed_at=timezone.now())
    out = StringIO()
    call_command("prune_runs", dry_run=True, stdout=out)
    assert "1 alert that was over would be removed." in out.getvalue()
    assert alerts_prune() == 1
    assert not Alert.objects.filter(pk=over.pk).exists()
    assert (Alert.objects.count(), AlertDelivery.objects.count()) == (2, 2)
    call_command("prune_runs", stdout=out)
    assert "Removed 0 alerts that were over." in out.getvalue()
