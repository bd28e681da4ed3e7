"""What operators see of a recorder, beside its sign of life."""

from __future__ import annotations

from typing import Any

import pytest

from ami_integration.management.commands import record


class Told:
    """A recorder of which only the status is asked."""

    def __init__(self, **status: Any) -> None:
        self._status = {
            **{"active": True, "lag": 0.5, "depth": 3, "rate": 12.5, "put_aside": 0, "put_aside_why": ""},
            **{"strays": 0, "turn": 0.4},
        } | status

    def status(self) -> dict[str, Any]:
        return self._status


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "12.5 events/s"),
        ({"active": False, "lag": None, "depth": None}, "stands by"),
        (
            {"put_aside": 2, "put_aside_why": "DataError: x"},
            "12.5 events/s, 2 entries could not be stored and were put aside (the last: DataError: x)",
        ),
        ({"strays": 7}, "12.5 events/s, 7 events of days that have no partition"),
    ],
)
def test_a_recorder_says_what_it_does_and_what_it_could_not_do(status: dict[str, Any], words: str) -> None:
    details = record._details(Told(**status))  # type: ignore[arg-type]
    assert details.words == words
    says = " ".join(details.faults)
    assert ("DataError: x" in says) == bool(status.get("put_aside"))
    assert ("7 events of days" in says) == bool(status.get("strays"))
    assert details.depth == (3 if status.get("active", True) else None)


def test_a_recorder_whose_turn_does_not_end_says_that_it_is_stuck() -> None:
    assert record._details(Told(turn=59.0)).faults == ()  # type: ignore[arg-type]
    assert "has been stuck for 61 s" in record._details(Told(turn=61.0)).faults[0]  # type: ignore[arg-type]
