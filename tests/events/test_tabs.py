"""What waits for one page: bounded, paced, and counted."""

from __future__ import annotations

import asyncio

import pytest

from ami_integration.events.filters import EventFilter
from ami_integration.events.ids import id_milliseconds
from ami_integration.events.pushes import Row
from ami_integration.events.tabs import MOST_NAMES, RING, ROWS_A_SECOND, LeftOut, Tab

START = 1_700_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def rows(numbers: range, name: str | None = "Event") -> list[Row]:
    return [[(START + n) << 21, name, "", f"json {n}", ""] for n in numbers]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tab(clock: Clock) -> Tab:
    return Tab(EventFilter(), clock=clock)


def offer(tab: Tab, more: list[Row]) -> None:
    counts = {str(row[1]): 0 for row in more if row[1] is not None}
    for row in more:
        if row[1] is not None:
            counts[str(row[1])] += 1
    tab.offer(more, counts)


def test_what_waits_is_bounded_and_what_is_left_out_is_counted_with_its_time(tab: Tab) -> None:
    offer(tab, rows(range(RING)))
    assert (tab.waiting, tab.left_out) == (RING, LeftOut())
    offer(tab, rows(range(RING, RING + 10)))
    assert tab.waiting == RING
    assert tab.left_out == LeftOut(10, START, START + 9)
    offer(tab, rows(range(RING + 10, 3 * RING + 20)))  # more than the ring holds, at once
    assert tab.waiting == RING
    assert tab.left_out == LeftOut(2 * RING + 20, START, START + 2 * RING + 19)
    assert tab.take()[0] == f"json {2 * RING + 20}"  # the newest are kept


def test_all_that_was_offered_is_taken_or_counted(tab: Tab, clock: Clock) -> None:
    taken = 0
    for n in range(200):
        offer(tab, rows(range(n * 37, n * 37 + 37)))
        clock.now += 0.05
        taken += len(tab.take())
    clock.now += 60
    taken += len(tab.take())
    assert taken + tab.left_out.count == 200 * 37
    assert tab.waiting == 0


def test_a_page_is_given_no_more_than_it_can_show(tab: Tab, clock: Clock) -> None:
    taken = []
    for n in range(100):
        offer(tab, rows(range(n * 100, n * 100 + 100)))
        clock.now += 0.1
        taken.append(len(tab.take()))
    assert sum(taken) <= RING + 10 * ROWS_A_SECOND
    assert sum(taken[-10:]) == pytest.approx(ROWS_A_SECOND, abs=1)


def test_a_gap_is_never_left_out(tab: Tab) -> None:
    offer(tab, rows(range(1), None))
    for n in range(1, 20):
        offer(tab, rows(range(n * RING, n * RING + RING)))
    assert tab.take()[0] == "json 0"


def test_counts_go_out_once_and_have_an_end(tab: Tab) -> None:
    offer(tab, [*rows(range(2), "Hangup"), *rows(range(2, 3), "VarSet")])
    assert tab.take_counts() == {"Hangup": 2, "VarSet": 1}
    assert tab.take_counts() == {}
    for n in range(2 * MOST_NAMES):
        tab.offer([], {f"Name {n}": 1})
    assert len(tab.take_counts()) == MOST_NAMES


def test_what_the_store_brought_does_not_come_again(tab: Tab) -> None:
    offer(tab, rows(range(5)))
    known = {row[0] for row in rows(range(3))}
    tab.begin(known)
    assert tab.take() == ["json 3", "json 4"]
    assert tab.take_counts() == {"Event": 2}


def test_what_the_store_brought_is_not_counted_when_it_comes_late(tab: Tab, clock: Clock) -> None:
    tab.begin({row[0] for row in rows(range(3))})
    offer(tab, rows(range(2)))
    offer(tab, [*rows(range(2, 5)), *rows(range(2, 3), None)])
    assert tab.take() == ["json 2", "json 3", "json 4"]  # a gap comes again
    assert tab.take_counts() == {"Event": 2}
    clock.now += 60
    offer(tab, rows(range(5, 6)))
    assert tab.take() == ["json 5"]


def test_what_the_store_brought_of_a_new_server_is_counted_once(tab: Tab) -> None:
    tab.begin({row[0] for row in rows(range(1))})
    offer(tab, rows(range(1, 3)))
    tab.know({row[0] for row in rows(range(1, 4))})
    offer(tab, rows(range(0, 5)))
    assert tab.take() == ["json 4"]
    assert tab.take_counts() == {"Event": 1}


async def test_whoever_sends_is_told_that_there_is_something(tab: Tab) -> None:
    sender = asyncio.create_task(tab.ready.wait())
    await asyncio.sleep(0)
    assert not sender.done()
    offer(tab, rows(range(1)))
    await asyncio.wait_for(sender, 5)


def test_an_id_tells_when_its_row_was_left_out() -> None:
    first, last = (START + 5) << 21, (START + 9) << 21
    left = LeftOut().plus(3, first, last).plus(2, first + (1 << 21), first + (2 << 21))
    assert left == LeftOut(5, id_milliseconds(first), id_milliseconds(last))
