"""What may be seen, and what a database can take."""

from __future__ import annotations

from typing import Any

import pytest

from ami_integration.access.masking import (
    MASK,
    headers_mask,
    is_secret,
    lines_visible,
    output_mask,
    secret_values,
    storable,
    text_without,
    visible,
)


@pytest.mark.parametrize(
    "name",
    [
        "Secret",
        "secret",
        "Password",
        "VMSecret",
        "MD5Cred",
        "md5_cred",
        "AuthPass",
        "RemoteSecret",
        "auth/password",
    ],
)
def test_a_secret_header_is_known_by_its_name(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["Channel", "Passthru", "Family", "Key", "Exten", "Message", "Path"])
def test_other_headers_are_left_alone(name: str) -> None:
    assert headers_mask([(name, "value")]) == [(name, "value")]


def test_masking_keeps_names_order_and_number() -> None:
    headers = [("Username", "bob"), ("Secret", "x"), ("Secret", "y"), ("Interface", "Local/1")]
    masked = [("Username", "bob"), ("Secret", MASK), ("Secret", MASK), ("Interface", "Local/1")]
    assert headers_mask(headers) == masked


def test_an_empty_secret_is_not_dressed_up_as_one() -> None:
    assert headers_mask([("Secret", "")]) == [("Secret", "")]


def test_a_secret_in_an_answer_of_getconfig_is_masked() -> None:
    line = ("Line-000001-000003", "secret=hunter2")
    assert headers_mask([line]) == [("Line-000001-000003", f"secret={MASK}")]
    assert secret_values([line]) == {"hunter2"}


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Line-000001-000000", "100=4711,Ada,ada@example.org", f"100={MASK}"),
        ("Line-000001-000000", "100 => 4711", f"100 => {MASK}"),
        ("Line-000001-000001", "attach=yes", "attach=yes"),
        ("Line-000002-000000", "exten=100,1,Dial(PJSIP/100)", "exten=100,1,Dial(PJSIP/100)"),
        (
            "JSON",
            '{"default":{"100":"4711,Ada","attach":"yes"}}',
            f'{{"default":{{"100":"{MASK}","attach":"yes"}}}}',
        ),
        ("Exten", "100=4711", "100=4711"),
    ],
)
def test_the_password_of_a_mailbox_is_masked_though_nothing_names_it(
    name: str, value: str, shown: str
) -> None:
    assert headers_mask([(name, value)]) == [(name, shown)]


@pytest.mark.parametrize(
    "line", ["exten=>1,1,Set(DB_PASSWORD=hunter2)", "setvar=A=1,API_SECRET=hunter2", r"password\t=> hunter2"]
)
def test_a_configuration_in_json_hides_what_a_string_assigns_beside_another_secret(line: str) -> None:
    [(_, masked)] = headers_mask([("JSON", f'{{"a":["secret=x","{line}","read=all"]}}')])
    assert "hunter2" not in masked
    assert masked.endswith('","read=all"]}')


def test_updateconfig_names_its_secret_in_another_header() -> None:
    headers = [
        ("Var-000000", "secret"),
        ("Value-000000", "hunter2"),
        ("Var-000001", "host"),
        ("Value-000001", "a"),
    ]
    assert [value for _, value in headers_mask(headers)] == ["secret", MASK, "host", "a"]


@pytest.mark.parametrize(
    "headers",
    [
        [("Variable", "SIP_SECRET"), ("Value", "hunter2")],
        [("Event", "VarSet"), ("Variable", "__db_password"), ("Value", "hunter2")],
        [("Family", "accounts"), ("Key", "100/password"), ("Val", "hunter2")],
        [("Family", "passwords"), ("Key", "100"), ("Val", "hunter2")],
    ],
)
def test_a_header_that_names_a_secret_hides_the_one_that_holds_it(headers: list[tuple[str, str]]) -> None:
    assert headers_mask(headers) == [*headers[:-1], (headers[-1][0], MASK)]
    assert secret_values(headers) == {"hunter2"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a=1,secret=hunter2", f"a=1,secret={MASK}"),
        ("password=hunter2", f"password={MASK}"),
        ("https://host/?user=a&password=hunter2&x=1", f"https://host/?user=a&password={MASK}"),
        ("database put accounts secret hunter2", f"database put accounts secret {MASK}"),
        ("database put passwords 100 hunter2", f"database put passwords 100 {MASK}"),
        ("dialplan set global DB_PASSWORD hunter2", f"dialplan set global DB_PASSWORD {MASK}"),
        ('{"a":["host=dynamic","secret=hun\\"ter2"]}', f'{{"a":["host=dynamic","secret={MASK}"]}}'),
        ('{"a":{"secret":"hunter2","host":"dynamic"}}', f'{{"a":{{"secret":"{MASK}","host":"dynamic"}}}}'),
        ("The password was wrong", "The password was wrong"),
        ("pjsip show endpoint secretary", "pjsip show endpoint secretary"),
    ],
)
def test_a_secret_inside_a_value_is_masked(value: str, shown: str) -> None:
    assert headers_mask([("Data", value)]) == [("Data", shown)]


@pytest.mark.parametrize("name", ["SecretExist", "MD5SecretExist", "RemoteSecretExist"])
def test_that_there_is_a_secret_is_none(name: str) -> None:
    assert headers_mask([(name, "Y")]) == [(name, "Y")]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (" password             : hunter2", f" password             : {MASK}"),
        ("secret=hunter2 and more", f"secret={MASK}"),
        ("md5_cred => abc", f"md5_cred => {MASK}"),
        ("[Secret:] <value>", "[Secret:] <value>"),
        ("Secret: <value>", "Secret: <value>"),
        ("1 active channel", "1 active channel"),
    ],
)
def test_the_output_of_a_command_is_masked_line_by_line(line: str, shown: str) -> None:
    assert output_mask(f"before\n{line}\nafter") == f"before\n{shown}\nafter"


IAX_USERS = """\
Username         Secret                Authen           Def.Context      A/C    Codec Pref
ada              hunter2               0000000000002    default          No     Host
bob              correct horse battery 0000000000002    default          No     Host
eve                                    0000000000002    default          No     Host

2 users with hunter2"""


def test_a_column_for_secrets_is_masked_to_the_end_of_its_table() -> None:
    masked = output_mask(IAX_USERS).split("\n")
    assert masked[0] == IAX_USERS.split("\n")[0]
    for line in masked[1:3]:
        assert line[17:39] == MASK.ljust(22) and line.endswith("No     Host")
    assert masked[3:] == IAX_USERS.split("\n")[3:]
    last = "Mailbox  Password\n100      4711"
    assert output_mask(last) == f"Mailbox  Password\n100      {MASK}"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("                        secret  hunter2", f"                        secret  {MASK}"),
        ("PIN:                     1234", f"PIN:                     {MASK}"),
        ("Spinning: 1234", "Spinning: 1234"),
    ],
)
def test_names_and_values_of_tables_and_pins_are_masked(line: str, shown: str) -> None:
    assert output_mask(line) == shown


def test_what_a_function_reads_is_masked_by_its_arguments() -> None:
    told = ("Variable", "AST_CONFIG(manager.conf,admin,secret)=hunter2")
    assert headers_mask([told]) == [("Variable", f"AST_CONFIG(manager.conf,admin,secret)={MASK}")]
    assert headers_mask([("Line-000000-000001", "pin=1234")]) == [("Line-000000-000001", f"pin={MASK}")]


def test_a_very_long_line_is_masked_before_anybody_gets_old() -> None:
    # Quadratic cost would take hours here.
    long = "a/" * 100_000
    assert headers_mask([("Data", f"{long},secret=hunter2")]) == [("Data", f"{long},secret={MASK}")]
    many = "a secret " * 20_000
    assert headers_mask([("Data", many)]) == [("Data", many)]
    assert output_mask(f"{long} secret=hunter2\n{long}") == f"{long} secret={MASK}\n{long}"


def test_secrets_are_taken_out_of_a_text_the_longest_first() -> None:
    assert text_without("abcdef abc", {"abc", "abcdef"}) == f"{MASK} {MASK}"


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("Zoë 📞", "Zoë 📞"),
        ("a\x00b", "a\\x00b"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\xe9"),
        ("lone \ud800", "lone \\ud800"),
    ],
)
def test_what_a_database_cannot_take_becomes_visible(text: str, stored: str) -> None:
    assert storable(text) == stored


@pytest.mark.parametrize(
    "line",
    [
        "dbpass=*",
        "pass = *",
        "vmpwd=*",
        "refresh_token=*",
        "access_token = *",
        "api_key=*",
        "apikey=*",
        "tlsprivatekeypassphrase=*",
        "digest=*",
        "admin_pin=*",
        "userpin=*",
        "pinnumber=*",
        "register => user:*@host",
        "register=1234:*@sip.example.org:5060/1234",
        "register => user@domain:*@host/100",
        "register=tls://user:*@host",
        "register => user:*@host,with?everything",
        "auth = user:*@realm",
        "auth=user#*@realm",
        "conf => 1000,*",
        "100 => *",
        "dsn=postgresql://asterisk:*@db.example.org/calls",
        "outbound_proxy=sip:trunk:*@host",
    ],
)
def test_secrets_of_configuration_files_are_masked_as_getconfig_tells_them(line: str) -> None:
    for secret in ("Hunter:2", "4711,0815", "0123456789abcdef" * 2):
        told = line.replace("*", secret).replace("with?", secret + "@")
        shown = line.replace("*", MASK).replace(",with?everything", "")
        masked = headers_mask([("Line-000001-000003", told)])[0][1]
        assert secret.partition(",")[0] not in masked, masked
        if secret == "0123456789abcdef" * 2 and "with?" not in line:
            assert masked == shown
            assert secret_values([("Line-000001-000003", told)]) == {secret}
    told = line.replace("*", r"hun\"ter2").replace(",with?everything", "")
    name, equals, value = told.partition("=" if "=>" not in told else "=>")
    for json in (f'{{"a":["{told}","b=c"]}}', f'{{"a":{{"{name.strip()}":"{value.strip()}","b":"c"}}}}'):
        masked = headers_mask([("JSON", json)])[0][1]
        assert equals and "ter2" not in masked and masked.endswith(json[-6:])


@pytest.mark.parametrize(
    "line",
    [
        "digest=MD5",
        "digest = SHA-256,md5",
        "requirecalltoken=yes",
        "token=auto",
        "token_url=https://accounts.example.org/o/oauth2/token",
        "pin=no",
        "passthrough=yes",
        "PassThrough=3",
        "bypass=1",
        "compass=north",
        "opinion=1",
        "auth=md5",
        "auth=trunk-auth",
        "auth_type=userpass",
        "register=no",
        "contact=sip:100@10.0.0.1:5060",
        "contact=sips:100@[2001:db8::1]:5060",
        "hint=park:701@parkedcalls",
        "mailbox=100@default",
        "exten=100,1,Dial(PJSIP/100/sip:100@10.0.0.1:5060&PJSIP/101/sip:101@10.0.0.2:5060,30)",
        "exten=100,1,Dial(Local/100@office/n&Local/101@office/n)",
        "started=2026-01-01 12:30:00",
    ],
)
def test_what_only_looks_like_a_secret_of_a_configuration_file_stays(line: str) -> None:
    assert headers_mask([("Line-000001-000003", line)]) == [("Line-000001-000003", line)]
    assert output_mask(line.replace("=", ": ", 1)) == line.replace("=", ": ", 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("Digest", "MD5"), ("SupportedDigests", "MD5,SHA-256"), ("PassThrough", "yes"), ("PinSet", "no")]
    + [("Spinning", "1"), ("CallToken", "x"), ("Ping", "Pong"), ("Mapping", "x"), ("Passive", "x")],
)
def test_ordinary_columns_are_no_secrets(name: str, value: str) -> None:
    assert headers_mask([(name, value)]) == [(name, value)]


@pytest.mark.parametrize("name", ["Pin", "AdminPin", "UserPIN", "RefreshToken", "PasswordDigest", "ApiKey"])
def test_columns_that_hold_a_secret_are_masked(name: str) -> None:
    assert headers_mask([(name, "1234")]) == [(name, MASK)]


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ('"database" put trunk secret X', '"database" put trunk secret *'),
        ('database put trunk "my secret" X', 'database put trunk "my secret" *'),
        ('database put "my secret" 100 "X y"', 'database put "my secret" 100 *'),
        ("DataBase  PUT trunk se\\cret X", "DataBase  PUT trunk se\\cret *"),
        ("database put trunk secret a=b", "database put trunk secret *"),
        ("database put trunk secret user:pw@host", "database put trunk secret *"),
        ('database put trunk secret {"pass":"x","user":"y"}', "database put trunk secret *"),
        ("core set global TRUNK_PASSWORD X", "core set global TRUNK_PASSWORD *"),
        ('dialplan set global "DB_PIN" X y', 'dialplan set global "DB_PIN" *'),
        ("core set chanvar C TRUNK_PASSWORD X", "core set chanvar C TRUNK_PASSWORD *"),
        ("dialplan set chanvar PJSIP/1 PLAIN api_key=X", "dialplan set chanvar PJSIP/1 PLAIN api_key=*"),
        ("realtime update sippeers name bob secret X", "realtime update sippeers name bob secret *"),
        ("agi exec PJSIP/1 SET VARIABLE A_SECRET X", "agi exec PJSIP/1 SET VARIABLE A_SECRET *"),
        ("channel originate Local/1@x application Set A_SECRET=X", None),
        ("database put trunk note X", "database put trunk note X"),
        ("database get trunk secret", "database get trunk secret"),
        ("core set chanvar SECRET PLAIN X", "core set chanvar SECRET PLAIN X"),
        ("pjsip show endpoint secret", "pjsip show endpoint secret"),
        ("", ""),
    ],
)
def test_a_command_is_masked_by_its_words_as_asterisk_takes_them(command: str, shown: str | None) -> None:
    if shown is None:
        shown = command.removesuffix("X") + "*"
    masked = headers_mask([("Command", command)])
    assert masked == [("Command", shown.replace("*", MASK))]


@pytest.mark.parametrize(
    "headers",
    [
        [("Var-000000", "dbpass"), ("Value-000000", "hunter2")],
        [("Var-000000", "secret"), ("Match-000000", "hunter2")],
        [("Var-000001", "register"), ("Value-000001", "user:hunter2@host")],
        [("DstFilename", "voicemail.conf"), ("Var-000000", "100"), ("Value-000000", "hunter2,Ada")],
        [("Variable", "API_KEY"), ("Value", "hunter2")],
        [("Channel", "IAX2/user:hunter2@host/100")],
    ],
)
def test_a_configuration_that_is_changed_hides_what_its_other_headers_call_secret(headers: Any) -> None:
    assert "hunter2" not in str(headers_mask(headers))
    assert any("hunter2" in value for value in secret_values(headers))


@pytest.mark.parametrize(
    ("command", "text", "shown"),
    [
        ("database get trunk secret", "Value: hunter2", "Value: *"),
        ('"DATABASE" get "trunk" my\\ secret', "Value: hunter2\nmore", "Value: *\n*"),
        ("database get trunk note", "Value: x", "Value: x"),
        ("database get trunk secret", "Database entry not found.", "Database entry not found."),
        ("dialplan eval function DB(trunk/secret)", "Return Value: Success (0)\nResult: x", None),
        ("database query x", "key  : /trunk/secret\nvalue: x\n\nkey  : /a/b\nvalue: y", None),
        (
            "dialplan set global API_KEY hunter2",
            "    -- Global variable 'API_KEY' set to 'hunter2'",
            "    -- Global variable 'API_KEY' set to *",
        ),
        ("x", "    -- Global variable 'NOTE' set to 'pass'", "    -- Global variable 'NOTE' set to 'pass'"),
        (
            "databse put trunk secret hunter2",
            "No such command 'databse put trunk secret hunter2' (type 'core show help databse' for other)",
            "No such command 'databse put trunk secret *' (type 'core show help databse' for other)",
        ),
        ("database show", "/trunk/a secret b     : hunter2", "/trunk/a secret b     : *"),
        ("module show", "res_auth_digest.so  Authenticates  0", "res_auth_digest.so  Authenticates  0"),
        ("sip show registry", "register => user:hunter2@host", "register => user:*@host"),
    ],
)
def test_what_a_command_prints_alone_is_masked_by_what_was_asked(
    command: str, text: str, shown: str | None
) -> None:
    if shown is None:
        shown = text.replace(": x", ": *")
    assert output_mask(text, command) == shown.replace("*", MASK)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pay \u202e1001", r"pay \u202e1001"),
        ("a\u200bb\ufeffc\u00add", r"a\u200bb\ufeffc\xadd"),
        ("a\x85b\x1bc\td\re\x7f", r"a\x85b\x1bc\td\re\x7f"),
        ("a\u2028b\u2029c\U000e0041", r"a\u2028b\u2029c\U000e0041"),
        ("a\u3164b\u115fc\u2800d\u034fe", r"a\u3164b\u115fc\u2800d\u034fe"),
        ("Zoë 📞\ntwo lines", "Zoë 📞\ntwo lines"),
    ],
)
def test_what_nobody_sees_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_header_takes_one_line_for_eyes_whatever_it_holds() -> None:
    assert lines_visible([("A", "b\nC: d"), ("E", "f\x00")]) == "A: b\\nC: d\nE: f\\x00"
