"""What the catalogue says against numbered headers; the rest of it is in test_forms.py."""

from __future__ import annotations

import pytest

from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument
from ami_integration.actions.checks import catalogue_faults

UPDATE = ActionDescription(
    "UpdateConfig",
    arguments=(
        Argument("DstFilename", required=True),
        Argument("Action-000000", choices=("NewCat", "Append", "Delete"), closed=True),
        Argument("Cat-000000"),
        Argument("Var-000000"),
    ),
)
FILE = ("DstFilename", "queues.conf")


@pytest.mark.parametrize(
    ("headers", "header"),
    [
        ([("Action-000000", "NewCat"), ("Action-000001", "Append"), ("Cat-000001", "x")], None),
        ([("cat-000000", "x"), ("ACTION-000000", "newcat")], None),
        ([], None),
        ([("Action-000001", "NewCat")], "Action-000000"),
        ([("Action-000000", "NewCat"), ("Action-000002", "NewCat")], "Action-000001"),
        ([("Action-000000", "NewCat"), ("Cat-000001", "x")], "Action-000001"),
        ([("Action-000000", " "), ("Cat-000000", "x")], "Action-000000"),
        ([("Action-000000", "NewCat"), ("Action-999999", "NewCat")], "Action-000001"),
    ],
)
def test_changes_are_counted_without_a_hole(headers: list[tuple[str, str]], header: str | None) -> None:
    faults = catalogue_faults(UPDATE, [FILE, *headers])
    assert [fault.header for fault in faults] == ([header] if header else [])
    assert all("the PBX stops there" in fault.text for fault in faults)


def test_a_value_that_is_not_listed_is_told_at_its_own_change() -> None:
    headers = [FILE, ("Action-000000", "NewCat"), ("Action-000001", "Explode")]
    assert [fault.header for fault in catalogue_faults(UPDATE, headers)] == ["Action-000001"]
