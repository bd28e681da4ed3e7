"""The connection test on a real Asterisk: what it finds right, and the mistakes that people make."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from ami_integration.ami import TCP, AMIClient
from ami_integration.servers.doctor import ConnectionTest, Step, examine
from ami_integration.servers.models import Server
from ami_integration.servers.services import TEST_TIMEOUTS
from tests.pbx.asterisk import Asterisk
from tests.pbx.fixtures import prepared
from tests.sshd import Sshd

LONGEST = 15.0  # seconds: the longest time limits on the way, and room for a busy machine


def diagnose(asterisk: Asterisk, *, role: str = "admin", **values: object) -> ConnectionTest:
    username, secret = asterisk.users[role]
    known = {
        "name": "x",
        "host": asterisk.host,
        "port": asterisk.port,
        "username": username,
        "secret": secret,
    }
    started = time.monotonic()
    test = examine(Server(**known | values), TEST_TIMEOUTS)
    assert time.monotonic() - started < LONGEST
    return test


def step_of(test: ConnectionTest, name: str) -> Step:
    return next(step for step in test.steps if step.name == name)


def ends_at(test: ConnectionTest) -> tuple[str, str]:
    assert test.failed is not None
    return test.failed.name, test.failed.mend


def test_all_is_well_in_clear_text(asterisk: Asterisk) -> None:
    test = diagnose(asterisk)
    assert test.ok, test
    assert test.asterisk_version is not None
    assert test.asterisk_version.startswith(asterisk.version)
    rights = step_of(test, "Rights")
    assert "Originate and Command among them" in rights.seen
    assert "Its read= has all." in rights.seen
    assert not rights.mend
    assert "FullyBooted" in step_of(test, "FullyBooted").seen
    assert "The clocks differ by 0." in step_of(test, "Latency and clock").seen


def test_all_is_well_over_tls(asterisk: Asterisk) -> None:
    test = diagnose(asterisk, port=asterisk.tls_port, transport="tls", tls_ca=asterisk.ca_file.read_text())
    assert test.ok, test


def test_an_account_that_may_do_nothing_is_told_its_missing_classes(asterisk: Asterisk) -> None:
    test = diagnose(asterisk, role="readonly")
    assert test.ok, test
    assert "It has no write class" in step_of(test, "Rights").seen
    assert "on the write= line of [readonly]" in step_of(test, "Rights").mend


@pytest.mark.parametrize("wrong", ["secret", "username"])
def test_a_wrong_account_ends_at_the_login(asterisk: Asterisk, wrong: str) -> None:
    name, mend = ends_at(diagnose(asterisk, **{wrong: "wrong"}))
    assert name == "Login and ACL"
    assert "secret= line" in mend


def test_tls_to_the_clear_port_is_told_to_use_tcp(asterisk: Asterisk) -> None:
    name, mend = ends_at(diagnose(asterisk, transport="tls"))
    assert name == "TLS"
    assert "TCP" in mend


def test_clear_text_to_the_tls_port_is_told_to_use_tls(asterisk: Asterisk) -> None:
    name, mend = ends_at(diagnose(asterisk, port=asterisk.tls_port))
    assert name == "Banner"
    assert mend.startswith("The port speaks TLS. Choose TLS")


def test_a_certificate_of_an_unknown_authority_asks_for_it(asterisk: Asterisk) -> None:
    name, mend = ends_at(diagnose(asterisk, port=asterisk.tls_port, transport="tls"))
    assert name == "TLS"
    assert "tlscertfile=" in mend


def test_an_asterisk_that_is_stopped_names_the_lines_of_manager_conf(private_asterisk: Asterisk) -> None:
    private_asterisk.stop()
    name, mend = ends_at(diagnose(private_asterisk))
    assert name == "TCP"
    assert "manager.conf" in mend


def test_an_asterisk_that_hangs_ends_within_the_time_limits(private_asterisk: Asterisk) -> None:
    private_asterisk.freeze()
    try:
        name, _ = ends_at(diagnose(private_asterisk))
    finally:
        private_asterisk.thaw()
    assert name == "Banner"  # the kernel still accepts


def test_an_account_without_read_call_is_told_that_it_sees_no_calls(asterisk: Asterisk) -> None:
    test = diagnose(asterisk, role="nocall")
    assert test.ok, test
    rights = step_of(test, "Rights")
    assert "So no events of calls come." in rights.seen
    assert "on the read= line of [nocall], add call" in rights.mend


def test_an_account_without_read_system_is_told_why_no_fullybooted_comes(asterisk: Asterisk) -> None:
    test = diagnose(asterisk, role="originate")
    booted = step_of(test, "FullyBooted")
    assert (booted.ok, "read= line of [originate]" in booted.mend) == (True, True)


def configure(asterisk: Asterisk, *changes: tuple[str, str]) -> None:
    file = asterisk.folder / "etc" / "manager.conf"
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    asterisk.cli("manager reload")


def test_an_address_that_acl_shuts_out_is_named_with_its_lines(private_asterisk: Asterisk) -> None:
    configure(
        private_asterisk,
        ("[readonly]\n", "[readonly]\ndeny = 0.0.0.0/0.0.0.0\npermit = 192.0.2.0/255.255.255.0\n"),
    )
    name, mend = ends_at(diagnose(private_asterisk, role="readonly"))
    assert name == "Login and ACL"
    assert "deny= and permit= lines (or acl=) let 127.0.0.1 (this machine) in" in mend


def test_an_account_that_is_in_use_names_the_setting(private_asterisk: Asterisk) -> None:
    configure(private_asterisk, ("[readonly]\n", "[readonly]\nallowmultiplelogin = no\n"))
    username, secret = private_asterisk.users["readonly"]
    with AMIClient(TCP(private_asterisk.host, private_asterisk.port), username=username, secret=secret):
        name, mend = ends_at(diagnose(private_asterisk, role="readonly"))
    assert name == "Login and ACL"
    assert "allowmultiplelogin = yes" in mend


def test_too_many_sessions_without_a_login_name_authlimit(private_asterisk: Asterisk) -> None:
    configure(private_asterisk, ("displayconnects = no", "displayconnects = no\nauthlimit = 3"))
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            waiting = stack.enter_context(
                socket.create_connection((private_asterisk.host, private_asterisk.port), timeout=5)
            )
            waiting.recv(100)
        test = diagnose(private_asterisk)
    assert test.failed is not None
    assert test.failed.name == "Banner"
    assert "closed the connection" in test.failed.seen
    assert "authlimit=" in test.failed.mend


@pytest.mark.parametrize("version", ["22", "16"])
def test_asterisks_own_port_of_sip_over_tcp_is_another_service(version: str) -> None:
    asterisk = prepared(version)
    with (asterisk.folder / "etc" / "pjsip.conf").open("a") as file:
        file.write(f"\n[over_tcp]\ntype = transport\nprotocol = tcp\nbind = 127.0.0.1:{asterisk.sip_port}\n")
    with asterisk:
        test = diagnose(asterisk, port=asterisk.sip_port)
        over_tls = diagnose(asterisk, port=asterisk.sip_port, transport="tls")
    name, mend = ends_at(test)
    assert name == "Banner"
    assert test.failed is not None and "said nothing for 5 s" in test.failed.seen
    assert "port= and bindaddr= under [general] in manager.conf" in mend and "5060 SIP" in mend
    name, mend = ends_at(over_tls)
    assert name == "TLS"
    assert "tlsbindaddr" in mend and "[general] in manager.conf" in mend


def test_all_is_well_through_an_ssh_tunnel(asterisk22: Asterisk, sshd: Sshd) -> None:
    test = diagnose(asterisk22, **through(sshd))
    assert test.ok, test
    assert "leads to 127.0.0.1 port" in step_of(test, "SSH tunnel").seen


@pytest.mark.parametrize("pinned", ["", "SHA256:" + "A" * 43])
def test_a_host_key_that_is_not_the_pinned_one_is_shown_and_pinned_it_is_well(
    asterisk22: Asterisk, sshd: Sshd, pinned: str
) -> None:
    test = diagnose(asterisk22, **through(sshd, ssh_host_key=pinned))
    failed = test.failed
    assert failed is not None and failed.trust is not None
    assert failed.name == "SSH tunnel"
    assert failed.seen.count("another host key than the pinned one") == bool(pinned)
    assert failed.trust.field == "ssh_host_key"
    assert failed.trust.value in sshd.host_keys["ed25519"]
    assert diagnose(asterisk22, **through(sshd, ssh_host_key=failed.trust.value)).ok


def through(sshd: Sshd, **values: object) -> dict[str, object]:
    known = {
        "transport": "ssh",
        "ssh_host": "127.0.0.1",
        "ssh_port": sshd.port,
        "ssh_username": sshd.username,
        "ssh_key": sshd.key,
        "ssh_host_key": sshd.host_keys["ed25519"],
    }
    return known | values
