"""The first and the last words of a test run: what it is to need, what it ran against, what it could not run.

The same words whether pytest runs the tests itself or processes of pytest-xdist do: those send home what
they found.
"""

from __future__ import annotations

import pytest

from tests import postgres, requirements


def pytest_report_header() -> str:
    names = ", ".join(sorted(requirements.required())) or "nothing"
    return f"amiweb: database {postgres.database_choice()}, required parts: {names}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a process of pytest-xdist: leave our findings with what it sends home at its end."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["amiweb"] = requirements.findings()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """A process of pytest-xdist has ended. One that crashed tells nothing, and the run has failed."""
    if told := getattr(node, "workeroutput", {}).get("amiweb"):
        requirements.add(told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("amiweb")
    for line in requirements.summary():
        terminalreporter.write_line(line)
