"""The connection doctor through a real SSH server: each mistake ends at the tunnel, with its cure."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings

from ami_integration.ami import TCP
from ami_integration.secrets.encryption import Secret
from ami_integration.servers.doctor import ConnectionTest
from tests.ami.scripted import scripted
from tests.servers.factories import healthy
from tests.servers.test_doctor import assert_ends_at, diagnose, step_of
from tests.sshd import Sshd, keygen, running


def through(sshd: Sshd, transport: TCP, **values: object) -> ConnectionTest:
    known = {
        "transport": "ssh",
        "ssh_host": "127.0.0.1",
        "ssh_port": sshd.port,
        "ssh_username": sshd.username,
        "ssh_key": sshd.key,
        "ssh_host_key": sshd.host_keys["ed25519"],
    }
    return diagnose(transport, **known | values)


def nowhere() -> TCP:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return TCP("127.0.0.1", closed.getsockname()[1])


def test_all_is_well_through_the_tunnel(sshd: Sshd) -> None:
    with scripted(healthy("Ping", "Originate", "Command")) as transport:
        test = through(sshd, transport)
    assert test.ok, test
    assert [step.name for step in test.steps[:4]] == ["Name", "TCP", "SSH tunnel", "Banner"]


@pytest.mark.parametrize("text", ["no key at all", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNza\n"])
def test_what_is_no_private_key_is_asked_for_whole(sshd: Sshd, text: str) -> None:
    test = through(sshd, nowhere(), ssh_key=text)
    assert_ends_at(
        test,
        "SSH tunnel",
        seen="The SSH key can't be read: it has to be the whole text of a private key",
        mend="Give the whole text of a private key, from -----BEGIN to END-----, without a passphrase",
    )
    assert text not in repr(test)


def test_a_key_with_a_passphrase_says_how_to_remove_it(sshd: Sshd, tmp_path: Path) -> None:
    keygen(tmp_path / "locked", "ed25519", passphrase="a long one")
    test = through(sshd, nowhere(), ssh_key=(tmp_path / "locked").read_text())
    assert_ends_at(
        test,
        "SSH tunnel",
        seen="The SSH key has a passphrase: store one without.",
        mend="“ssh-keygen -p -f FILE” removes one",
    )


def test_a_key_that_the_account_does_not_know_names_authorized_keys(sshd: Sshd, tmp_path: Path) -> None:
    keygen(tmp_path / "foreign", "ed25519")
    test = through(sshd, nowhere(), ssh_key=(tmp_path / "foreign").read_text())
    assert_ends_at(test, "SSH tunnel", seen=repr(sshd.username), mend="~/.ssh/authorized_keys")


def test_a_stored_key_that_no_key_opens_is_sent_nowhere(sshd: Sshd, settings: Settings) -> None:
    key = Secret.from_plain(sshd.key)
    settings.AMIWEB_ENCRYPTION_KEYS = {"other": Fernet.generate_key().decode()}
    test = through(sshd, nowhere(), ssh_key=key)
    assert_ends_at(
        test,
        "SSH tunnel",
        seen="The stored secret can't be read",
        mend="Nothing was sent. Edit the server and enter the SSH key or password anew.",
    )


@pytest.mark.parametrize("pinned", ["", "SHA256:" + "A" * 43])
def test_a_host_key_that_changed_is_shown_compared_and_can_be_pinned(sshd: Sshd, pinned: str) -> None:
    test = through(sshd, nowhere(), ssh_host_key=pinned)
    assert_ends_at(
        test,
        "SSH tunnel",
        seen="another host key than the pinned one" if pinned else "no host key is pinned",
        mend="Compare the key that came with the SSH server's own",
    )
    assert test.failed is not None and test.failed.trust is not None
    assert test.failed.trust.field == "ssh_host_key"
    assert sshd.host_keys["ed25519"].startswith(test.failed.trust.value)


def test_a_server_that_does_not_forward_names_the_line_of_sshd_config(ssh_account: tuple[str, str]) -> None:
    with running(*ssh_account, "AllowTcpForwarding no") as sshd, scripted(lambda peer: None) as transport:
        test = through(sshd, transport)
    assert_ends_at(test, "SSH tunnel", seen="forward", mend="AllowTcpForwarding yes")


def test_a_closed_ami_port_behind_the_tunnel_names_the_lines_of_manager_conf(sshd: Sshd) -> None:
    test = through(sshd, nowhere())
    assert_ends_at(test, "SSH tunnel", seen="", mend="the lines enabled= (yes), port= and bindaddr=")


def test_a_closed_ssh_port_names_sshd() -> None:
    closed = nowhere()
    values = {"transport": "ssh", "ssh_host": "127.0.0.1", "ssh_port": closed.port, "ssh_username": "ada"}
    test = diagnose(closed, **values, ssh_password="something", ssh_host_key="SHA256:" + "A" * 43)
    assert_ends_at(test, "TCP", seen="refused", mend="Port in sshd_config")


def test_ami_where_the_ssh_server_should_be_says_to_look_at_the_ssh_port(sshd: Sshd) -> None:
    with scripted(healthy()) as transport:
        test = through(sshd, transport, ssh_port=transport.port)
    assert_ends_at(test, "SSH tunnel", seen="", mend="Check the SSH port")


def test_without_its_package_it_says_to_install_it_where_amiweb_runs(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    test = through(sshd, nowhere())
    assert_ends_at(test, "SSH tunnel", seen="needs the package asyncssh", mend="Install it where amiweb runs")
    assert step_of(test, "Banner").ok is None
