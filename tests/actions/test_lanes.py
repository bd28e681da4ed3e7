"""One server's share of a worker's threads."""

from __future__ import annotations

from ami_integration.actions.lanes import Lanes


def fill(lanes: Lanes, server_id: int, first: int) -> int:
    """Let runs of a server in until one has to wait; how many got a lane."""
    run_id = first
    while lanes.enter(server_id, run_id):
        run_id += 1
    return run_id - first


def test_a_server_alone_takes_a_quarter_of_the_threads_and_another_still_finds_room() -> None:
    lanes = Lanes(32)
    assert fill(lanes, 1, 100) == 8
    assert lanes.enter(2, 200)


def test_five_servers_that_hang_leave_a_fifth_of_the_threads_to_the_others() -> None:
    lanes = Lanes(32)
    for server_id in range(5):
        assert lanes.enter(server_id, server_id)
    taken = 5 + sum(fill(lanes, server_id, 100 * (server_id + 1)) for server_id in range(5))
    assert 32 - taken >= 7


def test_every_server_gets_one_lane_however_many_hang() -> None:
    lanes = Lanes(8)
    for server_id in range(4):
        fill(lanes, server_id, 100 * (server_id + 1))
    assert lanes.enter(9, 900)
    assert not lanes.enter(9, 901)


def test_whoever_leaves_is_told_who_waited_longest_and_each_waits_once() -> None:
    lanes = Lanes(2)
    assert lanes.enter(1, 10)
    for run_id in (11, 12, 11):
        assert not lanes.enter(1, run_id)
    assert lanes.leave(1) == 11
    assert lanes.enter(1, 11)
    assert lanes.leave(1) == 12
    assert lanes.enter(1, 12)
    assert lanes.leave(1) is None


def test_a_run_that_got_its_lane_by_another_message_waits_no_longer() -> None:
    lanes = Lanes(2)
    lanes.enter(1, 10)
    lanes.enter(1, 11)
    lanes.enter(1, 12)
    assert lanes.leave(1) == 11
    assert lanes.enter(1, 12)  # by the sweep's message, before the one for 11 arrived
    assert lanes.leave(1) is None
