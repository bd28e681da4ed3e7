"""
Dial() and what two bridged channels do until one of them ends.

A script is a generator that acts on the switch and yields the seconds until its next act. AMI's Hangup and
a user who puts the receiver down arrive as HungUp, thrown in at the wait; every application cleans up what
it made and passes it on.
"""

from collections.abc import Callable, Generator

from ami_integration.simulator.calls import Call, HungUp, Redirected
from ami_integration.simulator.channels import UNKNOWN, Channel, State
from ami_integration.simulator.company import Plan
from ami_integration.simulator.wire import Header

Wait = float | None
Steps = Generator[Wait, None, None]
"""A script, or a part of one: yields the seconds until its next act, None for "until woken"."""

NETWORK = 0.02
"""Seconds that a message to a phone and its answer take."""

TIME_VARIABLES = ("ANSWEREDTIME", "ANSWEREDTIME_MS", "DIALEDTIME", "DIALEDTIME_MS")
_DIAL_VARIABLES = (
    "DIALSTATUS",
    "DIALEDPEERNUMBER",
    "DIALEDPEERNAME",
    *TIME_VARIABLES,
    "RINGTIME",
    "RINGTIME_MS",
    "PROGRESSTIME",
    "PROGRESSTIME_MS",
)


def next_priority(call: Call, channel: Channel, application: str, data: str = "") -> None:
    channel.priority += 1
    call.office.switch.execute(channel, application, data)


def wait_or_give_up(
    call: Call, channel: Channel, seconds: float, patience: float | None
) -> Generator[Wait, None, bool]:
    """Wait; False if the channel's user lost patience before, told by HangupRequest."""
    if patience is None or patience >= seconds:
        yield seconds
        return True
    yield patience
    return False


def dial(call: Call, caller: Channel, plan: Plan) -> Generator[Wait, None, tuple[str, int]]:
    """Dial() one phone. Gives DIALSTATUS and the cause that the caller's channel ends with.

    Raises HungUp when the caller is gone; the callee is cleaned up then.
    """
    office, switch = call.office, call.office.switch
    phone = office.phones[caller.exten]
    seconds = office.settings.ring_seconds
    switch.execute(caller, "Dial", f"{phone.device},{seconds}")
    switch.set_variable(caller, *((name, "") for name in _DIAL_VARIABLES))
    begun = office.time
    callee = switch.new_channel(
        phone.device, call, context="office", exten="s", caller=(phone.number, phone.name), linked=caller
    )
    switch.set_variable(callee, ("DIALEDPEERNUMBER", phone.number))
    callee.connected, callee.exten = caller.caller, caller.exten
    switch.execute(callee, "AppDial", "(Outgoing Line)")
    if caller.caller[0] != UNKNOWN:
        switch.set_connected(callee, caller.caller)
    switch.dial_event("DialBegin", caller, callee, ("DialString", phone.number))
    switch.set_connected(caller, callee.caller)
    busy = plan.busy or len(switch.channels_of(phone.device)) > 1
    try:
        yield NETWORK
        if busy:
            callee.tech_cause = "486"
            switch.request_hangup(callee, 17)
            return _dial_failed(call, caller, callee, "BUSY", 17, 17)
        switch.set_state(callee, State.RINGING)
        rang = office.time
        switch.set_variable(caller, ("RINGTIME", "0"), ("RINGTIME_MS", str(int((rang - begun) * 1000))))
        switch.dial_event("DialState", caller, callee, ("DialStatus", "RINGING"))
        switch.look_at_device(caller.device)
        pick_up = seconds if plan.answer is None else min(plan.answer, seconds)
        stayed = yield from wait_or_give_up(call, caller, pick_up, plan.patience)
        if not stayed:
            caller.tech_cause = "487"
            switch.request_hangup(caller, 127)
            callee.tech_cause = "500"
            _dial_failed(call, caller, callee, "CANCEL", 127, 127)
            raise HungUp(caller, 127, by_user=True)
        if plan.answer is None or plan.answer > seconds:
            return _dial_failed(call, caller, callee, "NOANSWER", 0, 16)
    except HungUp as hung_up:
        if hung_up.channel is callee:
            return _dial_failed(call, caller, callee, "NOANSWER", 0, 16, variable="CHANUNAVAIL", why=hung_up)
        if not callee.gone:
            if hung_up.cause == 19:
                callee.tech_cause = "480"
            _dial_failed(call, caller, callee, "CANCEL", hung_up.cause, hung_up.cause)
        raise
    switch.set_state(callee, State.UP)
    answered = office.time
    switch.set_variable(
        caller, ("DIALSTATUS", "ANSWER"), ("DIALEDPEERNAME", callee.name), ("DIALEDPEERNUMBER", phone.number)
    )
    callee.exten = ""
    switch.dial_event("DialEnd", caller, callee, ("DialStatus", "ANSWER"))
    if caller.state is not State.UP:
        switch.set_state(caller, State.UP)
    gone = yield from talk(call, caller, callee, plan)
    if not (isinstance(gone, Redirected) and gone.channel is caller):
        switch.set_variable(
            caller,
            *elapsed("ANSWEREDTIME", office.time - answered),
            *elapsed("DIALEDTIME", office.time - begun),
        )
    switch.set_variable(caller, ("DIALSTATUS", "ANSWER"))
    if gone.channel is caller:
        raise gone
    return "ANSWER", 16


def _dial_failed(
    call: Call,
    caller: Channel,
    callee: Channel,
    status: str,
    callee_cause: int,
    caller_cause: int,
    *,
    variable: str = "",
    why: HungUp | None = None,
) -> tuple[str, int]:
    switch = call.office.switch
    switch.dial_event("DialEnd", caller, callee, ("DialStatus", status))
    end_leg(call, callee, callee_cause, why)
    switch.set_variable(caller, ("DIALSTATUS", variable or status))
    return status, caller_cause


def end_leg(call: Call, channel: Channel, cause: int, why: HungUp | None = None) -> None:
    """End a called one's channel, unless it was (``why``) or is about to be sent elsewhere."""
    if isinstance(why, Redirected) and why.channel is channel:
        redirected: Redirected | None = why
    else:
        redirected = call.take_redirect(channel)
    if redirected is None:
        call.office.switch.hang_up(channel, cause)
    else:
        redirected.go(call)
        redirected.resume()


def elapsed(name: str, seconds: float) -> tuple[Header, Header]:
    return (name, str(int(seconds))), (f"{name}_MS", str(int(seconds * 1000)))


def talk(
    call: Call,
    caller: Channel,
    callee: Channel,
    plan: Plan,
    *,
    on_ended: Callable[[Channel], None] = lambda channel: None,
) -> Generator[Wait, None, HungUp]:
    """Bridge two channels until one of them ends; gives which. The callee is gone then, the caller not yet.

    ``on_ended`` hears who, before it leaves the bridge.
    """
    switch = call.office.switch
    bridge = switch.create_bridge()
    if callee.application == "AppDial":
        switch.execute(callee, "AppDial", "(Outgoing Line)")
    switch.enter_bridge(bridge, callee)
    switch.enter_bridge(bridge, caller)
    switch.set_bridge_peers(caller, callee)
    if caller.is_sip and callee.is_sip:
        # Two RTP channels: the bridge goes over to native_rtp, and sets the variables at each step.
        switch.set_bridge_peers(caller, callee)
        switch.set_bridge_peers(caller, callee)
        bridge.technology = "native_rtp"
    try:
        if plan.hold is not None:
            after, length = plan.hold
            yield after
            switch.hold(caller, callee)
            yield length
            switch.unhold(caller, callee)
            yield max(0.0, plan.talk - after - length)
        else:
            yield plan.talk
        gone = HungUp(caller if plan.ended_by == "caller" else callee, 16, by_user=True)
    except HungUp as hung_up:
        gone = hung_up
        gone.cause = gone.cause or 16
    first = gone.channel
    other = callee if first is caller else caller
    if other.on_hold:
        switch.stop_music(other)
        other.on_hold = False
    if gone.by_user:
        switch.report_quality(first, bridged=other)
        # Queue() and ConfBridge() have set no cause by then.
        switch.request_hangup(first, 16 if callee.application == "AppDial" else None)
    on_ended(first)
    switch.clear_bridge_peers(first, other)
    if isinstance(gone, Redirected):
        gone.go(call)
    switch.leave_bridge(bridge, first)
    if first is callee:
        end_leg(call, callee, gone.cause, gone)
    switch.leave_bridge(bridge, other)
    switch.destroy_bridge(bridge)
    if other is callee:
        end_leg(call, callee, 16)
    return gone
