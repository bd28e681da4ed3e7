"""`manage.py ami_doctor`: the connection test at the command line."""

from __future__ import annotations

import io
import socket

import pytest
from django.core.management import CommandError, call_command

from ami_integration.ami import TCP
from ami_integration.audit.models import AuditEntry
from tests.ami.scripted import scripted
from tests.servers.factories import SECRET, healthy, make_server

pytestmark = pytest.mark.django_db


def test_each_step_is_told_with_what_was_seen() -> None:
    out = io.StringIO()
    with scripted(healthy("Ping", "Originate", "Command")) as transport:
        make_server(transport)
        call_command("ami_doctor", "Berlin", stdout=out)
    told = out.getvalue()
    assert "Login and ACL: good" in told
    assert "    Asterisk 22.10.0." in told
    assert told.endswith("Berlin can be used.\n")
    assert SECRET not in told
    entry = AuditEntry.objects.get(verb="server.test")
    assert (entry.actor_name, entry.origin, entry.object_name) == ("", "command", "Berlin")


def test_a_step_that_fails_ends_it_with_its_cure_and_an_error() -> None:
    out = io.StringIO()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    make_server(TCP("127.0.0.1", port))
    with pytest.raises(CommandError, match="it ends at the step TCP"):
        call_command("ami_doctor", "Berlin", stdout=out)
    assert "→ In manager.conf under [general] check the lines enabled=" in out.getvalue()
    assert "Banner: not reached" in out.getvalue()


def test_a_server_that_is_not_there_is_an_error() -> None:
    with pytest.raises(CommandError, match="There is no server named Atlantis"):
        call_command("ami_doctor", "Atlantis")
