"""A manager.conf read as Asterisk reads it; tests/pbx/test_managerconf.py asks Asterisk itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.servers.managerconf import MOST_ACCOUNTS, Listening, conf_read


def secrets(text: str) -> dict[str, str]:
    return {account.name: account.secret for account in conf_read(text).accounts}


def test_accounts_with_what_they_may() -> None:
    conf = conf_read(
        "[general]\nenabled = yes\n\n[ada]\nsecret = one\ndeny=0.0.0.0/0.0.0.0\npermit=192.0.2.0/24\n"
        "READ = system,call\nwrite => originate\n[bob]\nsecret=two\n[nobody]\nread=all\n"
    )
    ada, bob, nobody = conf.accounts
    assert (ada.name, ada.line, ada.secret, ada.read, ada.write) == (
        "ada",
        4,
        "one",
        "system,call",
        "originate",
    )
    assert ada.rules == ("deny 0.0.0.0/0.0.0.0", "permit 192.0.2.0/24")
    assert (bob.secret, nobody.secret) == ("two", "")
    assert not (conf.notes or conf.missing or conf.refused)


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("secret = a;b", "a"),
        (r"secret = a\;b", "a;b"),
        (r"secret = a\;b\;c ; said", "a;b;c"),
        ("secret = a ;-- within --; b", "a  b"),
        ("secret = a ;--- no block", "a"),
        ("secret = a=b", "a=b"),
        ("secret => a>b", "a>b"),
        ("secret ==> a", "=> a"),
        ("  secret\t=\t a b \t", "a b"),
        ("secret = ä€", "ä€"),
        ('secret = "a"', '"a"'),
        ("secret = a\r", "a"),
        ("secret = a\x00b", "a"),
        ("SECRET = a", "a"),
        ("secret = a\nsecret = b", "b"),
        ("secret = a\nsecret += b", "ab"),
        ("secret = a\nsecret += b c ", "ab c"),
        ("secret += a", "a"),
        ("secret =", ""),
        (r"\secret = a", "a"),
    ],
)
def test_lines(line: str, secret: str) -> None:
    read = secrets(f"[ada]\n{line}\n")["ada"]
    # Asterisk keeps the blank behind += that stood there.
    assert read.replace(" ", "") == secret.replace(" ", "") if "+=" in line else read == secret


def test_blocks_of_comment_nest_and_hide_lines_and_parts_of_lines() -> None:
    text = "[ada]\nsecret=a\n;-- [bob]\nsecret=b\n;-- deep --;\n[eve]\nsecret=c\n--; \n[kim]\nsecret=d\n"
    assert secrets(text) == {"ada": "a", "kim": "d"}
    assert secrets("[ada]\n;-- x --; secret = a\n") == {"ada": "a"}
    assert secrets("[ada]\n;-- x\ny --; secret = a\n") == {"ada": "a"}


def test_a_block_without_an_end_and_an_end_without_a_block_are_told() -> None:
    open_ended = conf_read("[ada]\nsecret=a\n;-- x\n[bob]\nsecret=b\n")
    assert [account.name for account in open_ended.accounts] == ["ada"]
    assert open_ended.notes[0].line == 3 and "isn't ended" in open_ended.notes[0].text
    closed = conf_read("[ada]\nsecret=a\n; x --;\n[bob]\nsecret=b\n")
    assert [account.name for account in closed.accounts] == ["ada", "bob"]
    stray = conf_read("[ada]\nsecret=a\nread=x --;\n[bob]\nsecret=b\n")
    assert [account.name for account in stray.accounts] == ["ada"]
    assert stray.notes[0].line == 3 and "ends no comment" in stray.notes[0].text


def test_templates_bases_and_additions() -> None:
    text = (
        "[base](!)\nread=all\nsecret=inherited\n[more](!,base)\nwrite=call\n"
        "[ada](more)\nsecret=own\n[bob](base,more)\n[base](+TEMPLATES=restrict)\nread=none\n[ada](+)\nread=agent\n[Ada](+)\nwrite=user\n"
    )
    ada, bob = conf_read(text).accounts
    assert (ada.secret, ada.read, ada.write) == ("own", "agent", "user")
    assert (bob.name, bob.secret, bob.read, bob.write) == ("bob", "inherited", "all", "call")


def test_two_sections_of_one_name_are_one_account() -> None:
    (account,) = conf_read("[ada]\nsecret=a\nread=all\n[ADA]\nsecret=b\n").accounts
    assert (account.name, account.secret, account.read) == ("ada", "b", "all")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("x=1\n[ada]\nsecret=a\n", 1, "above the first [section]"),
        ("[ada]\nsecret=a\n[bob\n", 3, "isn't closed by ]"),
        ("[ada]\nsecret=a\n[bob](x\n", 3, "isn't closed by )"),
        ("[ada]\nsecret=a\n[bob](gone)\n", 3, "[gone], which isn't there above it"),
        ("[ada]\nsecret=a\n[bob](+)\n", 3, "adds to a section that isn't there"),
        ("[ada]\nsecret=a\n[t](!)\n[t](+)\n", 4, "[t] is a template"),
        ("[ada]\nsecret=a\n[ada](+read=x)\n", 3, "doesn't know what [ada](+read=x) adds to"),
        ("[ada]\nsecret=a\n\\ x = 1\n", 3, "behind the backslash"),
    ],
)
def test_what_asterisk_refuses_is_told_and_the_rest_is_read(text: str, line: int, says: str) -> None:
    conf = conf_read(text)
    assert [note.line for note in conf.refused] == [line] and says in conf.refused[0].text
    assert conf.accounts[0].secret == "a"


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ('#include "manager.d/*.conf"', "#include manager.d/*.conf"),
        ("#include <users.conf>", "#include users.conf"),
        ("#tryinclude more.conf ; perhaps", "#tryinclude more.conf"),
        ("  #EXEC /usr/bin/make-accounts --all", "#exec /usr/bin/make-accounts --all"),
    ],
)
def test_what_it_takes_from_elsewhere_is_missing(line: str, missing: str) -> None:
    conf = conf_read(f"[ada]\n{line}\nsecret=a\n")
    assert [(note.line, note.text) for note in conf.missing] == [(2, missing)]
    assert conf.accounts[0].secret == "a"


@pytest.mark.parametrize("line", ["#define x", "#include", "no equals sign", "= value"])
def test_what_asterisk_ignores_is_told(line: str) -> None:
    conf = conf_read(f"[ada]\n{line}\nsecret=a\n")
    assert [note.line for note in conf.notes] == [2] and "ignores" in conf.notes[0].text
    assert conf.accounts[0].secret == "a"


def test_a_line_that_is_too_long_is_skipped_and_told() -> None:
    conf = conf_read(f"[ada]\nsecret=a\nsecret={'x' * 9000}\n")
    assert conf.accounts[0].secret == "a" and conf.notes[0].line == 3
    assert len(secrets(f"[ada]\nsecret={'x' * 8000}\n")["ada"]) == 8000


def test_where_it_listens() -> None:
    assert conf_read("").listening == Listening()
    conf = conf_read(
        "[general]\nenabled=on\nport=5999\nbindaddr=192.0.2.1\ntlsenable=yes\ntlsbindaddr=[2001:db8::1]:6000\n"
    )
    assert conf.listening == Listening(True, "192.0.2.1", 5999, True, "2001:db8::1", 6000)
    everywhere = conf_read("[general]\nbindaddr=0.0.0.0\ntlsbindaddr=0.0.0.0:5040\nport=nonsense\n").listening
    assert everywhere == Listening(tls_port=5040)


def test_there_is_a_most() -> None:
    conf = conf_read("".join(f"[u{number}]\nsecret=a\n" for number in range(MOST_ACCOUNTS + 1)))
    assert len(conf.accounts) == MOST_ACCOUNTS and "201 accounts" in conf.notes[0].text


def test_a_secret_shows_in_no_description_of_itself() -> None:
    conf = conf_read("[ada]\nsecret=gr8-s3cret-word\n")
    assert "gr8" not in repr(conf) and "ada" in repr(conf)


@given(st.text(alphabet="[]()!+#;-\\=> ,\t\r\n\x00ab\ufeffä", max_size=200))
def test_nothing_makes_it_fail(text: str) -> None:
    conf = conf_read(text)
    assert all(1 <= note.line <= text.count("\n") + 1 for note in [*conf.notes, *conf.missing, *conf.refused])


_WORD = st.text(alphabet="abcXYZ09._!$%", min_size=1, max_size=12)


@given(st.dictionaries(_WORD.filter(lambda word: word.lower() != "general"), _WORD, min_size=1, max_size=5))
def test_plain_accounts_are_read_as_they_stand(accounts: dict[str, str]) -> None:
    if len({name.lower() for name in accounts}) < len(accounts):
        return
    text = "".join(f"[{name}]\r\nsecret = {secret} ; of {name}\r\n" for name, secret in accounts.items())
    assert secrets(text) == accounts
