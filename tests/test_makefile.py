"""The Makefile is the front door: every target is listed, short, and has something behind it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "Makefile").read_text()
TARGETS = (
    *("help", "run", "test", "lint", "pbx", "bench", "bench-client", "bench-events", "soak"),
    *("requirements", "clean"),
)


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # This may run under `make test`, which tells its children so.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT, env=inherited | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def recipe(target: str) -> list[str]:
    found = re.search(rf"(?m)^{target}:  ##.*\n((?:\t.*\n)+)", TEXT)
    assert found is not None, target
    return found[1].splitlines()


def test_help_is_the_default_and_lists_every_target() -> None:
    done = make()
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(?m)^  make ([\w-]+)", done.stdout) == list(TARGETS)
    assert make("help").stdout == done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_target_is_a_line_or_two(target: str) -> None:
    assert len(recipe(target)) <= 2


@pytest.mark.parametrize("target", [target for target in TARGETS if target not in ("help", "clean")])
def test_target_makes_the_environment_that_it_needs(target: str) -> None:
    assert all(line.startswith(("\t$(boot) ", "\t$(MAKE) ")) for line in recipe(target))


@pytest.mark.parametrize("target", TARGETS)
def test_files_and_modules_that_a_target_names_exist(target: str) -> None:
    for line in recipe(target):
        for module in re.findall(r"-m ((?:amiweb|tests)[\w.]*)", line):
            assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), module
        if "tests/bench" in line:
            assert list((ROOT / "tests" / "bench").glob("bench_*.py"))


def test_soak_has_tests_and_make_soak_gives_them_an_hour() -> None:
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.soak" in path.read_text()]
    assert any(path != Path(__file__) for path in marked)
    assert "soak: export AMIWEB_SOAK_SECONDS ?= 3600" in TEXT


def test_missing_python_is_one_clear_line() -> None:
    done = make("run", "PYTHON=/nowhere/python3")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert lines == [
        "amiweb: needs Python 3.11 or newer, and there is no /nowhere/python3: "
        "install it (Debian: apt install python3 python3-venv)"
    ]


def test_clean_never_touches_the_var_folder() -> None:
    assert not any(re.search(r"\bvar\b", line) for line in recipe("clean"))


def test_ci_calls_the_test_command_of_the_readme() -> None:
    assert "\n    make test\n" in (ROOT / "README.md").read_text()
    ci = (ROOT / ".ci" / "run").read_text()
    assert "AMIWEB_TEST_REQUIRE=pbx,postgres,browser,ssh make test" in ci
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
