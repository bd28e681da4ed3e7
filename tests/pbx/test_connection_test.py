"""The connection test on a real Asterisk: what it finds right, and the mistakes that people make."""

from __future__ import annotations

import time

import pytest

from ami_integration.servers.doctor import ConnectionTest, examine
from ami_integration.servers.models import Server
from ami_integration.servers.services import TEST_TIMEOUTS
from tests.pbx.asterisk import Asterisk

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


def ends_at(test: ConnectionTest) -> tuple[str, str]:
    assert test.failed is not None
    return test.failed.name, test.failed.mend


def test_all_is_well_in_clear_text(asterisk: Asterisk) -> None:
    test = diagnose(asterisk)
    assert test.ok, test
    assert test.asterisk_version is not None
    assert test.asterisk_version.startswith(asterisk.version)
    assert "Originate and Command among them" in test.steps[-1].seen
    assert not test.steps[-1].mend


def test_all_is_well_over_tls(asterisk: Asterisk) -> None:
    test = diagnose(asterisk, port=asterisk.tls_port, transport="tls", tls_ca=asterisk.ca_file.read_text())
    assert test.ok, test


def test_an_account_that_may_do_nothing_is_told_its_missing_classes(asterisk: Asterisk) -> None:
    test = diagnose(asterisk, role="readonly")
    assert test.ok, test
    assert "on the write= line of [readonly]" in test.steps[-1].mend


@pytest.mark.parametrize("wrong", ["secret", "username"])
def test_a_wrong_account_ends_at_the_login(asterisk: Asterisk, wrong: str) -> None:
    name, mend = ends_at(diagnose(asterisk, **{wrong: "wrong"}))
    assert name == "Login"
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
