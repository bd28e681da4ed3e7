"""While a key is away, no form writes over what it opens, unless somebody ticks that it shall."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from ami_integration.actions.models import ActionTemplate
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.alerts.models import AlertChannel
from ami_integration.schedules.models import Schedule
from ami_integration.servers.forms import SECRETS, ServerForm
from ami_integration.servers.models import Server
from tests.schedules.alerts.factories import make_webhook
from tests.schedules.factories import make_schedule
from tests.secrets.conftest import NEW, OLD
from tests.servers.factories import SECRET, make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ring")]
REFUSED = "which can&#x27;t be read now"


def server_post(client: Client, server: Server, **values: Any) -> str:
    form = ServerForm(instance=server)
    sent = {name: form[name].value() for name in form.fields}
    sent = {name: value for name, value in sent.items() if value not in (None, "", False)}
    sent |= dict.fromkeys(SECRETS, "") | {"tags": []} | values
    sent = {name: value for name, value in sent.items() if value is not None}
    page = reverse("admin:ami_integration_server_change", args=(server.pk,))
    response = client.post(page, sent, follow=True)
    faults = response.context.get("errors", ())
    assert all("overwrite" in str(fault) for fault in faults), faults
    return str(response.content.decode())


def tokens(server: Server) -> list[str | None]:
    row = Server.objects.get(pk=server.pk)
    secrets = (row.secret, row.action_secret, row.ssh_key, row.ssh_password)
    return [None if secret is None else secret.token for secret in secrets]


@pytest.fixture
def away(ring: Settings) -> Server:
    """A server with every secret there is, none of which can be read."""
    server = make_server(
        action_username="acting", action_secret="an0ther", transport=None, ssh_key="k", ssh_password="p"
    )
    Server.objects.update(transport="ssh", ssh_host="gate", ssh_username="amiweb")
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    return Server.objects.get(pk=server.pk)


def test_a_save_that_touches_no_secret_goes_through_and_keeps_them(
    admin_client: Client, away: Server, ring: Settings
) -> None:
    before = tokens(away)
    assert REFUSED not in server_post(admin_client, away, notes="edited")
    assert Server.objects.get().notes == "edited"
    assert tokens(away) == before
    ring.AMIWEB_ENCRYPTION_KEYS = {"old": OLD}
    assert Server.objects.get().secret.reveal() == SECRET


@pytest.mark.parametrize(
    "values",
    [
        {"secret": "anew"},
        {"action_secret": "anew"},
        {"action_username": None},  # the second account is taken out
        {"transport": "tcp", "secret": "anew", "action_secret": "anew"},  # and so are the SSH secrets
    ],
)
def test_whatever_would_overwrite_or_empty_one_is_refused_until_ticked(
    admin_client: Client, away: Server, values: dict[str, Any]
) -> None:
    before = tokens(away)
    assert REFUSED in server_post(admin_client, away, **values)
    assert tokens(away) == before
    assert REFUSED not in server_post(admin_client, away, **values, replace_unreadable="on")
    assert tokens(away) != before
    entry = AuditEntry.objects.get(verb="server.change")
    assert entry.what["replace_unreadable"] == {"from": None, "to": True}
    assert "anew" not in str(entry.what)


def test_the_tick_is_there_only_where_something_can_not_be_read(
    admin_client: Client, away: Server, ring: Settings
) -> None:
    page = reverse("admin:ami_integration_server_change", args=(away.pk,))
    text = admin_client.get(page).content.decode()
    assert "Replace what can&#x27;t be read" in text and "its key &#x27;old&#x27; is not in" in text
    ring.AMIWEB_ENCRYPTION_KEYS = {"old": OLD}
    assert "replace_unreadable" not in admin_client.get(page).content.decode()
    add = reverse("admin:ami_integration_server_add")
    assert "replace_unreadable" not in admin_client.get(add).content.decode()


def test_a_channel_that_becomes_mail_forgets_no_url_that_can_not_be_read(
    admin_client: Client, ring: Settings
) -> None:
    channel = make_webhook("https://chat.example.com/one", secret="s1gning")
    page = reverse("admin:ami_integration_alertchannel_change", args=(channel.pk,))
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    mail = {"name": "Night", "kind": "mail", "enabled": "on", "addresses": "ada@example.com"}
    assert REFUSED in admin_client.post(page, mail, follow=True).content.decode()
    ring.AMIWEB_ENCRYPTION_KEYS = {"old": OLD}
    channel.refresh_from_db()
    assert channel.url is not None and channel.url.reveal() == "https://chat.example.com/one"
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    admin_client.post(page, mail | {"replace_unreadable": "on"}, follow=True)
    channel = AlertChannel.objects.get()
    assert (channel.url, channel.secret, channel.kind) == (None, None, "mail")


def test_a_templates_headers_are_not_written_anew_by_the_way(admin_client: Client, ring: Settings) -> None:
    template = ActionTemplate.objects.create(
        name="Ring", action="Ping", payload="[]", headers_masked=[], mode="parallel"
    )
    token = template.payload.token
    page = reverse("admin:ami_integration_actiontemplate_change", args=(template.pk,))
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    form = admin_client.get(page).context["adminform"].form
    sent = {name: form[name].value() for name in form.fields}
    sent = {name: value for name, value in sent.items() if value not in (None, "", False, [])}
    sent |= {"description": "edited"}
    assert REFUSED in admin_client.post(page, sent, follow=True).content.decode()
    assert ActionTemplate.objects.get().payload.token == token
    text = admin_client.post(page, sent | {"replace_unreadable": "on"}, follow=True).content.decode()
    assert REFUSED not in text
    assert ActionTemplate.objects.get().payload.key_id == "new"


def test_a_schedules_headers_are_not_written_anew_by_the_way(admin_client: Client, ring: Settings) -> None:
    schedule = make_schedule(owner=User.objects.get(username="admin"))
    token = schedule.payload.token
    page = reverse("admin:ami_integration_schedule_change", args=(schedule.pk,))
    form = admin_client.get(page).context["form"]
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    assert "replace_unreadable" in admin_client.get(page).content.decode()
    sent = {name: form[name].value() for name in form.fields}
    sent = {name: value for name, value in sent.items() if value not in (None, "", False, [])}
    sent |= {"name": "edited"}
    assert REFUSED in admin_client.post(page, sent, follow=True).content.decode()
    assert Schedule.objects.get().payload.token == token
    sent = {**sent, "replace_unreadable": "on"}
    text = admin_client.post(page, sent, follow=True).content.decode()
    assert REFUSED not in text
    stored = Schedule.objects.get()
    assert (stored.name, stored.payload.key_id) == ("edited", "new")
