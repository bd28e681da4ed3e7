"""What a program repeats is told by its number."""

from __future__ import annotations

from unittest import mock

import pytest

from ami_integration.audit import bounded
from ami_integration.audit.bounded import Bounded, told_with


@pytest.fixture
def clock() -> mock.Mock:
    with mock.patch.object(bounded.time, "monotonic", return_value=1000.0) as now:
        yield now


def test_a_few_in_each_minute_and_then_their_number(clock: mock.Mock) -> None:
    few = Bounded(burst=2)
    assert [few.take("ada") for _ in range(5)] == [0, 0, None, None, None]
    assert few.take("bob") == 0
    clock.return_value += 59
    assert few.take("ada") is None
    clock.return_value += 1
    assert [few.take("ada") for _ in range(3)] == [4, 0, None]
    assert (told_with(4), told_with(0)) == ({"left out before": 4}, {})


def test_strangers_can_not_fill_the_memory(clock: mock.Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MOST_KINDS", 3)
    few = Bounded(burst=1)
    for number in range(10):
        assert few.take(number) == 0
    assert len(few._seen) <= 3
    clock.return_value += 61
    assert few.take("old ones go first") == 0 and few.take("then") == 0
