"""Every page that there is, opened by somebody who may do everything, on another server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from ami_integration.actions.models import FanOut
from ami_integration.schedules.alerts.models import Alert
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.planned import PlannedRun
from ami_integration.servers.models import Tag
from tests.access.factories import grant, make_person
from tests.actions.asking import make_template
from tests.actions.factories import make_run
from tests.schedules.factories import make_schedule
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]

#: Django's own; it answers only to what Django's own pages send.
LEFT_OUT = ("autocomplete/", "logout/", "jsi18n/")


def addresses(patterns: Any, prefix: str = "") -> Iterator[str]:
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            yield from addresses(pattern.url_patterns, prefix + str(pattern.pattern))
        else:
            yield prefix + str(pattern.pattern)


@pytest.fixture
def hidden_id() -> int:
    """A server, and a run, a fan-out, a template and a schedule of it, all with the same id."""
    server = make_server(name="HIDDEN-PBX", host="HIDDEN-HOST.example")
    values = {"action": "HIDDEN-ACTION", "username": "HIDDEN-PERSON"}
    fanout = FanOut.objects.create(pk=server.pk, key="k", payload="[]", **values)
    headers = [("X", "HIDDEN-VALUE")]
    make_run(
        pk=server.pk, server=server, server_name=server.name, fanout=fanout, headers=headers, status="failed"
    )
    tag = Tag.objects.create(name="HIDDEN-TAG")
    server.tags.add(tag)
    make_template(pk=server.pk, name="Shared").servers.add(server)
    make_template(name="Shared, by tag", tag=tag)
    grant(make_person("somebody"), on=tag)
    grant(make_person("else"), on=server)
    schedule = make_schedule(
        pk=server.pk,
        name="HIDDEN-SCHEDULE",
        server=server,
        owner=None,
        stopped_at=timezone.now(),
        stopped_why="HIDDEN-WHY",
    )
    tagged = make_schedule(name="HIDDEN-TAGGED", tag=tag, owner=None)
    for one in (schedule, tagged):
        PlannedRun.objects.create(
            schedule=one, planned_at=timezone.now(), outcome="refused", reason="HIDDEN-REASON"
        )
        Alert.objects.create(schedule=one, schedule_name=one.name, kind="failing", text="HIDDEN-ALERT")
    held = Blackout.objects.create(
        pk=server.pk,
        name="HIDDEN-BLACKOUT",
        tag=tag,
        scope="some",
        starts_at=timezone.now(),
        ends_at=timezone.now() + timedelta(hours=1),
    )
    held.schedules.add(schedule)
    return server.pk


@pytest.fixture
def neighbour() -> User:
    neighbour = make_person("neighbour")
    neighbour.user_permissions.set(Permission.objects.filter(content_type__app_label="ami_integration"))
    grant(neighbour, on=make_server(name="Oslo"))
    return neighbour


@pytest.mark.parametrize("method", ["get", "post"])
def test_no_page_tells_of_a_server_that_one_does_not_see(
    hidden_id: int, neighbour: User, method: str
) -> None:
    client = Client()
    client.force_login(neighbour)
    asked = {name: str(hidden_id) for name in ("server", "run", "fanout", "template", "copy", "tag")}
    told, opened = [], 0
    for address in addresses(get_resolver().url_patterns):
        if not address.startswith("admin/") or address.endswith(LEFT_OUT):
            continue
        named = re.sub(r"<(?:\w+:)?name>", "Ping", address)
        url = "/" + re.sub(r"<[^>]+>", str(hidden_id), named).strip("^$")
        for values in ({}, asked | {"action": "Ping"}):
            page = getattr(client, method)(url, values)
            if page.streaming and page.is_async:
                continue  # the export of events, in tests/events/test_history.py
            body = b"".join(page.streaming_content) if page.streaming else page.content
            opened += page.status_code == 200
            told += [(url, words) for words in re.findall(r"HIDDEN-\w+", body.decode("utf-8", "replace"))]
    assert not told
    assert opened > 20
