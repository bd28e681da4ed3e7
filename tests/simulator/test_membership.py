"""Members of queues come, pause and go: the events in the order in which a real Asterisk 22 told them."""

from collections.abc import Callable

import pytest

from ami_integration.simulator import membership
from ami_integration.simulator.company import Member
from tests.simulator.scenes import Stage


@pytest.fixture
def stage() -> Stage:
    """An office whose queue ``support`` has no member yet."""
    stage = Stage()
    queue = stage.office.queues["support"]
    for member in list(queue.members):
        stage.office.leave(queue, member)
    queue.members.clear()
    return stage


def told(stage: Stage, work: Callable[[], object]) -> list[str]:
    """What a deed told, in short."""
    stage.told.clear()
    work()
    return [
        f"{event.get('Device')} {event.get('State')}" if event.name == "DeviceStateChange" else event.name
        for event in stage.told
    ]


def member(number: str, *, paused: bool = False) -> Member:
    return Member(f"PJSIP/{number}", f"Member {number}", 0, dynamic=True, paused=paused)


def test_the_queue_tells_when_its_last_free_member_goes_and_the_first_comes(stage: Stage) -> None:
    office = stage.office
    assert told(stage, lambda: membership.add(office, "support", member("101"))) == [
        "Queue:support_pause_PJSIP/101 NOT_INUSE", "QueueMemberAdded", "Queue:support_avail NOT_INUSE",
    ]  # fmt: skip
    assert told(stage, lambda: membership.pause(office, "support", "PJSIP/101", True, "tea")) == [
        "Queue:support_pause_PJSIP/101 INUSE", "Queue:support_avail INUSE", "QueueMemberPause",
    ]  # fmt: skip
    assert told(stage, lambda: membership.pause(office, "support", "PJSIP/101", True, "")) == [
        "QueueMemberPause"
    ]
    assert told(stage, lambda: membership.remove(office, "support", "PJSIP/101")) == [
        "QueueMemberRemoved", "Queue:support_pause_PJSIP/101 NOT_INUSE",
    ]  # fmt: skip
    assert told(stage, lambda: membership.add(office, "support", member("101", paused=True))) == [
        "Queue:support_pause_PJSIP/101 INUSE", "QueueMemberAdded",
    ]  # fmt: skip
    assert told(stage, lambda: membership.add(office, "support", member("102"))) == [
        "Queue:support_pause_PJSIP/102 NOT_INUSE", "QueueMemberAdded", "Queue:support_avail NOT_INUSE",
    ]  # fmt: skip
    assert told(stage, lambda: membership.remove(office, "support", "PJSIP/102")) == [
        "QueueMemberRemoved", "Queue:support_avail INUSE",
    ]  # fmt: skip


def test_a_new_member_is_watched_and_a_removed_one_is_not(stage: Stage) -> None:
    office = stage.office
    membership.add(office, "support", member("101"))
    assert "QueueMemberStatus" in told(stage, lambda: office.switch.set_device("PJSIP/101", "INUSE"))
    assert "Queue:support_avail INUSE" in [
        f"{event.get('Device')} {event.get('State')}" for event in stage.told
    ]
    membership.remove(office, "support", "PJSIP/101")
    now = told(stage, lambda: office.switch.set_device("PJSIP/101", "NOT_INUSE"))
    assert now.count("QueueMemberStatus") == 1  # of the queue sales, which has it still


@pytest.mark.parametrize(
    ("interface", "status"),
    [("PJSIP/101", 1), ("PJSIP/999", 4), ("Nonsense/1", 4), ("Local/800@office/n", 1), ("Local/5@office", 4)],
)
def test_the_status_of_a_member_is_that_of_its_device(interface: str, status: int, stage: Stage) -> None:
    assert stage.office.member_status(Member(interface, "Somebody", 0)) == status
