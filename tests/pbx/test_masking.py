"""What masking leaves of what real Asterisks tell: no secret in the stored bytes, and nothing else hidden."""

from __future__ import annotations

import os

import pytest

from ami_integration.access.masking import MASK
from ami_integration.actions.models import ActionRun
from tests.pbx.asterisk import Asterisk
from tests.pbx.test_actions import Headers, Office

pytestmark = [pytest.mark.pbx, pytest.mark.django_db, pytest.mark.usefixtures("valkey")]

CONFIG = """\
[general]
register => user:hunter2@sip.example.org/100
register = tls://trunk@domain:hunter2@sip.example.org:5061
auth = user:hunter2@realm
auth = md5
bindaddr = 10.0.0.1:5060
digest = MD5
requirecalltoken = no

[many]
secret = hunter2
dbpass = hunter2
pass = hunter2
vmpwd = hunter2
refresh_token = hunter2
access_token = hunter2
api_key = hunter2
tlsprivatekeypassphrase = hunter2
admin_pin = hunter2
userpin = hunter2
password_digest = MD5:hunter2
100 => hunter2,Ada
conf => 100,hunter2
passthrough = yes
contact = sip:100@10.0.0.1:5060
"""
OPEN = [
    ("auth", "md5"),
    ("bindaddr", "10.0.0.1:5060"),
    ("digest", "MD5"),
    ("requirecalltoken", "no"),
    ("passthrough", "yes"),
    ("contact", "sip:100@10.0.0.1:5060"),
]


@pytest.fixture
def office(asterisk: Asterisk) -> Office:
    path = asterisk.folder / "etc" / "secrets.conf"
    path.write_text(CONFIG)
    owner = (asterisk.folder / "etc").stat()
    os.chown(path, owner.st_uid, owner.st_gid)
    return Office(asterisk)


def seen(run: ActionRun) -> str:
    """Everything that is stored of it for eyes."""
    result = run.result.masked()
    headers = [*result.response, *(pair for item in result.items for pair in item), *run.headers_masked]
    return "\n".join([run.reason, result.output, *(f"{name}: {value}" for name, value in headers)])


@pytest.mark.parametrize("action", ["GetConfig", "GetConfigJSON"])
def test_a_configuration_is_told_without_its_secrets(office: Office, action: str) -> None:
    run = office.done(action, [("Filename", "secrets.conf")])
    told = seen(run)
    assert "hunter2" not in told
    clear = run.result.in_clear()
    assert str(clear.response).count("hunter2") >= CONFIG.count("hunter2") - 1  # JSON keeps one of each name
    if action == "GetConfig":
        assert told.count(MASK) == CONFIG.count("hunter2")
        values = [value for name, value in run.response if name.startswith("Line-")]
        for name, value in OPEN:
            assert f"{name}={value}" in values
    else:
        for name, value in OPEN[1:]:
            assert f'"{name}":"{value}"' in told


@pytest.mark.parametrize(
    ("before", "command"),
    [
        ("database put amiweb_trunk secret hunter2", "database get amiweb_trunk secret"),
        ('database put amiweb_trunk "my secret" hunter2', 'database get amiweb_trunk "my secret"'),
        ("database put amiweb_trunk secret hunter2", "database show amiweb_trunk"),
        ("database put amiweb_trunk secret hunter2", "database showkey secret"),
        (
            "database put amiweb_trunk secret hunter2",
            "database query \"SELECT key, value FROM astdb WHERE key LIKE '/amiweb_trunk%'\"",
        ),
        (
            "database put amiweb_trunk secret hunter2",
            "dialplan eval function AST_CONFIG(secrets.conf,many,secret)",
        ),
        ("dialplan set global AMIWEB_TRUNK_PASSWORD hunter2", "dialplan show globals"),
        ("core set global AMIWEB_TRUNK_PASSWORD hunter2", "core show globals"),
    ],
)
def test_what_a_command_prints_and_how_it_went_in_short_hold_no_secret(
    office: Office, before: str, command: str
) -> None:
    put = office.run("Command", [("Command", before)])
    assert "hunter2" not in str(put.headers_masked)
    run = office.run("Command", [("Command", command)])
    if run.status == ActionRun.Status.SUCCEEDED:
        assert "hunter2" in run.result.in_clear().output
    assert "hunter2" not in seen(run)
    office.asterisk.cli("database deltree amiweb_trunk")


@pytest.mark.parametrize(
    ("action", "headers"),
    [
        ("PJSIPShowEndpoint", [("Endpoint", "1000")]),
        ("CoreSettings", []),
        ("CoreStatus", []),
        ("ListCommands", []),
        ("PJSIPShowContacts", []),
        ("PJSIPShowAors", []),
        ("Command", [("Command", "core show settings")]),
        ("Command", [("Command", "core show applications")]),
        ("Command", [("Command", "core show functions")]),
        ("Command", [("Command", "manager show commands")]),
        ("Command", [("Command", "module show")]),
        ("Command", [("Command", "pjsip show endpoint 1000")]),
        ("Command", [("Command", "pjsip show aors")]),
        ("Command", [("Command", "core show hints")]),
        ("Command", [("Command", "dialplan show")]),
        ("Command", [("Command", "queue show")]),
    ],
)
def test_what_holds_no_secret_is_told_whole(office: Office, action: str, headers: Headers) -> None:
    run = office.run(action, headers)
    hidden = [line for line in seen(run).splitlines() if MASK in line]
    assert hidden == []


@pytest.mark.parametrize(
    ("action", "headers"),
    [
        ("PJSIPShowAuths", []),
        ("Command", [("Command", "pjsip show auth shown_auth")]),
        ("Command", [("Command", "pjsip show auths")]),
    ],
)
def test_the_accounts_of_telephones_are_told_without_their_secrets(
    office: Office, action: str, headers: Headers
) -> None:
    run = office.done(action, headers)
    told = seen(run)
    assert "hunter2" not in told
    assert ("hunter2" in str(run.result.in_clear())) == (MASK in told)
    if action == "PJSIPShowAuths":
        hidden = {name for item in run.items for name, value in item if value == MASK}
        assert hidden == {"Password"}
        assert dict(run.items[0])["AuthType"] == "userpass"
