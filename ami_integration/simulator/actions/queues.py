"""The actions on queues and their members."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ami_integration.simulator import membership
from ami_integration.simulator.actions.action import Handler, is_true
from ami_integration.simulator.company import Member, Queue
from ami_integration.simulator.wire import Header

if TYPE_CHECKING:
    from ami_integration.simulator.requests import Request
    from ami_integration.simulator.session import Session


async def queue_status(session: Session, request: Request) -> None:
    wanted_queue, wanted_member = request.get("Queue"), request.get("Member")
    items: list[tuple[str, list[Header]]] = []
    # Asterisk keeps queues and members in hash tables; the captures have them in the reverse of their order.
    for queue in reversed(session.pbx.office.queues.values()):
        if not wanted_queue or wanted_queue.lower() == queue.name:
            items += _queue_items(session, queue, wanted_member)
    session.respond_list(
        request, "Queue status will follow", items, "QueueStatusComplete", action_id_last=True
    )


def _queue_items(session: Session, queue: Queue, wanted_member: str) -> list[tuple[str, list[Header]]]:
    office = session.pbx.office
    about: Header = ("Queue", queue.name)
    params: list[Header] = [
        about,
        ("Max", "0"),
        ("Strategy", queue.strategy),
        ("Calls", str(len(queue.callers))),
        ("Holdtime", str(queue.hold_time)),
        ("TalkTime", str(queue.talk_time)),
        ("Completed", str(queue.completed)),
        ("Abandoned", str(queue.abandoned)),
        ("ServiceLevel", "0"),
        ("ServicelevelPerf", "0.0"),
        ("ServicelevelPerf2", "0.0"),
        ("Weight", "0"),
    ]
    items = [("QueueParams", params)]
    for member in reversed(queue.members):
        if not wanted_member or wanted_member == member.interface:
            names: list[Header] = [about, ("Name", member.name), ("Location", member.interface)]
            items.append(("QueueMember", [*names, *office.member_headers(member), ("Wrapuptime", "0")]))
    for position, waiting in enumerate(queue.callers, 1):
        channel = waiting.channel
        entry: list[Header] = [
            about,
            ("Position", str(position)),
            ("Channel", channel.name),
            ("Uniqueid", channel.uniqueid),
            ("CallerIDNum", channel.caller[0]),
            ("CallerIDName", channel.caller[1]),
            ("ConnectedLineNum", channel.connected[0]),
            ("ConnectedLineName", channel.connected[1]),
            ("Wait", str(int(office.time - waiting.since))),
            ("Priority", "0"),
        ]
        items.append(("QueueEntry", entry))
    return items


async def queue_summary(session: Session, request: Request) -> None:
    office, wanted = session.pbx.office, request.get("Queue")
    items: list[tuple[str, list[Header]]] = []
    for queue in reversed(office.queues.values()):
        if wanted and wanted.lower() != queue.name:
            continue
        states = [office.member_status(member) for member in queue.members]
        summary: list[Header] = [
            ("Queue", queue.name),
            ("LoggedIn", str(sum(state not in _NOT_THERE for state in states))),
            ("Available", str(sum(office.is_available(member) for member in queue.members))),
            ("Callers", str(len(queue.callers))),
            ("HoldTime", str(queue.hold_time)),
            ("TalkTime", str(queue.talk_time)),
            ("LongestHoldTime", str(int(max((office.time - one.since for one in queue.callers), default=0)))),
        ]
        items.append(("QueueSummary", summary))
    session.respond_list(
        request, "Queue summary will follow", items, "QueueSummaryComplete", action_id_last=True
    )


async def queue_add(session: Session, request: Request) -> None:
    office, interface = session.pbx.office, request.get("Interface")
    for name in ("Queue", "Interface"):
        if not request.get(name):
            session.respond_error(request, f"'{name}' not specified.")
            return
    paused = is_true(request.get("Paused"))
    member = Member(
        interface,
        request.get("MemberName") or interface,
        int(office.time),
        state_interface=request.get("StateInterface"),
        dynamic=True,
        penalty=max(0, number_of(request.get("Penalty"))),
        paused=paused,
        reason=request.get("Reason") if paused else "",
        last_pause=int(office.time) if paused else 0,
    )
    try:
        membership.add(office, request.get("Queue"), member)
    except membership.NotPossible as error:
        what = "interface to queue" if str(error) == membership.NO_QUEUE else "interface"
        session.respond_error(request, f"Unable to add {what}: {error}")
    else:
        session.respond(request, "Success", "Added interface to queue")


async def queue_remove(session: Session, request: Request) -> None:
    queue, interface = request.get("Queue"), request.get("Interface")
    if not queue or not interface:
        session.respond_error(request, "Need 'Queue' and 'Interface' parameters.")
        return
    try:
        membership.remove(session.pbx.office, queue, interface)
    except membership.NotPossible as error:
        sentences = {
            membership.NO_QUEUE: "Unable to remove interface from queue: No such queue",
            membership.NOT_THERE: "Unable to remove interface: Not there",
        }
        session.respond_error(request, sentences.get(str(error), str(error)))
    else:
        session.respond(request, "Success", "Removed interface from queue")


async def queue_pause(session: Session, request: Request) -> None:
    interface, text = request.get("Interface"), request.get("Paused")
    if not interface or not text:
        session.respond_error(request, "Need 'Interface' and 'Paused' parameters.")
        return
    paused = is_true(text)
    if membership.pause(session.pbx.office, request.get("Queue"), interface, paused, request.get("Reason")):
        session.respond(request, "Success", f"Interface {'' if paused else 'un'}paused successfully")
    else:
        session.respond_error(request, "Interface not found")


async def queue_penalty(session: Session, request: Request) -> None:
    interface, text = request.get("Interface"), request.get("Penalty")
    if not interface or not text:
        session.respond_error(request, "Need 'Interface' and 'Penalty' parameters.")
    elif membership.set_penalty(session.pbx.office, request.get("Queue"), interface, number_of(text)):
        session.respond(request, "Success", "Interface penalty set successfully")
    else:
        session.respond_error(request, "Invalid interface, queuename or penalty")


def number_of(text: str) -> int:
    """The number that a text begins with, 0 if it begins with none: C's atoi()."""
    found = re.match(r"\s*([+-]?[0-9]+)", text)
    return int(found.group(1)) if found else 0


# Of the members with these states, the summary says that they aren't logged in: invalid and unavailable.
_NOT_THERE = (4, 5)

HANDLERS: dict[str, Handler] = {
    "QueueAdd": queue_add,
    "QueuePause": queue_pause,
    "QueuePenalty": queue_penalty,
    "QueueRemove": queue_remove,
    "QueueStatus": queue_status,
    "QueueSummary": queue_summary,
}
