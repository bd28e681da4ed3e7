"""Channels and alerts for tests."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User

from ami_integration.schedules.alerts.models import Alert, AlertChannel, AlertDelivery
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Server
from tests.schedules.factories import make_planner, make_schedule
from tests.servers.factories import make_server


def make_channel(**values: Any) -> AlertChannel:
    """A channel that mails to ada, unless the values say otherwise."""
    values = {"name": "On call", "addresses": "ada@example.com"} | values
    return AlertChannel.objects.create(**values)


def make_webhook(url: str, **values: Any) -> AlertChannel:
    values = {
        "name": "Chat",
        "kind": AlertChannel.Kind.WEBHOOK,
        "url": url,
        "url_shown": "http://chat",
    } | values
    return AlertChannel.objects.create(**values)


def make_watched(*channels: AlertChannel, **values: Any) -> Schedule:
    """A schedule that alerts these channels. All of them belong to ada."""
    owner = User.objects.filter(username="ada").first() or make_planner()
    server = Server.objects.first() or make_server()
    schedule = make_schedule(**{"owner": owner, "server": server} | values)
    schedule.alert_channels.set(channels)
    return schedule


def make_alert(*channels: AlertChannel, closing: bool = False, **values: Any) -> Alert:
    """An open alert and its deliveries, or also those that say that it is over."""
    schedule = values.pop("schedule", None) or make_watched(*channels)
    values = {"kind": Alert.Kind.FAILING, "text": "It failed 3 times in a row."} | values
    alert = Alert.objects.create(schedule=schedule, schedule_name=schedule.name, **values)
    for channel in channels:
        for one in (False, True) if closing else (False,):
            AlertDelivery.objects.create(alert=alert, channel=channel, channel_name=channel.name, closing=one)
    return alert
