"""Templates are requests that others run: who changed one stands in the audit, and no hidden value does."""

from __future__ import annotations

import pytest
from django.test import Client

from ami_integration.actions.models import ActionTemplate
from ami_integration.audit.models import AuditEntry
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db

PAGE = "/admin/ami_integration/actiontemplate/"


def test_a_template_is_added_changed_and_deleted_with_an_entry_for_each(admin_client: Client) -> None:
    server = make_server()
    given = {
        "name": "Mute",
        "description": "",
        "action": "MixMonitorMute",
        "headers": "Channel: PJSIP/1\r\nSecret: gr8-s3cret-word",
        "servers": [server.pk],
        "timeout": "",
        "mode": "parallel",
        "limit": "10",
        "stop_after": "",
    }
    answer = admin_client.post(f"{PAGE}add/", given)
    assert answer.status_code == 302, answer.content.decode()
    template = ActionTemplate.objects.get()
    admin_client.post(f"{PAGE}{template.pk}/change/", given | {"name": "Mute all"})
    admin_client.post(f"{PAGE}{template.pk}/delete/", {"post": "yes"})
    found = AuditEntry.objects.filter(object_type="actiontemplate").order_by("pk")
    assert [entry.verb for entry in found] == [
        f"actiontemplate.{what}" for what in ("add", "change", "delete")
    ]
    assert found[1].what["name"] == {"from": "Mute", "to": "Mute all"}
    assert "gr8-s3cret-word" not in str([*found.values()])
