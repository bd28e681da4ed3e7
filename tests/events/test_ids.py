from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.events.ids import (
    SLOTS,
    IdSource,
    first_id_at,
    id_earlier,
    id_milliseconds,
    id_moment,
)

moments = st.floats(min_value=1_500_000_000, max_value=4_000_000_000)


@given(st.lists(moments, min_size=1, max_size=60), st.integers(0, SLOTS - 1))
def test_ids_never_go_back_whatever_the_clock_does(clock: list[float], slot: int) -> None:
    times = iter(clock)
    source = IdSource(slot, clock=lambda: next(times))
    given_ids = [source.next() for _ in clock]
    assert given_ids == sorted(set(given_ids))
    assert all(0 < one < 2**63 for one in given_ids)


@given(moments, moments, st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1))
def test_a_new_source_starts_behind_its_floor(then: float, now: float, old_slot: int, slot: int) -> None:
    floor = IdSource(old_slot, clock=lambda: then).next()
    assert IdSource(slot, clock=lambda: now, floor=floor).next() > floor


def test_a_full_counter_borrows_the_next_millisecond() -> None:
    source = IdSource(3, clock=lambda: 1_700_000_000.0)
    many = [source.next() for _ in range(10_000)]
    assert len(set(many)) == 10_000
    assert many == sorted(many)
    assert id_milliseconds(many[4095]) == 1_700_000_000_000
    assert id_milliseconds(many[4096]) == 1_700_000_000_001


def test_two_slots_never_give_the_same_id() -> None:
    one = IdSource(1, clock=lambda: 1_700_000_000.0)
    other = IdSource(2, clock=lambda: 1_700_000_000.0)
    assert not {one.next() for _ in range(5000)} & {other.next() for _ in range(5000)}


def test_ids_taken_at_once_are_those_that_come_one_by_one() -> None:
    one = IdSource(3, clock=lambda: 1_700_000_000.0)
    other = IdSource(3, clock=lambda: 1_700_000_000.0)
    taken = [*one.take(1), *one.take(4095), *one.take(10_000), *one.take(1)]
    assert taken == [other.next() for _ in range(14_097)]
    assert one.milliseconds == other.milliseconds


def test_ids_go_on_behind_one_that_another_listener_gave() -> None:
    source = IdSource(3, clock=lambda: 1_700_000_000.0)
    ahead = IdSource(500, clock=lambda: 1_700_000_005.0).next()
    source.raise_to(ahead)
    assert source.next() > ahead
    last = source.next()
    source.raise_to(IdSource(500, clock=lambda: 1_600_000_000.0).next())
    assert source.next() == last + 1


def test_an_id_carries_its_time() -> None:
    source = IdSource(0, clock=lambda: 1_700_000_000.123)
    assert id_moment(source.next()) == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)


def test_the_first_id_of_a_moment_is_the_least() -> None:
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    at_least = first_id_at(moment)
    assert IdSource(0, clock=moment.timestamp).next() >= at_least
    assert IdSource(SLOTS - 1, clock=lambda: moment.timestamp() - 0.001).next() < at_least


def test_ten_seconds_earlier_is_ten_seconds_earlier() -> None:
    event_id = IdSource(5, clock=lambda: 1_700_000_010.0).next()
    assert id_milliseconds(id_earlier(event_id, seconds=10)) == 1_700_000_000_000
    assert id_earlier(0, seconds=10) == 0


@pytest.mark.parametrize("slot", [-1, SLOTS])
def test_a_slot_outside_its_bits_is_refused(slot: int) -> None:
    with pytest.raises(ValueError, match="slot must be 0 to 511"):
        IdSource(slot)
