"""docs/ami.md says which test shows which fact: none of them may be an empty promise."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "ami.md"


@cache
def functions(path: str) -> frozenset[str]:
    """The tests of a file below tests/."""
    tree = ast.parse((TESTS / path).read_text())
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(\w+/test_\w+\.py)::(test_\w+)`", PAGE.read_text())
    assert len(named) > 150
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (TESTS / path).is_file() or name not in functions(path)
    ]
    assert missing == []


def test_every_node_id_of_the_page_is_spelled_as_one() -> None:
    text = PAGE.read_text()
    assert text.count("::") == len(re.findall(r"`\w+/test_\w+\.py::test_\w+`", text))


def test_every_fact_has_a_test_or_says_that_it_needs_none() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "Tests |" not in line]
    assert len(rows) > 60
    without = [row for row in rows if "::" not in row]
    assert all("doesn't concern this client" in row for row in without)
    assert len(without) == 1
