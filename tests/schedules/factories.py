"""Schedules for tests."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from ami_integration.access.masking import headers_mask, storable_headers
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Server
from tests.actions.factories import RUN_PERMISSIONS, make_user
from tests.servers.factories import make_server

SCHEDULE_PERMISSIONS = (
    "view_schedule",
    "add_schedule",
    "change_schedule",
    "delete_schedule",
    "pause_schedules",
)


def make_planner(username: str = "ada") -> User:
    """Somebody who may edit schedules, and run what they run."""
    return make_user(username, *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)


def make_schedule(**values: Any) -> Schedule:
    """A stored schedule: a Ping every minute, due a second ago unless the values say otherwise.

    Args:
        **values: of its fields; `headers` in clear; and one of `server`, `servers` and `tag`. Without any of
            them it has a new server, Berlin.
    """
    due = timezone.now() - timedelta(seconds=1)
    headers = values.pop("headers", [])
    owner = values.pop("owner") if "owner" in values else make_planner()
    server = values.pop("server", None)
    servers = values.pop("servers", [] if server is None else [server])
    values = {
        "name": "Nightly",
        "action": "Ping",
        "payload": json.dumps(headers),
        "headers_masked": storable_headers(headers_mask(headers)),
        "kind": Schedule.Kind.INTERVAL,
        "interval_seconds": 60,
        "timezone": "UTC",
        "anchor_at": due - timedelta(seconds=60),
        "next_at": due,
        "owner_name": "" if owner is None else owner.username,
    } | values
    schedule = Schedule.objects.create(owner=owner, **values)
    if values.get("tag") is None:
        schedule.servers.set(servers or [make_server()])
    return schedule


def server_of(schedule: Schedule) -> Server:
    """The one server of a schedule that names one."""
    return schedule.servers.get()
