"""Parts of the machine that some tests need, and what this run of the tests found of them.

A fresh machine with only Python passes the suite: what needs root, Debian or a browser is skipped there with
its reason. In CI (`AMIWEB_TEST_REQUIRE=pbx,postgres,browser,ssh`) such a skip is a failure, so a missing part
can't hide. Either way the run ends with a summary of what it ran against (tests/summary.py prints it),
because "passed" means little without knowing on which Asterisk. Where several processes share the tests
(tests/distribution.py), each tells what it found, and the summary is of all of them.
"""

from __future__ import annotations

import os
from typing import NoReturn, TypedDict

import pytest

PARTS = ("pbx", "postgres", "browser", "ssh")


class Findings(TypedDict):
    """What a process of the run tells the one that prints the summary; it travels as plain data."""

    met: dict[str, list[str]]
    missed: dict[str, str]


_met: dict[str, set[str]] = {}
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
    _met.setdefault(name, set()).add(version)


def findings() -> Findings:
    """What this process has met and missed."""
    return {"met": {name: sorted(versions) for name, versions in _met.items()}, "missed": _missed}


def add(told: Findings) -> None:
    """Take what another process of this run has met and missed into the summary."""
    for name, versions in told["met"].items():
        _met.setdefault(name, set()).update(versions)
    _missed.update(told["missed"])


def summary() -> list[str]:
    """Lines of the closing summary; the same whichever test came first, and in whichever process."""
    met = (f"{name} {' and '.join(sorted(versions))}" for name, versions in sorted(_met.items()))
    return ["ran against: " + ", ".join(met)] + [
        f"not run: {part}: {reason}" for part, reason in sorted(_missed.items())
    ]
