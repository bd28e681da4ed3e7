"""Results, in clear and as files: for those who may, and for nobody else."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from ami_integration.access.danger import Danger
from ami_integration.access.masking import MASK
from ami_integration.actions.models import ActionRun
from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import ServerHealth
from tests.access.factories import grant, make_person
from tests.actions.factories import make_run
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
PERMISSIONS = ("view_actionrun", "view_result_secrets")
BODY = [("Response", "Success"), ("Secret", "hunter2")]


@pytest.fixture
def run() -> ActionRun:
    return make_run(status="succeeded", server=make_server(), response=BODY)


def signed_in(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def url(view: str, run: ActionRun) -> str:
    return reverse(f"admin:ami_integration_actionrun_{view}", args=(run.pk,))


def viewer(run: ActionRun) -> User:
    """Sees runs on this server, and no secrets."""
    person = make_person("vera", "view_actionrun")
    grant(person, Danger.READ, on=run.server)
    return person


def keeper(run: ActionRun) -> User:
    """Sees secrets, on this server."""
    person = make_person("kim", *PERMISSIONS)
    grant(person, Danger.READ, on=run.server)
    return person


def stranger(run: ActionRun) -> User:
    return make_person("eve", *PERMISSIONS)


def elsewhere(run: ActionRun) -> User:
    """May see everything, on another server."""
    person = make_person("mallory", *PERMISSIONS)
    grant(person, on=make_server(name="Bonn"))
    return person


@pytest.mark.parametrize("view", ["result", "export_csv", "export_json"])
def test_who_sees_the_run_gets_the_masked_result(run: ActionRun, view: str) -> None:
    response = signed_in(viewer(run)).get(url(view, run))
    content = response.getvalue().decode()
    assert response.status_code == 200
    assert MASK in content
    assert "hunter2" not in content
    assert "no-store" in response["Cache-Control"]


def test_a_browser_gets_the_result_as_it_is_stored(run: ActionRun) -> None:
    response = signed_in(viewer(run)).get(url("result", run), HTTP_ACCEPT_ENCODING="gzip, deflate, br")
    assert response["Content-Encoding"] == "deflate"
    assert json.loads(zlib.decompress(response.content))["response"] == [
        ["Response", "Success"],
        ["Secret", MASK],
    ]


@pytest.mark.parametrize("who", [stranger, elsewhere])
@pytest.mark.parametrize("view", ["result", "result_in_clear", "export_csv", "export_json", "change"])
def test_for_a_stranger_there_is_no_such_run(run: ActionRun, view: str, who: Callable[..., Any]) -> None:
    client = signed_in(who(run))
    send = client.post if view == "result_in_clear" else client.get
    response = send(url(view, run), {"secrets": "1"}, follow=True)
    assert "hunter2" not in response.getvalue().decode()
    assert MASK not in response.getvalue().decode()
    assert response.status_code == 404 or b"There is no run" in response.getvalue()


def test_nobody_without_a_login_gets_anything(run: ActionRun) -> None:
    response = Client().get(url("result", run))
    assert response.status_code == 302
    assert "login" in response["Location"]


@pytest.mark.parametrize(
    ("view", "how"),
    [("result_in_clear", "on its page"), ("export_csv", "as CSV"), ("export_json", "as JSON")],
)
def test_who_may_see_secrets_gets_them_and_the_audit_is_told(run: ActionRun, view: str, how: str) -> None:
    response = signed_in(keeper(run)).post(url(view, run), {"secrets": "1"}, REMOTE_ADDR="192.0.2.7")
    assert "hunter2" in response.getvalue().decode()
    entry = AuditEntry.objects.get(verb="run.secrets")
    assert (entry.actor_name, entry.object_id, entry.address) == ("kim", str(run.pk), "192.0.2.7")
    assert entry.what["how"] == how
    assert "hunter2" not in str(entry.what)


@pytest.mark.parametrize("view", ["result_in_clear", "export_csv", "export_json"])
def test_who_sees_the_run_but_no_secrets_is_refused_them(run: ActionRun, view: str) -> None:
    response = signed_in(viewer(run)).post(url(view, run), {"secrets": "1"})
    assert response.status_code == 403
    assert b"hunter2" not in response.getvalue()
    assert AuditEntry.objects.get(verb="run.secrets").outcome == AuditEntry.Outcome.REFUSED


def test_secrets_are_not_to_be_had_by_a_link(run: ActionRun) -> None:
    client = signed_in(keeper(run))
    assert client.get(url("result_in_clear", run)).status_code == 405
    assert b"hunter2" not in client.get(url("export_csv", run), {"secrets": "1"}).getvalue()
    assert not AuditEntry.objects.filter(verb="run.secrets").exists()


def test_a_missing_key_is_told_and_not_a_failure_of_the_page(run: ActionRun, settings: Any) -> None:
    settings.AMIWEB_ENCRYPTION_KEYS = {"other": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="}
    response = signed_in(keeper(run)).post(url("result_in_clear", run))
    assert response.status_code == 409
    assert "AMIWEB_ENCRYPTION_KEYS" in response.json()["error"]


def test_a_run_without_a_result_has_none_to_fetch() -> None:
    run = make_run()
    assert signed_in(viewer(run)).get(url("result", run)).status_code == 404


def test_the_columns_are_those_of_the_catalogue_where_it_knows_the_action(run: ActionRun) -> None:
    ServerHealth.objects.update_or_create(server=run.server, defaults={"asterisk_version": "22.10.1"})
    client = signed_in(viewer(run))
    assert client.get(url("change", run)).context["columns"] == []
    ActionRun.objects.update(action="CoreShowChannels")
    columns = client.get(url("change", run)).context["columns"]
    assert columns[:3] == ["Event", "Channel", "ChannelState"]
    assert {"Application", "Duration", "BridgeId"} <= set(columns)


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_who_takes_a_result_away_is_told_of_in_the_audit(run: ActionRun, kind: str) -> None:
    signed_in(viewer(run)).get(url(f"export_{kind}", run), REMOTE_ADDR="192.0.2.7")
    entry = AuditEntry.objects.get(verb="run.export")
    assert (entry.object_type, entry.object_id, entry.address) == ("run", str(run.pk), "192.0.2.7")
    assert entry.what["kind"] == kind
