"""People and runs for tests."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission, User
from django.utils import timezone

from ami_integration.actions.models import ActionRun, RunResult
from ami_integration.actions.results import Result
from ami_integration.ami import new_action_id
from tests.access.factories import grant
from tests.servers.factories import make_server

RUN_PERMISSIONS = ("view_actionrun", "add_actionrun")


def make_user(username: str = "ada", *permissions: str, **values: Any) -> User:
    """A member of staff with these permissions of ours, and no others.

    An access rule lets them do everything on every server, so that the permissions alone make the difference;
    `tests.access.factories` makes people of whom it is the other way round.
    """
    user = User.objects.create_user(
        username, password="word", is_staff=values.pop("is_staff", True), **values
    )
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    assert user.user_permissions.count() == len(permissions)
    grant(user)
    return user


def make_operator(username: str = "ada") -> User:
    """Somebody who may run actions, by hand or from a template, and see what they returned."""
    return make_user(username, *RUN_PERMISSIONS, "view_actiontemplate")


def make_run(**values: Any) -> ActionRun:
    """A stored run, queued and rung for unless the values say otherwise; of the command line, if nobody's."""
    now = timezone.now()
    headers = values.pop("headers", [])
    server = values.pop("server", None) or make_server()
    values = {
        "server_name": server.name,
        "action": "Ping",
        "payload": json.dumps(headers),
        "action_id": new_action_id(),
        "created_at": now,
        "rung_at": now,
        "expires_at": now + timedelta(seconds=300),
        # Without a person it can only have come from the command line.
        "origin": ActionRun.Origin.ADMIN if values.get("username") else ActionRun.Origin.COMMAND,
    } | values
    parts = {name: values.pop(name) for name in ("response", "items", "output", "note") if name in values}
    run = ActionRun.objects.create(server=server, **values)
    if parts:
        stored_at = values.get("finished_at", now)
        RunResult.objects.create(run=run, created_at=stored_at, **RunResult.columns(Result(**parts)))
    return run
