"""Every test that THREAT_MODEL.md names is there: a defence without its test is a claim."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "THREAT_MODEL.md").read_text()
TABLES = PAGE[PAGE.index("## The pages") : PAGE.index("## Not defended")]
ROWS = [line for line in TABLES.splitlines() if line.startswith("| ") and "| Attack |" not in line]


def name_of(row: str) -> str:
    return row.split("|")[1].strip()


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_each_attack_has_a_defence_and_tests_that_exist(row: str) -> None:
    _, attack, defence, shown, _ = (cell.strip() for cell in row.split("|"))
    assert attack
    assert defence
    tests = shown.split(", ")
    for test in tests:
        file, _, name = test.partition("::")
        text = (ROOT / "tests" / file).read_text()
        assert re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE), test
