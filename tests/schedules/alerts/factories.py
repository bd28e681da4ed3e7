"""Channels and alerts for tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from ami_integration.actions.models import FanOut
from ami_integration.schedules.alerts.models import Alert, AlertChannel, AlertDelivery
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.servers.models import Server
from tests.actions.factories import make_run
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


def make_failed(schedule: Schedule, *ends: tuple[Server, str, str], **values: Any) -> PlannedRun:
    """A planned time of a minute ago that failed, as the tick settles it.

    Args:
        *ends: of each server how its run ended, and the sentence; one is a run, several are a fan-out.
        **values: of the planned run.
    """
    fanout = None
    if len(ends) > 1:
        fanout = FanOut.objects.create(key=f"key-{schedule.pk}", action="Ping", payload="[]")
    runs = [
        make_run(server=server, server_name=server.name, fanout=fanout, status=status, reason=reason)
        for server, status, reason in ends
    ]
    values = {
        "planned_at": timezone.now().replace(microsecond=0) - timedelta(minutes=1),
        "outcome": PlannedRun.Outcome.SUBMITTED if runs else PlannedRun.Outcome.REFUSED,
        "result": PlannedRun.Result.FAILED if runs else PlannedRun.Result.NONE,
        "fanout": fanout,
        "run": runs[0] if len(runs) == 1 else None,
    } | values
    Schedule.objects.filter(pk=schedule.pk).update(failures=3)
    return PlannedRun.objects.create(schedule=schedule, **values)
