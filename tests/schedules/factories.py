"""Schedules for tests."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from ami_integration.schedules.models import Schedule
from tests.actions.factories import RUN_PERMISSIONS, make_user
from tests.servers.factories import make_server

SCHEDULE_PERMISSIONS = ("view_schedule", "add_schedule", "change_schedule", "delete_schedule")


def make_planner(username: str = "ada") -> User:
    """Somebody who may edit schedules, and run what they run."""
    return make_user(username, *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)


def make_schedule(**values: Any) -> Schedule:
    """A stored schedule: a Ping every minute, due a second ago unless the values say otherwise."""
    due = timezone.now() - timedelta(seconds=1)
    headers = values.pop("headers", [])
    owner = values.pop("owner", None) or make_planner()
    values = {
        "name": "Nightly",
        "action": "Ping",
        "payload": json.dumps(headers),
        "kind": Schedule.Kind.INTERVAL,
        "interval_seconds": 60,
        "anchor_at": due - timedelta(seconds=60),
        "next_at": due,
        "owner_name": owner.username,
    } | values
    server = values.pop("server", None) or make_server()
    return Schedule.objects.create(server=server, owner=owner, **values)
