"""The suite run by two processes says at its end what it says by one, and two run it only where that pays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import distribution

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parent.parent

PARTS = """
from tests import requirements

def test_old():
    requirements.ran_against("Asterisk", "16.28.0")

def test_new():
    requirements.ran_against("Asterisk", "22.10.0")

def test_page():
    requirements.unavailable("browser", "there is none")

def test_tunnel():
    requirements.unavailable("ssh", "there is none")
"""


KINDS = """
import pytest

@pytest.fixture
def private_asterisk(): pass

def test_short(): pass
def test_pbx(private_asterisk): pass
@pytest.mark.processes
def test_amiweb(): pass
def test_short_too(): pass
@pytest.mark.processes
@pytest.mark.browser
def test_page(): pass
@pytest.mark.soak
@pytest.mark.processes
def test_load(): pass
"""


def pytest_in(folder: Path, *words: str, **environment: str) -> str:
    """What a pytest of its own prints about the tests of that folder."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  soak\n  browser\n  processes\n")
    ours = ("PYTEST_", "AMIWEB_", "DJANGO_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:django", "-p", "no:asyncio", *words],
        cwd=folder, env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.parametrize("processes", ["0", "2"])
def test_what_was_met_and_missed_is_told_at_the_end_whoever_ran_the_tests(
    tmp_path: Path, processes: str
) -> None:
    (tmp_path / "test_parts.py").write_text(PARTS)
    words = ("-ra", "-p", "tests.summary", "-n", processes)
    printed = pytest_in(tmp_path, *words, AMIWEB_TEST_REQUIRE="ssh")
    assert ("2 workers" in printed) is (processes == "2")
    assert "required parts: ssh\n" in printed
    told = printed.partition(" amiweb =")[2].splitlines()[1:4]
    assert told == [
        "ran against: Asterisk 16.28.0 and 22.10.0",
        "not run: browser: there is none",
        "not run: ssh: there is none",
    ]
    assert "FAILED test_parts.py::test_tunnel - Failed: ssh is required here" in printed
    assert "1 failed, 2 passed, 1 skipped" in printed


@pytest.fixture
def choice(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[object, str]]:
    """What a command line leads to: how many processes (None: pytest itself), and how they share them."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    (pytester.mkdir("folder") / "test_one.py").write_text("def test_it(): pass\n")

    def choose(*words: str, processors: int = 2) -> tuple[object, str]:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
        config = pytester.parseconfig(*words)
        distribution.pytest_cmdline_main(config)
        return config.option.numprocesses, config.option.dist

    return choose


@pytest.mark.parametrize("words", [(), ("folder",), ("folder", "-x"), ("folder/test_one.py", "folder")])
def test_folders_are_run_by_two_processes(
    choice: Callable[..., tuple[object, str]], words: tuple[str, ...]
) -> None:
    assert choice(*words) == (2, "worksteal")
    assert choice(*words, processors=8) == (2, "worksteal")
    assert choice(*words, processors=1) == (None, "no")


@pytest.mark.parametrize(
    "words",
    [
        ("folder/test_one.py",), ("folder/test_one.py::test_it",),
        ("folder", "-s"), ("folder", "--pdb"), ("folder", "--lf"), ("folder", "--sw"), ("folder", "--co"),
    ],
)  # fmt: skip
def test_a_file_and_whatever_needs_the_terminal_is_run_by_pytest_itself(
    choice: Callable[..., tuple[object, str]], words: tuple[str, ...]
) -> None:
    assert choice(*words) == (None, "no")


def test_what_the_command_line_says_stays(choice: Callable[..., tuple[object, str]]) -> None:
    assert choice("folder", "-n", "0") == (0, "no")
    assert choice("folder", "-n", "3", "--dist", "load") == (3, "load")


def test_long_tests_come_first_and_else_the_order_stays(tmp_path: Path) -> None:
    (tmp_path / "test_kinds.py").write_text(KINDS)
    done = pytest_in(tmp_path, "--collect-only", "-q", "-p", "no:randomly", "-p", "tests.distribution")
    names = [line.partition("::")[2] for line in done.splitlines() if "::" in line]
    assert names == ["test_load", "test_page", "test_amiweb", "test_pbx", "test_short", "test_short_too"]
