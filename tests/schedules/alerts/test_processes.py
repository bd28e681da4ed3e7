"""Alerts through real processes: a tick opens, a worker sends to real servers, the listener rings again."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from ami_integration.schedules.alerts.models import Alert, AlertDelivery
from ami_integration.schedules.models import Schedule
from tests.polling import wait_until
from tests.processes import Stack
from tests.schedules.alerts.factories import make_alert, make_channel, make_watched, make_webhook
from tests.schedules.alerts.receivers import MailServer, Receiver, receiving

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def test_an_alert_is_mailed_and_posted_when_it_opens_and_when_it_is_over(stack: Stack) -> None:
    with MailServer() as mail_server, receiving() as receiver:
        environ = {
            "AMIWEB_SMTP_HOST": mail_server.host,
            "AMIWEB_SMTP_PORT": str(mail_server.port),
            "AMIWEB_SMTP_SECURITY": "none",
            "AMIWEB_MAIL_FROM": "amiweb@example.com",
            "AMIWEB_LOG_LEVEL": "DEBUG",
        }
        for name in ("worker", "ticker", "beat"):
            stack.start(name, env=environ)
        schedule = make_watched(
            make_channel(),
            make_webhook(receiver.url),
            alert_failures=2,
            next_at=timezone.now() + timedelta(1),
        )
        Schedule.objects.filter(pk=schedule.pk).update(failures=2)
        logs = lambda: stack.log("ticker") + stack.log("worker")  # noqa: E731
        wait_until(lambda: mail_server.mails and receiver.requests, seconds=60, what=logs)
        Schedule.objects.filter(pk=schedule.pk).update(failures=0, last_good_at=timezone.now())
        wait_until(lambda: len(mail_server.mails) == len(receiver.requests) == 2, seconds=60, what=logs)
    assert [mail["Subject"] for _, mail in mail_server.mails] == [
        "[amiweb] Failing: Nightly",
        "[amiweb] Over: Failing: Nightly",
    ]
    assert [json.loads(body)["event"] for *_, body in receiver.requests] == ["alert.opened", "alert.closed"]
    assert Receiver.SECRET_PATH not in logs()
    assert Alert.objects.get().closed_at is not None


def test_what_a_killed_worker_held_is_sent_by_another_and_at_most_once_more(stack: Stack) -> None:
    def kills(request: object) -> None:
        stack.kill("worker")  # the message has arrived, and nobody has noted it

    with receiving(kills, 200) as receiver:
        channel = make_webhook(receiver.url)
        # It goes on failing: or the listener would find the alert over, and tell that, too.
        make_alert(channel, schedule=make_watched(channel, failures=3))
        stack.start("worker")
        stack.start("listener")  # it rings for what is due
        held = wait_until(
            lambda: AlertDelivery.objects.filter(attempts=1).first() if receiver.requests else None,
            seconds=60,
            what=lambda: stack.log("listener") + stack.log("worker"),
        )
        wait_until(lambda: "worker" not in stack.processes, seconds=30, what="the worker is killed")
        assert (held.status, held.tries) == ("waiting", [])
        stack.start("worker")
        AlertDelivery.objects.update(next_try_at=timezone.now())  # instead of waiting for three minutes
        sent = AlertDelivery.objects.filter(status="sent")
        wait_until(sent.exists, seconds=60, what=lambda: stack.log("listener") + stack.log("worker"))
        assert len(receiver.requests) == 2
        keys = {headers["X-Amiweb-Key"] for _, headers, _ in receiver.requests}
    assert len(keys) == 1
    assert sent.get().attempts == 2


def test_late_and_silent_open_by_the_listener_while_the_clock_is_down(stack: Stack) -> None:
    long_ago = timezone.now() - timedelta(hours=5)
    schedule = make_watched(
        make_channel(),
        alert_late_seconds=60,
        alert_silent_seconds=3600,
        next_at=timezone.now() - timedelta(minutes=10),
    )
    Schedule.objects.filter(pk=schedule.pk).update(
        created_at=long_ago, updated_at=long_ago, last_good_at=long_ago
    )
    stack.start("listener")  # and neither beat nor ticker
    opened = lambda: set(Alert.objects.open().values_list("kind", flat=True))  # noqa: E731
    wait_until(lambda: opened() == {"late", "silent"}, seconds=60, what=lambda: stack.log("listener"))
    assert AlertDelivery.objects.count() == 2
