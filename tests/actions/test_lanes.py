"""One server's share of a worker's threads."""

from __future__ import annotations

from ami_integration.actions.lanes import Lanes


def test_a_server_has_so_many_lanes_and_another_server_its_own() -> None:
    lanes = Lanes(2)
    assert [lanes.enter(1, run_id) for run_id in (10, 11, 12)] == [True, True, False]
    assert lanes.enter(2, 13)


def test_whoever_leaves_is_told_who_waited_longest_and_each_waits_once() -> None:
    lanes = Lanes(1)
    assert lanes.enter(1, 10)
    for run_id in (11, 12, 11):
        assert not lanes.enter(1, run_id)
    assert lanes.leave(1) == 11
    assert lanes.enter(1, 11)
    assert lanes.leave(1) == 12
    assert lanes.enter(1, 12)
    assert lanes.leave(1) is None


def test_a_run_that_got_its_lane_by_another_message_waits_no_longer() -> None:
    lanes = Lanes(1)
    lanes.enter(1, 10)
    lanes.enter(1, 11)
    lanes.enter(1, 12)
    assert lanes.leave(1) == 11
    assert lanes.enter(1, 12)  # by the sweep's message, before the one for 11 arrived
    assert lanes.leave(1) is None
