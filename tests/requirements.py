"""Parts of the machine that some tests need, and what this run of the tests found of them.

A fresh machine with only Python passes the suite: what needs root, Debian or a browser is skipped there with
its reason. In CI (`AMIWEB_TEST_REQUIRE=pbx,postgres,browser,ssh`) such a skip is a failure, so a missing part
can't hide. Either way the run ends with a summary of what it ran against (tests/conftest.py prints it),
because "passed" means little without knowing on which Asterisk.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

PARTS = ("pbx", "postgres", "browser", "ssh")

_met: dict[str, str] = {}
_missed: dict[str, str] = {}


def required() -> frozenset[str]:
    """Parts that must be there in this run, from AMIWEB_TEST_REQUIRE (names separated by commas)."""
    names = frozenset(
        filter(None, (name.strip() for name in os.environ.get("AMIWEB_TEST_REQUIRE", "").split(",")))
    )
    if unknown := names.difference(PARTS):
        raise pytest.UsageError(
            f"AMIWEB_TEST_REQUIRE names {', '.join(sorted(unknown))}; known parts: {', '.join(PARTS)}"
        )
    return names


def unavailable(part: str, reason: str) -> NoReturn:
    """Skip the test that called this, or fail it where the part is required.

    Args:
        part: one of PARTS.
        reason: what is missing and how to get it, for a person.
    """
    _missed[part] = reason
    if part in required():
        pytest.fail(f"{part} is required here (AMIWEB_TEST_REQUIRE) but unavailable: {reason}", pytrace=False)
    pytest.skip(f"{part}: {reason}")


def ran_against(name: str, version: str) -> None:
    """Note for the closing summary that tests of this run used a real part.

    Args:
        name: such as "Asterisk" or "Chromium"; several versions of one name are all kept.
        version: such as "22.10.0".
    """
    known = _met.setdefault(name, version)
    if version not in known.split(" and "):
        _met[name] = f"{known} and {version}"


def summary() -> list[str]:
    """Lines of the closing summary."""
    lines = ["ran against: " + ", ".join(f"{name} {version}" for name, version in _met.items())]
    lines += [f"not run: {part}: {reason}" for part, reason in _missed.items()]
    return lines
