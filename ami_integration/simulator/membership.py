"""Who is a member of which queue, and who pauses: what QueueAdd and its like do, also from the CLI."""

from ami_integration.simulator.company import Member, Queue
from ami_integration.simulator.office import Office


class NotPossible(Exception):
    """There is no such queue or member, or it may not be removed; the text is Asterisk's word for it."""


NO_QUEUE = "No such queue"
NOT_THERE = "Not there"
ALREADY_THERE = "Already there"
NOT_DYNAMIC = "Member not dynamic"


def queue_named(office: Office, name: str) -> Queue | None:
    """The queue of that name, in any case."""
    return office.queues.get(name.lower())


def add(office: Office, name: str, member: Member) -> Queue:
    """Add a member. Raises NotPossible."""
    queue = queue_named(office, name)
    if queue is None:
        raise NotPossible(NO_QUEUE)
    if _member_of(queue, member.interface):
        raise NotPossible(ALREADY_THERE)
    queue.members.append(member)
    office.join(queue, member)
    _tell_pause(office, queue, member)
    office.tell_member("QueueMemberAdded", queue, member)
    if office.is_available(member):
        _tell_availability(office, queue)
    return queue


def remove(office: Office, name: str, interface: str) -> Queue:
    """Remove a member. Raises NotPossible."""
    queue = queue_named(office, name)
    if queue is None:
        raise NotPossible(NO_QUEUE)
    member = _member_of(queue, interface)
    if member is None:
        raise NotPossible(NOT_THERE)
    if not member.dynamic:
        raise NotPossible(NOT_DYNAMIC)
    at = queue.members.index(member)
    queue.members.remove(member)
    if at < queue.next_member:
        queue.next_member -= 1
    office.leave(queue, member)
    office.tell_member("QueueMemberRemoved", queue, member)
    _tell_availability(office, queue)
    office.switch.announce_device(_pause_device(queue, member), "NOT_INUSE")
    return queue


def pause(office: Office, name: str, interface: str, paused: bool, reason: str) -> bool:
    """Let a member pause, or go on, in one queue or (no name) in all; whether it is a member there."""
    found = _memberships(office, name, interface)
    for queue, member in found:
        member.paused, member.reason = paused, reason
        if paused:
            member.last_pause = int(office.time)
        _tell_pause(office, queue, member)
        _tell_availability(office, queue)
        office.tell_member("QueueMemberPause", queue, member)
    return bool(found)


def set_penalty(office: Office, name: str, interface: str, penalty: int) -> bool:
    """Give a member a penalty in one queue or (no name) in all of them; whether that could be done."""
    found = _memberships(office, name, interface) if penalty >= 0 else []
    for queue, member in found:
        member.penalty = penalty
        office.tell_member("QueueMemberPenalty", queue, member)
    return bool(found)


def _memberships(office: Office, name: str, interface: str) -> list[tuple[Queue, Member]]:
    return [
        (queue, member)
        for queue in office.queues.values()
        if not name or queue.name == name.lower()
        for member in queue.members
        if member.interface.lower() == interface.lower()
    ]


def _member_of(queue: Queue, interface: str) -> Member | None:
    return next((one for one in queue.members if one.interface.lower() == interface.lower()), None)


def _tell_availability(office: Office, queue: Queue) -> None:
    office.switch.announce_device(office.availability_device(queue), office.availability(queue))


def _pause_device(queue: Queue, member: Member) -> str:
    return f"Queue:{queue.name}_pause_{member.interface}"


def _tell_pause(office: Office, queue: Queue, member: Member) -> None:
    office.switch.announce_device(_pause_device(queue, member), "INUSE" if member.paused else "NOT_INUSE")
