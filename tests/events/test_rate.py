from __future__ import annotations

import pytest

from ami_integration.events import rate as rate_module
from ami_integration.events.rate import Rate


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate_module, "time", clock)
    return clock


def test_a_guess_wants_some_seconds_of_experience(clock: Clock) -> None:
    rate = Rate(100)
    clock.now += 4
    rate.note(140)
    assert rate.guess(10) == (None, "unknown")
    clock.now += 2
    rate.note(160)
    assert rate.guess(10) == (100, "estimated")


def test_only_the_last_minute_counts(clock: Clock) -> None:
    rate = Rate()
    for second in range(300):
        clock.now += 1
        rate.note(1_000 if second < 200 else 1_000 + (second - 199) * 2)
    assert rate.per_second == pytest.approx(2.0)


def test_events_in_bursts_have_a_rate_in_the_seconds_between_too(clock: Clock) -> None:
    rate = Rate(seconds=10, known_after=0.5)
    received = 0
    for second in range(60):
        clock.now += 1
        received += 100 if second % 5 == 0 else 0
        rate.note(received)
        assert second < 10 or rate.per_second == pytest.approx(20.0)


@pytest.mark.parametrize("seconds", [-5.0, 3601.0])
def test_of_a_gap_without_a_sensible_length_nothing_is_guessed(clock: Clock, seconds: float) -> None:
    rate = Rate()
    clock.now += 10
    rate.note(100)
    assert rate.guess(seconds) == (None, "unknown")
