"""What may be seen, and what a database can take."""

from __future__ import annotations

import pytest

from ami_integration.actions.masking import (
    MASK,
    headers_mask,
    is_secret,
    output_mask,
    secret_values,
    storable,
    text_without,
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
