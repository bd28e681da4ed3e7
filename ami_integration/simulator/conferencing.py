"""ConfBridge(): any number of channels in one room."""

from ami_integration.simulator.calls import Call, HungUp, Kicked, Redirected
from ami_integration.simulator.channels import Bridge, Channel
from ami_integration.simulator.company import Conference, Plan
from ami_integration.simulator.dialling import Steps, next_priority
from ami_integration.simulator.office import Office
from ami_integration.simulator.wire import EventClass, Header


def confbridge(call: Call, channel: Channel, room: str, plan: Plan) -> Steps:
    """ConfBridge(): talk with whoever is in the room. Raises HungUp, but not when kicked."""
    office, switch = call.office, call.office.switch
    next_priority(call, channel, "ConfBridge", room)
    conference = office.conferences.get(room)
    if conference is None:
        bridge = switch.create_bridge(Bridge(switch.make_uuid(), "base", "softmix", "ConfBridge", room))
        bridge.invisible = 1
        conference = Conference(room, bridge, announcer=f"CBAnn/{room}-{len(office.conferences):08x};2")
        office.conferences[room] = conference
        _tell_conference(call, "ConfbridgeStart", conference)
        switch.set_device(f"confbridge:{room}", "INUSE")
        switch.set_device(f"CBAnn/{room}", "INUSE")
    bridge = conference.bridge
    switch.enter_bridge(bridge, channel)
    conference.channels.append(channel)
    _tell_peers(call, conference)
    _tell_conference(call, "ConfbridgeJoin", conference, channel, ("Admin", "No"), ("Muted", "No"))
    try:
        yield plan.talk
        gone = HungUp(channel, 16, by_user=True)
    except HungUp as hung_up:
        gone = hung_up
        gone.cause = gone.cause or 16
    if gone.by_user:
        switch.report_quality(channel)
        switch.request_hangup(channel, None)
    stays = isinstance(gone, Kicked | Redirected)
    if isinstance(gone, Kicked):
        switch.set_variable(channel, ("CONFBRIDGE_RESULT", "KICKED"))
    if stays:
        switch.set_variable(channel, ("BRIDGEPEER", ""))
    if isinstance(gone, Redirected):
        gone.go(call)
    _tell_conference(call, "ConfbridgeLeave", conference, channel, ("Admin", "No"))
    conference.channels.remove(channel)
    if channel in conference.muted:
        conference.muted.remove(channel)
    last = not conference.channels
    if not stays:
        switch.set_variable(channel, ("BRIDGEPEER", ""))
    switch.leave_bridge(bridge, channel)
    if last:
        del office.conferences[room]
        _tell_conference(call, "ConfbridgeEnd", conference)
        switch.set_device(f"confbridge:{room}", "NOT_INUSE")
        switch.destroy_bridge(bridge)
        switch.set_device(f"CBAnn/{room}", "UNKNOWN")
    else:
        _tell_peers(call, conference)
    if isinstance(gone, Kicked):
        return
    switch.set_variable(channel, ("CONFBRIDGE_RESULT", "HANGUP"))
    raise gone


def mute(office: Office, conference: Conference, channels: list[Channel], muted: bool) -> None:
    """Let nobody hear these channels any more, or all again; told whether or not it changes anything."""
    for channel in channels:
        if channel in conference.muted:
            conference.muted.remove(channel)
        if muted:
            conference.muted.append(channel)
        name = "ConfbridgeMute" if muted else "ConfbridgeUnmute"
        office.switch.tell(
            name,
            EventClass.CALL,
            [
                ("Conference", conference.room),
                *conference.bridge.snapshot(),
                *channel.snapshot(),
                ("Admin", "No"),
            ],
        )


def _tell_conference(
    call: Call, name: str, conference: Conference, channel: Channel | None = None, *headers: Header
) -> None:
    about = channel.snapshot() if channel else []
    call.office.switch.tell(
        name,
        EventClass.CALL,
        [("Conference", conference.room), *conference.bridge.snapshot(), *about, *headers],
    )


def _tell_peers(call: Call, conference: Conference) -> None:
    for channel in conference.channels:
        peers = [conference.announcer, *(other.name for other in conference.channels if other is not channel)]
        call.office.switch.set_variable(channel, ("BRIDGEPEER", ",".join(peers)))
