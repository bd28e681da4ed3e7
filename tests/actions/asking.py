"""People who ask for something, templates, and previews, for tests."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import User

from ami_integration.actions.models import ActionTemplate
from ami_integration.actions.preview import Preview, request_preview
from ami_integration.actions.templates import template_mask
from ami_integration.servers.models import Server, Tag
from tests.access.factories import grant, make_person
from tests.servers.factories import make_server


def person_on(*servers: Server | Tag, dangers: tuple[str, ...] = (), username: str = "eve") -> User:
    """Somebody with a rule for these servers (all classes unless some are named) and for no others."""
    person = make_person(username)
    for server in servers:
        grant(person, *dangers, on=server)
    return person


def make_template(**values: Any) -> ActionTemplate:
    """A stored template; `headers` become its payload."""
    headers = values.pop("headers", [])
    values = {
        "name": "Call somebody",
        "action": "Originate",
        "payload": json.dumps(headers),
        "headers_masked": template_mask(headers),
    } | values
    return ActionTemplate.objects.create(**values)


def make_servers(count: int, *, tag: str = "") -> list[Server]:
    """So many servers, named in order; with a tag if one is named."""
    servers = [make_server(name=f"PBX {number}") for number in range(count)]
    if tag:
        found, _ = Tag.objects.get_or_create(name=tag)
        for server in servers:
            server.tags.add(found)
    return servers


def look_at(
    user: User, servers: list[Server], action: str = "QueuePause", headers: Any = (), **values: Any
) -> Preview:
    """The preview of a request, of class operate unless another action is named."""
    return request_preview(user=user, servers=servers, action=action, headers=headers, **values)
