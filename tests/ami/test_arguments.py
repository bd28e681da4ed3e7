"""The options that both commands share: what they mean, what is refused, and what is advised."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import get_args

import pytest

from ami_integration.ami import (
    SSH,
    TCP,
    TLS,
    AMIError,
    ConnectRefused,
    ConnectTimeout,
    LoginFailed,
    NameNotResolved,
    NoBanner,
    NotAMI,
    SSHFailed,
    TLSFailed,
)
from ami_integration.ami.arguments import Parser, add_connection, advice, read_secret, transport_of
from ami_integration.ami.errors import SSHReason, TLSReason
from ami_integration.ami.transports import Transport

DIRECT = TCP("pbx")
PIN = "SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8"


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_connection(parser)
    return parser.parse_args([*words, "--username", "monitor"])


def transport(*words: str) -> Transport:
    return transport_of(parsed(*words))


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AMI_SSH_PASSWORD", "through-the-tunnel")
    return "through-the-tunnel"


@pytest.mark.parametrize("host", ["::1", "[::1]", "2001:db8::10", "fe80::1%lo"])
def test_an_ipv6_address_is_a_host_with_or_without_brackets(host: str) -> None:
    assert transport(host) == TCP(host.strip("[]"), 5038)
    assert transport(host, "--tls", "--port", "5040") == TLS(host.strip("[]"), 5040)


@pytest.mark.parametrize("host", ["pbx:5038", "http://pbx", "user@pbx", "[::1]:5038", ""])
def test_a_host_that_is_none_is_told_where_the_port_goes(host: str) -> None:
    with pytest.raises(argparse.ArgumentError, match="port with --port"):
        parsed(host)


def test_a_pin_means_tls() -> None:
    assert transport("pbx", "--pin", "ab" * 32) == TLS("pbx", 5039, pin="ab" * 32)


@pytest.mark.parametrize(
    ("text", "username", "host", "port"),
    [
        ("tunnel@pbx.example.com", "tunnel", "pbx.example.com", 22),
        ("tunnel@pbx.example.com:2222", "tunnel", "pbx.example.com", 2222),
        ("tunnel@192.0.2.1:2222", "tunnel", "192.0.2.1", 2222),
        ("tunnel@[2001:db8::1]:2222", "tunnel", "2001:db8::1", 2222),
        ("tunnel@[2001:db8::1]", "tunnel", "2001:db8::1", 22),
        ("tunnel@2001:db8::1", "tunnel", "2001:db8::1", 22),
        ("me@example.com@pbx", "me@example.com", "pbx", 22),
        ("pbx", getpass.getuser(), "pbx", 22),
    ],
)
def test_an_ssh_server_is_named_as_ssh_names_it(
    text: str, username: str, host: str, port: int, password: str
) -> None:
    assert transport("127.0.0.1", "--ssh", text, "--ssh-host-key", PIN) == SSH(
        "127.0.0.1",
        5038,
        ssh_host=host,
        ssh_port=port,
        ssh_username=username,
        ssh_password=password,
        host_key=PIN,
    )


@pytest.mark.parametrize("text", ["a@b:c", "pbx:0", "pbx:70000", "@", "a b", "ssh://pbx", "[::1", "pbx:"])
def test_an_ssh_server_that_is_none_is_told_how_to_write_it(text: str) -> None:
    with pytest.raises(argparse.ArgumentError, match=r"\[USER@\]HOST\[:PORT\]"):
        parsed("127.0.0.1", "--ssh", text)


def test_a_key_is_read_from_its_file_and_then_no_password_is_asked_for(tmp_path: Path, password: str) -> None:
    (tmp_path / "key").write_text("the key")
    words = ["127.0.0.1", "--ssh", "tunnel@pbx", "--ssh-host-key", PIN, "--ssh-key", str(tmp_path / "key")]
    found = transport(*words)
    assert isinstance(found, SSH)
    assert (found.ssh_key, found.ssh_password) == ("the key", None)
    assert "the key" not in repr(found)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_key_that_can_not_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=f"The SSH key {file} can't be read"):
        transport("127.0.0.1", "--ssh", "tunnel@pbx", "--ssh-key", str(file))


@pytest.mark.parametrize("words", [["--tls"], ["--ca", "ca.pem"], ["--pin", "ab" * 32]])
def test_tls_through_the_tunnel_is_refused(words: list[str], password: str) -> None:
    with pytest.raises(ValueError, match="leave out --tls"):
        transport("127.0.0.1", "--ssh", "tunnel@pbx", "--ssh-host-key", PIN, *words)


@pytest.mark.parametrize("words", [["--ssh-key", "key"], ["--ssh-host-key", PIN]])
def test_half_of_a_tunnel_is_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match="name it with --ssh"):
        transport("pbx", *words)


def test_without_a_host_key_nobody_is_asked_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AMI_SECRET", "AMI_SSH_PASSWORD"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: pytest.fail(f"asked: {prompt}"))
    options = parsed("127.0.0.1", "--ssh", "tunnel@pbx")
    assert transport_of(options).entrance == ("pbx", 22)
    assert read_secret(options) == ""


def test_no_option_takes_a_secret() -> None:
    parser = argparse.ArgumentParser()
    add_connection(parser)
    assert "password" not in parser.format_usage()
    assert "secret" not in parser.format_usage()


ERRORS: list[AMIError] = [
    *(TLSFailed("no", reason=reason) for reason in get_args(TLSReason)),
    *(SSHFailed("no", reason=reason) for reason in get_args(SSHReason)),
    *(kind("no") for kind in (NameNotResolved, ConnectRefused, ConnectTimeout, NoBanner, NotAMI)),
]


@pytest.mark.parametrize(
    "error", ERRORS, ids=lambda error: f"{type(error).__name__} {getattr(error, 'reason', '')}"
)
def test_there_is_advice_for_every_way_to_have_no_connection(error: AMIError) -> None:
    said = advice(error, DIRECT)
    assert said.endswith(".")
    assert "\n" not in said
    assert [advice(other, DIRECT) for other in ERRORS].count(said) <= 2  # NoBanner and NotAMI share theirs


def test_a_refused_login_says_all_by_itself() -> None:
    assert advice(LoginFailed("no"), DIRECT) == ""


def test_through_an_ssh_server_the_advice_is_about_both_ways() -> None:
    tunnel = SSH("127.0.0.1", ssh_host="pbx", ssh_username="tunnel", host_key=PIN)
    for kind in (NameNotResolved, ConnectRefused, ConnectTimeout, NoBanner, NotAMI):
        said = advice(kind("no"), tunnel)
        assert "--ssh" in said or kind is NameNotResolved
        assert "--tls" not in said


def test_a_wrong_command_line_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser()
    add_connection(parser)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["pbx:5038", "--username", "monitor"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--port. (--help shows" in said
