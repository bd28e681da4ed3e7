"""Alerts at a real browser: a channel is made and tested, and what was sent is read."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from ami_integration.schedules.alerts.models import Alert, AlertChannel, AlertDelivery
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.processes import Stack
from tests.schedules.alerts.factories import make_alert, make_channel, make_failed, make_watched
from tests.schedules.alerts.receivers import Receiver, receiving
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]
ADMIN = "/admin/ami_integration/"


def test_a_channel_is_made_and_tested_and_its_url_stays_hidden(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{ADMIN}alertchannel/")
    expect(page.locator(".aw-empty")).to_contain_text("There is no alert channel yet.")
    visitor.picture(page, "alert-channels-empty")
    page.get_by_role("link", name="Add one").click()
    visitor.picture(page, "alert-channel-add")
    with receiving() as receiver:
        page.get_by_label("Name:").fill("Chat of the night shift")
        page.get_by_role("radio", name="Webhook").check()
        page.get_by_label("URL:").fill(receiver.url)
        page.get_by_label("Signing secret:").fill("s1gning-word")
        page.get_by_role("button", name="Save and continue editing").click()
        page.get_by_role("button", name="Send a test message").click()
        expect(page.locator(".messagelist")).to_contain_text(f"The test message arrived. {receiver.base}")
        assert "X-Amiweb-Signature" in receiver.requests[0][1]
    assert Receiver.SECRET_PATH not in page.content()
    visitor.picture(page, "alert-channel")


def test_what_is_wrong_and_what_was_sent_can_be_read(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    chat = AlertChannel.objects.create(
        name="Chat of the night shift at the operations centre",
        kind="webhook",
        url="https://chat.example.com/x",
        url_shown="https://chat.voice.internal.example.com:8443",
    )
    mail = make_channel(addresses="ada@example.com\nbo@example.com")
    schedule = make_watched(
        chat, mail, name="Reset the queues of the support team", owner=User.objects.get(username="ada")
    )
    now = timezone.now()
    ends = [
        (
            make_server(name=f"pbx-{number}.voice.internal.example.com"),
            "failed",
            "The PBX refused: No such queue.",
        )
        for number in range(3)
    ]
    planned = make_failed(schedule, *ends)
    failing = make_alert(
        chat,
        mail,
        schedule=schedule,
        planned_at=planned.planned_at,
        text="It failed 3 times in a row. The last success was at 2026-01-30 02:30:04 UTC.",
    )
    make_alert(
        chat,
        schedule=schedule,
        kind="late",
        closing=True,
        opened_at=now - timedelta(hours=3),
        closed_at=now,
        text="What was planned for 2026-01-30 02:30:00 UTC began only at 2026-01-30 02:41:12 UTC.",
        closing_text="What was planned for 2026-01-30 02:45:00 UTC began in time.",
    )
    failed = AlertDelivery.objects.filter(channel=chat).order_by("pk")[0]
    failed.tries = [
        {"at": now.isoformat(), "what": f"{chat.url_shown} did not answer within 10 s."},
        {"at": None, "what": "The worker ended before it knew what came of it."},
    ]
    failed.attempts, failed.last_error = 2, f"{chat.url_shown} did not answer within 10 s."
    failed.save()
    AlertDelivery.objects.filter(alert__kind="late").update(status="sent", attempts=1, sent_at=now)
    for name in ("alertchannel", "alert", "alertdelivery"):
        page.goto(f"{stack.url}{ADMIN}{name}/")
        expect(page.locator("#result_list")).to_be_visible()
        visitor.picture(page, f"{name}-list")
    page.goto(f"{stack.url}{ADMIN}alert/{Alert.objects.get(kind='late').pk}/change/")
    expect(page.get_by_role("heading", name="Who was told")).to_be_visible()
    visitor.picture(page, "alert")
    page.goto(f"{stack.url}{ADMIN}alert/{failing.pk}/change/")
    expect(page.get_by_role("link", name="Look at what ran")).to_be_visible()
    visitor.picture(page, "alert-failing")
    page.goto(f"{stack.url}{ADMIN}alertdelivery/{failed.pk}/change/")
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    visitor.picture(page, "alert-delivery")
    page.goto(f"{stack.url}{ADMIN}alertchannel/{mail.pk}/change/")
    expect(page.locator(".aw-note:visible")).to_contain_text("AMIWEB_SMTP_HOST is not set")
    visitor.picture(page, "alert-channel-without-mail")
