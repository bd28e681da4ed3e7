"""Fixtures of the real Asterisks. Registered for the whole suite by tests/conftest.py.

`asterisk` runs a test against every version; `asterisk22` and `asterisk16` are one of them. These live for
the whole session and are shared: leave them running, and don't count on being their only client.
`private_asterisk` (every version) belongs to one test, which may stop, kill or freeze it.

Where there is none, the test is skipped with the reason, or fails where a real PBX is required
(AMIWEB_TEST_REQUIRE, tests/requirements.py). Only the 16 may be missing even there, if provisioning has
recorded that its suite can't be installed any more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from tests.pbx import provision
from tests.pbx.asterisk import Asterisk
from tests.requirements import ran_against, unavailable

SUITE_OF = {suite.asterisk: suite for suite in provision.SUITES.values()}


def prepared(version: str) -> Asterisk:
    """An Asterisk of that version ("22", "16"), not yet started; skips or fails the test where there is
    none.
    """
    suite = SUITE_OF[version]
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        unavailable("pbx", "a real Asterisk runs in a chroot, which needs Linux and root")
    if provision.read_finished(suite.name) is None:
        reason = provision.unavailable_reason(suite.name)
        if reason and not suite.required:
            pytest.skip(f"Asterisk {version}: {reason}")
        unavailable(
            "pbx", f"Asterisk {version} is not provisioned{f' ({reason})' if reason else ''}: make pbx"
        )
    asterisk = Asterisk(suite.name)
    ran_against("Asterisk", asterisk.version)
    return asterisk


def running(version: str) -> Iterator[Asterisk]:
    with prepared(version) as asterisk:
        yield asterisk


@pytest.fixture(scope="session")
def asterisk22() -> Iterator[Asterisk]:
    yield from running("22")


@pytest.fixture(scope="session")
def asterisk16() -> Iterator[Asterisk]:
    yield from running("16")


@pytest.fixture(scope="session", params=list(SUITE_OF))
def asterisk(request: pytest.FixtureRequest) -> Asterisk:
    found = request.getfixturevalue(f"asterisk{request.param}")
    assert isinstance(found, Asterisk)
    return found


@pytest.fixture(params=list(SUITE_OF))
def private_asterisk(request: pytest.FixtureRequest) -> Iterator[Asterisk]:
    yield from running(request.param)
