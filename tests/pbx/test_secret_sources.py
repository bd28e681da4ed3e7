"""Logins with secrets that aren't stored, at real Asterisks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from ami_integration.actions import services
from ami_integration.actions.models import ActionRun
from ami_integration.actions.worker import run_execute
from ami_integration.ami import TCP
from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import Server
from ami_integration.servers.services import connection_test
from tests.pbx.asterisk import Asterisk
from tests.servers.factories import make_server

pytestmark = [pytest.mark.pbx, pytest.mark.django_db, pytest.mark.usefixtures("action_sessions")]
Status = ActionRun.Status


def server_of(asterisk: Asterisk, **values: Any) -> Server:
    username, _ = asterisk.users["admin"]
    return make_server(TCP(asterisk.host, asterisk.port), username=username, secret=None, **values)


def ping(server: Server) -> ActionRun:
    run = services.run_submit(user=None, server=server, action="Ping", headers=[], origin="command")
    assert run_execute(run_id=run.pk)
    run.refresh_from_db()
    return run


def uses() -> list[tuple[str, str]]:
    return [
        (entry.what["secrets are"], entry.outcome)
        for entry in AuditEntry.objects.filter(verb="secret.use").order_by("pk")
    ]


def test_a_login_with_a_variable(asterisk: Asterisk, settings: Settings) -> None:
    settings.AMIWEB_ENVIRONMENT_SECRETS = {"AMIWEB_SECRET_BERLIN": asterisk.users["admin"][1]}
    server = server_of(asterisk, secret_source="environment", secret_name="AMIWEB_SECRET_BERLIN")
    assert ping(server).status == Status.SUCCEEDED
    assert uses() == [("environment", "done")]
    steps = connection_test(server=server, listen=0.5)
    assert next(step for step in steps if step.name == "Login and ACL").ok


def test_a_file_is_read_at_each_login(asterisk: Asterisk, tmp_path: Path, settings: Settings) -> None:
    settings.AMIWEB_SECRETS_DIR = str(tmp_path)
    server = server_of(asterisk, secret_source="file", secret_name="berlin")
    missing = ping(server)
    assert missing.status == Status.FAILED
    assert str(tmp_path / "berlin") in missing.reason
    (tmp_path / "berlin").write_text("not the secret\n")
    refused = ping(server)
    assert refused.status == Status.FAILED
    assert "Authentication failed" in refused.reason
    (tmp_path / "berlin").write_text(asterisk.users["admin"][1] + "\n")
    assert ping(server).status == Status.SUCCEEDED
    assert uses() == [("file", "failed"), ("file", "done")]
