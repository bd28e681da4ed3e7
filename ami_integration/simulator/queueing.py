"""Queue(): a caller waits with music until a member of the queue picks up, or goes away."""

from collections.abc import Generator
from dataclasses import dataclass

from ami_integration.simulator.calls import Call, HungUp, Redirected
from ami_integration.simulator.channels import Channel, State
from ami_integration.simulator.company import Member, Plan, Queue, Waiting
from ami_integration.simulator.dialling import (
    NETWORK,
    TIME_VARIABLES,
    Steps,
    Wait,
    elapsed,
    end_leg,
    next_priority,
    talk,
    wait_or_give_up,
)
from ami_integration.simulator.office import Office
from ami_integration.simulator.wire import EventClass, Header


@dataclass(eq=False)
class _Leg:
    member: Member
    channel: Channel


def run_queue(call: Call, caller: Channel, queue: Queue, plan: Plan) -> Steps:
    """Queue(): wait for a member, talk, or leave. Raises HungUp when the caller is gone."""
    office, switch = call.office, call.office.switch
    total = office.settings.queue_timeout
    next_priority(call, caller, "Queue", f"{queue.name},,,,{total}")
    switch.set_variable(
        caller,
        *((name, "") for name in TIME_VARIABLES),
        ("QUEUEWAIT", ""),
        ("QUEUEWAIT_MS", ""),
    )
    waiting = Waiting(caller, office.time, len(queue.callers) + 1)
    queue.callers.append(waiting)
    switch.set_device(f"Queue:{queue.name}", "RINGING")
    _tell_queue(call, "QueueCallerJoin", caller, queue, ("Position", str(len(queue.callers))), _count(queue))
    switch.start_music(caller)
    missed = 0
    try:
        while True:
            left = total - (office.time - waiting.since)
            members = _members_to_ring(office, queue, queue.callers.index(waiting))
            if members and left > 0:
                seconds = min(float(office.settings.member_timeout), left)
                misses = missed < plan.missed or plan.answer is None
                leg = yield from _ring_members(call, waiting, queue, members, plan, seconds, misses)
                if leg is not None:
                    break
                missed += 1
                left = total - (office.time - waiting.since)
            if left <= 0:
                _leave_queue(call, waiting, queue, abandoned=True, timeout=True)
                next_priority(call, caller, "Hangup")
                return
            wait = min(float(office.settings.retry), left)
            if not (yield from wait_or_give_up(call, caller, wait, _patience_left(office, waiting, plan))):
                raise _gave_up(call, caller)
    except HungUp as hung_up:
        if waiting in queue.callers:
            _leave_queue(call, waiting, queue, abandoned=True, why=hung_up)
        raise
    yield from _talk_to_member(call, waiting, queue, leg, plan)


def _tell_queue(call: Call, name: str, caller: Channel, queue: Queue, *headers: Header) -> None:
    call.office.switch.tell_channel(name, caller, ("Queue", queue.name), *headers, classes=EventClass.AGENT)


def _count(queue: Queue) -> Header:
    return ("Count", str(len(queue.callers)))


def _patience_left(office: Office, waiting: Waiting, plan: Plan) -> float | None:
    return None if plan.patience is None else max(0.0, plan.patience - (office.time - waiting.since))


def _gave_up(call: Call, caller: Channel) -> HungUp:
    call.office.switch.report_quality(caller)
    call.office.switch.request_hangup(caller, None)
    return HungUp(caller, 0, by_user=True)


def _members_to_ring(office: Office, queue: Queue, ahead: int) -> list[Member]:
    """Who rings for the caller with so many ahead: all free members, or the next one in turn."""
    count = len(queue.members)
    if not count:
        return []
    turn = [queue.members[(queue.next_member + step) % count] for step in range(count)]
    free = [member for member in turn if not member.paused and office.can_ring(member)]
    if ahead >= len(free):
        return []
    best = min(member.penalty for member in free)
    free = [member for member in free if member.penalty == best]
    if queue.strategy == "ringall":
        return [member for member in queue.members if member in free]
    queue.next_member = (queue.members.index(free[0]) + 1) % count
    return free[:1]


def _ring_members(
    call: Call,
    waiting: Waiting,
    queue: Queue,
    members: list[Member],
    plan: Plan,
    seconds: float,
    misses: bool,
) -> Generator[Wait, None, _Leg | None]:
    """Ring members for a caller; gives the leg of who picked up. Raises HungUp if the caller gave up."""
    office, switch, caller = call.office, call.office.switch, waiting.channel
    legs = [_call_member(call, caller, queue, member) for member in members]
    if len(legs) == 1:
        switch.set_connected(caller, legs[0].channel.caller)
    begun = office.time
    ended: HungUp | None = None
    try:
        yield NETWORK
        for leg in legs:
            switch.set_state(leg.channel, State.RINGING)
            switch.execute(leg.channel, "AppQueue", "(Outgoing Line)")
            switch.set_connected(leg.channel, caller.caller)
        for leg in reversed(legs):
            switch.dial_event("DialState", caller, leg.channel, ("DialStatus", "RINGING"))
        pick_up = seconds if misses or plan.answer is None else min(plan.answer, seconds)
        stayed = yield from wait_or_give_up(call, caller, pick_up, _patience_left(office, waiting, plan))
        if not stayed:
            raise _gave_up(call, caller)
    except HungUp as hung_up:
        if not any(leg.channel is hung_up.channel for leg in legs):
            switch.stop_music(caller)
            for leg in legs:
                switch.dial_event("DialEnd", caller, leg.channel, ("DialStatus", "CANCEL"))
                switch.dial_event("DialEnd", caller, leg.channel, ("DialStatus", "CANCEL"))
                end_leg(call, leg.channel, 0)
            raise
        pick_up = seconds
        ended = hung_up
    if pick_up >= seconds:
        for leg in legs:
            ring_time = ("RingTime", str(int((office.time - begun) * 1000)))
            _tell_agent(call, "AgentRingNoAnswer", caller, queue, leg, ring_time)
            switch.dial_event("DialEnd", caller, leg.channel, ("DialStatus", "NOANSWER"))
        for leg in legs:
            switch.dial_event("DialEnd", caller, leg.channel, ("DialStatus", "CANCEL"))
            end_leg(call, leg.channel, 0, ended)
        return None
    # In a ringall queue a different one is quickest each time.
    chosen = office.rng.choice(legs)
    others = [leg for leg in legs if leg is not chosen]
    chosen.member.in_call = True
    switch.set_state(chosen.channel, State.UP)
    switch.dial_event("DialEnd", caller, chosen.channel, ("DialStatus", "ANSWER"))
    for leg in others:
        switch.dial_event("DialEnd", caller, leg.channel, ("DialStatus", "CANCEL"))
    if others:
        switch.set_connected(caller, chosen.channel.caller)
    for leg in others:
        switch.dial_event("DialEnd", caller, leg.channel, ("DialStatus", "CANCEL"))
        end_leg(call, leg.channel, 26)
    return chosen


def _call_member(call: Call, caller: Channel, queue: Queue, member: Member) -> _Leg:
    switch, phone = call.office.switch, call.office.phone_of(member.interface)
    if phone is None:
        raise ValueError(f"{member.interface} is no phone of the office and can't ring")
    channel = switch.new_channel(
        phone.device, call, context="office", exten="s", caller=(phone.number, phone.name), linked=caller
    )
    leg = _Leg(member, channel)
    switch.set_variable(channel, ("DIALEDPEERNUMBER", phone.number))
    # AgentCalled shows the channel as it is by now, DialBegin as it was when last told of.
    last_told = channel.snapshot("Dest")
    channel.connected, channel.exten = caller.caller, caller.exten
    _tell_agent(call, "AgentCalled", caller, queue, leg)
    dial: list[Header] = [*caller.snapshot(), *last_told, ("DialString", phone.device)]
    switch.tell("DialBegin", EventClass.CALL, dial)
    return leg


def _tell_agent(call: Call, name: str, caller: Channel, queue: Queue, leg: _Leg, *headers: Header) -> None:
    call.office.switch.tell(
        name,
        EventClass.AGENT,
        [
            *caller.snapshot(),
            *leg.channel.snapshot("Dest"),
            ("Queue", queue.name),
            ("Interface", leg.member.interface),
            ("MemberName", leg.member.name),
            *headers,
        ],
    )


def _leave_queue(
    call: Call,
    waiting: Waiting,
    queue: Queue,
    *,
    abandoned: bool,
    timeout: bool = False,
    why: HungUp | None = None,
) -> None:
    office, switch, caller = call.office, call.office.switch, waiting.channel
    position = queue.callers.index(waiting) + 1
    waited = int(office.time - waiting.since)
    if isinstance(why, Redirected) and caller.hears_music:
        switch.stop_music(caller)
    if abandoned:
        queue.abandoned += 1
        told: list[Header] = [("QUEUEWAIT", str(waited)), ("QUEUEWAIT_MS", str(waited * 1000))]
        told += [(name, "0") for name in (*TIME_VARIABLES[2:], *TIME_VARIABLES[:2])]
        if not timeout:
            switch.set_variable(caller, *told)
        if isinstance(why, Redirected):
            why.go(call)
        switch.set_variable(caller, ("ABANDONED", "TRUE"))
        _tell_queue(
            call,
            "QueueCallerAbandon",
            caller,
            queue,
            ("Position", str(position)),
            ("OriginalPosition", str(waiting.original_position)),
            ("HoldTime", str(waited)),
        )
        if timeout:
            switch.set_variable(caller, *told)
            switch.stop_music(caller)
    queue.callers.remove(waiting)
    if not queue.callers:
        switch.set_device(f"Queue:{queue.name}", "NOT_INUSE")
    _tell_queue(call, "QueueCallerLeave", caller, queue, ("Position", str(position)), _count(queue))
    switch.set_variable(caller, ("QUEUEPOSITION", str(position)))
    if timeout:
        switch.set_variable(caller, ("QUEUESTATUS", "TIMEOUT"))


def _talk_to_member(call: Call, waiting: Waiting, queue: Queue, leg: _Leg, plan: Plan) -> Steps:
    office, switch, caller, member = call.office, call.office.switch, waiting.channel, leg.member
    switch.stop_music(caller)
    waited = int(office.time - waiting.since)
    _leave_queue(call, waiting, queue, abandoned=False)
    queue.hold_time = (3 * queue.hold_time + waited) // 4
    switch.set_variable(caller, ("QUEUEWAIT", str(waited)), ("QUEUEWAIT_MS", str(waited * 1000)))
    hold = ("HoldTime", str(waited))
    _tell_agent(call, "AgentConnect", caller, queue, leg, hold, ("RingTime", str(int(plan.answer or 0))))
    begun = office.time

    def complete(ended: Channel) -> None:
        talked = int(office.time - begun)
        reason = ("Reason", "caller" if ended is caller else "agent")
        _tell_agent(call, "AgentComplete", caller, queue, leg, hold, ("TalkTime", str(talked)), reason)
        member.in_call = False
        member.calls_taken += 1
        member.last_call = int(office.time)
        queue.completed += 1
        queue.talk_time = (3 * queue.talk_time + talked) // 4

    gone = yield from talk(call, caller, leg.channel, plan, on_ended=complete)
    switch.set_variable(
        caller,
        *elapsed("ANSWEREDTIME", office.time - begun),
        *elapsed("DIALEDTIME", office.time - waiting.since),
    )
    if gone.channel is caller:
        raise gone
