"""Nobody else decides: what somebody may do is asked of `access.services`."""

from __future__ import annotations

import ast
from pathlib import Path

import ami_integration

ROOT = Path(ami_integration.__file__).parent
ELSEWHERE = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0] not in ("access", "migrations", "models.py")
]


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }


def test_no_other_room_reads_the_rules() -> None:
    assert len(ELSEWHERE) > 80
    assert not [path for path in ELSEWHERE if "AccessRule" in names_in(path)]


def test_no_other_room_asks_django_for_the_permissions_of_runs_and_events() -> None:
    asking = [path for path in ELSEWHERE if "has_perm" in names_in(path) or "has_perms" in names_in(path)]
    for path in asking:
        text = path.read_text(encoding="utf-8")
        for permission in ("add_actionrun", "view_actionrun", "view_event", "view_result_secrets"):
            assert f"ami_integration.{permission}" not in text, path


def test_who_asks_a_row_s_server_asks_for_it_by_the_shared_filters() -> None:
    """Superusers are no exception that pages make: being one is an answer of `decide` and of the filters."""
    special = {path.relative_to(ROOT).as_posix() for path in ELSEWHERE if "is_superuser" in names_in(path)}
    assert special <= {
        "actions/admin.py",  # deleting rows of the log, which is no run
        "actions/rights.py",  # stopping a run of a server that is gone
    }
