"""The classes of requests against what Asterisk itself says and does."""

from __future__ import annotations

import re

import pytest

from ami_integration.access.danger import Danger, danger_of
from ami_integration.ami import TCP, AMIClient
from tests.pbx.asterisk import Asterisk

pytestmark = pytest.mark.pbx


def client_of(asterisk: Asterisk, role: str = "admin") -> AMIClient:
    username, secret = asterisk.users[role]
    return AMIClient(TCP(asterisk.host, asterisk.port), username=username, secret=secret)


@pytest.mark.parametrize(
    ("application", "data"),
    [
        ("System", "true"),
        ("trysystem", "true"),
        ("Exec", "NoOp()"),
        ("EAGI", "x"),
        ("MixMonitor", "x.wav"),
        ("ExternalIVR", "x"),
        ("Originate", "Local/1@x,app,NoOp"),
        ("NoOp", "${SHELL(true)}"),
        ("NoOp", "${EVAL(x)}"),
    ],
)
def test_what_asterisk_refuses_without_the_privilege_system_is_of_class_system(
    asterisk: Asterisk, application: str, data: str
) -> None:
    headers = [("Channel", "Local/hold@phones"), ("Application", application), ("Data", data)]
    assert danger_of("Originate", headers) is Danger.SYSTEM
    with client_of(asterisk, "originate") as client:
        reply = client.action("Originate", [*headers, ("Async", "true")])
    assert not reply.success and "Access Forbidden" in reply.message, reply.message


@pytest.mark.parametrize(
    "spelled", ["database show", '  "database"\t SHOW', "data\\base show", 'DATABASE "sh\\ow"']
)
def test_a_cli_command_is_read_as_asterisk_reads_it(asterisk: Asterisk, spelled: str) -> None:
    """However it is spelled, Asterisk shows its database; and that may hold secrets."""
    assert danger_of("Command", [("Command", spelled)]) is Danger.CONFIG
    with client_of(asterisk) as client:
        client.action("DBPut", {"Family": "danger", "Key": "k", "Val": "v"})
        output = client.action("Command", [("Command", spelled)]).output
        client.action("DBDel", {"Family": "danger", "Key": "k"})
    assert any(re.match(r"/danger/k\s*: v", line) for line in output), output


def test_the_first_of_two_headers_is_the_one_that_runs(asterisk: Asterisk) -> None:
    both = [("command", "core show version"), ("Command", "core show uptime")]
    with client_of(asterisk) as client:
        output = client.action("Command", both).output
    assert any("Asterisk" in line for line in output) and not any("uptime" in line for line in output)


def test_no_cli_command_of_this_asterisk_that_changes_something_is_read(asterisk: Asterisk) -> None:
    with client_of(asterisk) as client:
        lines = client.command("core show help").output
    commands = [match[1].strip() for line in lines if (match := re.match(r"\s*(.+?) -- ", line))]
    assert len(commands) > 200
    read = {text for text in commands if danger_of("Command", [("Command", text)]) is Danger.READ}
    assert 150 < len(read) < len(commands)
    changing = re.compile(
        r"\b(add|cancel|change|clear|create|del|deltree|delete|destroy|dump|eval|exec|execute|export|init|kick"
        r"|load|lock|logoff|move|mute|originate|prune|put|redirect|refresh|reload|remove|request|reset|restart"
        r"|rotate|send|set|start|stop|store|submit|suspend|unload|unregister|update)\b"
    )
    assert not {
        text for text in read if changing.search(text.lower().partition("[")[0].partition(" show ")[0])
    }


def test_status_reads_what_its_variables_name_and_is_classed_by_them(asterisk: Asterisk) -> None:
    """Whoever may only look must not read manager.conf by naming a function."""
    headers = [("Variables", "AST_CONFIG(manager.conf,general,enabled)")]
    assert danger_of("Status", headers) is Danger.SYSTEM
    with client_of(asterisk) as client:
        client.action("Originate", {"Channel": "Local/hold@phones", "Application": "Wait", "Data": "5"})
        told = [event.getall("Variable") for event in client.action("Status", headers).events]
        client.action("Hangup", {"Channel": "/^Local/hold@phones/"})
    assert any(value.endswith(")=yes") for values in told for value in values), told


def test_a_name_behind_what_is_below_a_blank_is_the_same_action(asterisk: Asterisk) -> None:
    with client_of(asterisk) as client:
        assert client.action("\x01Command", {"Command": "core show version"}).output
    assert danger_of("\x01Command", [("Command", "core show version")]) is Danger.READ
