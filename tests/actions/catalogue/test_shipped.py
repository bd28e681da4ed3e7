"""Tests of ami_integration/actions/catalogue/shipped.py."""

from __future__ import annotations

import pytest

from ami_integration.access import danger
from ami_integration.actions.catalogue.shipped import (
    major,
    release,
    shipped,
    shipped_major_for,
    shipped_majors,
    version_key,
)


@pytest.mark.parametrize(
    ("asterisk", "ami", "number"),
    [
        ("22.10.1+dfsg+~cs6.17.60671434-1", "11.0.0", 22),
        ("16.28.0~dfsg-0+deb11u4", "", 16),
        ("certified/18.9-cert1", "", 18),
        ("GIT-master-f0c1c1a7", "13.0.0", 24),
        ("", "5.0.5", 16),
        ("", "11.0.0", 22),
        ("", "2.10.0", None),
        ("", "", None),
        ("unknown", "none", None),
    ],
)
def test_the_number_of_a_version(asterisk: str, ami: str, number: int | None) -> None:
    assert major(asterisk, ami) == number


@pytest.mark.parametrize(
    ("version", "number"),
    [("16.1", 16), ("18.20.0", 16), ("20.1", 22), ("22.1", 22), ("23.0", 22), ("1.8", 16)],
)
def test_a_version_without_a_catalogue_uses_the_nearest(version: str, number: int) -> None:
    assert shipped_majors() == (16, 22)
    assert shipped_major_for(version) == number


def test_an_unknown_version_uses_none() -> None:
    assert shipped_major_for("") is None


@pytest.mark.parametrize(
    ("version", "short"),
    [
        ("22.10.1+dfsg+~cs6.17.60671434-1", "22.10.1"),
        ("16.28.0~dfsg-0+deb11u4", "16.28.0"),
        ("22.10.1 (amiweb simulator, simulated)", "22.10.1"),
        ("18.9-cert1", "18.9-cert1"),
        ("22.0.0-rc1", "22.0.0-rc1"),
        ("", ""),
    ],
)
def test_a_version_without_a_distribution_s_additions(version: str, short: str) -> None:
    assert release(version) == short


def test_versions_are_ordered_by_their_numbers() -> None:
    versions = ["9.1", "22.10.1", "16.28.0", "22.9.0", ""]
    assert sorted(versions, key=version_key) == ["", "9.1", "16.28.0", "22.9.0", "22.10.1"]


@pytest.mark.parametrize("number", shipped_majors())
def test_every_shipped_action_was_looked_at_for_its_danger(number: int) -> None:
    """When a new catalogue is built, what is new in it wants a row in the table of dangers."""
    reviewed = danger._TABLE.keys() | danger._BY_HEADERS.keys()
    assert [action.name for action in shipped(number).actions if action.name.lower() not in reviewed] == []


@pytest.mark.parametrize("number", shipped_majors())
def test_a_shipped_action_says_where_it_is_from(number: int) -> None:
    originate = shipped(number).action("originate")
    assert originate is not None
    assert originate.shipped_for.startswith(f"{number}.")
    assert originate.privileges == ("originate", "all")
    assert shipped(number).action("Nonsense") is None
