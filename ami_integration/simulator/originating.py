"""
Originate: call a phone or a Local channel, and let it run an extension or an application once it answers.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from ami_integration.simulator.calls import Call, HungUp, Redirected
from ami_integration.simulator.channels import UNKNOWN, Channel, State
from ami_integration.simulator.company import Phone, Plan
from ami_integration.simulator.dialling import NETWORK, Steps, Wait
from ami_integration.simulator.dialplan import run_dialplan
from ami_integration.simulator.office import Office
from ami_integration.simulator.people import some_plan
from ami_integration.simulator.wire import EventClass, Header


@dataclass(eq=False)
class Originate:
    """An Originate that passed its checks. ``done`` hears once whether it was answered, and AMI's reason."""

    channel: str
    context: str = ""
    exten: str = ""
    priority: int = 1
    application: str = ""
    data: str = ""
    timeout: float = 30.0
    caller: tuple[str, str] | None = None
    account: str = ""
    variables: list[Header] = field(default_factory=list)
    channel_id: str = ""
    other_channel_id: str = ""
    done: Callable[["Originate", bool, int], None] = lambda originate, success, reason: None
    made: Channel | None = None


def originate(office: Office, wanted: Originate, plan: Plan | None = None) -> Call:
    """Start it; ``plan`` says what the called people do, by chance if None."""
    call = OriginateCall(office)
    call.start(_originate(call, wanted, plan or some_plan(office)))
    return call


class OriginateCall(Call):
    """The call of an Originate; of a Local channel, it has ;1 and knows the call that has ;2."""

    inner: "LocalCall | None" = None

    def channel_changed(self, channel: Channel) -> None:
        """Passes on to ;2 what ;1 learns."""
        if self.inner is not None and channel is self.inner.one:
            self.inner.other_end_changed()
        super().channel_changed(channel)


def _originate(call: OriginateCall, wanted: Originate, plan: Plan) -> Steps:
    office, switch = call.office, call.office.switch
    technology, _, address = wanted.channel.partition("/")
    taken = any(switch.uniqueid_taken(own) for own in (wanted.channel_id, wanted.other_channel_id) if own)
    if technology == "Local":
        exten, _, context = address.partition("/")[0].partition("@")
        possible = office.extension_exists(context or "default", exten)
    else:
        possible = technology == "PJSIP" and address in office.phones
    if taken or not possible:
        wanted.done(wanted, False, 0)
        return
    switch.calls_processed += 1
    if technology == "Local":
        channel, inner = _make_local(call, wanted, f"Local/{exten}@{context}", context, exten, plan)
        call.inner = inner
        yield from _run_or_redirect(call, channel, wanted, plan, _wait_for_local(call, channel, wanted))
        inner.other_end_gone()
    else:
        channel = _make_phone_channel(call, wanted, office.phones[address])
        yield from _run_or_redirect(call, channel, wanted, plan, _ring_phone(call, channel, wanted, plan))


def _run_or_redirect(
    call: Call, channel: Channel, wanted: Originate, plan: Plan, ringing: Generator[Wait, None, bool]
) -> Steps:
    """What the channel does once ``ringing`` says that it was answered, or where it was sent before that."""
    try:
        answered = yield from ringing
        if answered:
            yield from _run_originated(call, channel, wanted, plan)
    except Redirected as redirected:
        # It had no dialplan of its own until now, so nothing is told of what it did.
        channel.application = ""
        redirected.go(call)
        yield from run_dialplan(call, channel, plan)


def _run_originated(call: Call, channel: Channel, wanted: Originate, plan: Plan) -> Steps:
    """The answered channel runs the application or the extension that was asked for."""
    switch = call.office.switch
    if not wanted.application:
        channel.context, channel.exten, channel.priority = wanted.context, wanted.exten, wanted.priority
        wanted.done(wanted, True, 4)
        yield from run_dialplan(call, channel, plan)
        return
    channel.application, channel.application_data = wanted.application, wanted.data
    wanted.done(wanted, True, 4)
    cause = 0
    try:
        yield _application_seconds(wanted)
    except Redirected:
        raise
    except HungUp as hung_up:
        cause = hung_up.cause
    switch.hang_up(channel, cause)


def _application_seconds(wanted: Originate) -> float:
    """How long an application keeps the channel: Wait() as told, any other ten seconds."""
    try:
        return min(3600.0, max(0.0, float(wanted.data))) if wanted.application.lower() == "wait" else 10.0
    except ValueError:
        return 0.0


def tell_outcome(office: Office, action_id: str) -> Callable[[Originate, bool, int], None]:
    """A ``done`` that tells everybody with OriginateResponse."""

    def tell(wanted: Originate, success: bool, reason: int) -> None:
        office.switch.tell(
            "OriginateResponse", EventClass.CALL, _response(wanted, action_id, success, reason)
        )

    return tell


def _response(wanted: Originate, action_id: str, success: bool, reason: int) -> list[Header]:
    channel = wanted.made if success else None
    caller = wanted.caller or (UNKNOWN, UNKNOWN)
    target: list[Header] = [("Context", wanted.context), ("Exten", wanted.exten)]
    if wanted.application:
        target = [("Application", wanted.application), ("Data", wanted.data)]
    return [
        *([("ActionID", action_id)] if action_id else []),
        ("Response", "Success" if success else "Failure"),
        ("Channel", channel.name if channel else wanted.channel),
        *target,
        ("Reason", str(reason)),
        ("Uniqueid", channel.uniqueid if channel else UNKNOWN),
        ("CallerIDNum", caller[0]),
        ("CallerIDName", caller[1]),
    ]


def _dress(call: Call, channel: Channel, wanted: Originate) -> None:
    switch = call.office.switch
    switch.set_variable(channel, *wanted.variables)
    if wanted.caller is not None:
        switch.set_caller(channel, wanted.caller)
        switch.set_connected(channel, wanted.caller)


def _make_phone_channel(call: Call, wanted: Originate, phone: Phone) -> Channel:
    switch = call.office.switch
    channel = switch.new_channel(
        phone.device,
        call,
        context="office",
        exten="s",
        caller=(phone.number, phone.name),
        uniqueid=wanted.channel_id,
        account=wanted.account,
    )
    wanted.made = channel
    switch.execute(channel, "AppDial2", "(Outgoing Line)")
    _dress(call, channel, wanted)
    switch.dial_event("DialBegin", None, channel, ("DialString", phone.number))
    return channel


def _ring_phone(call: Call, channel: Channel, wanted: Originate, plan: Plan) -> Generator[Wait, None, bool]:
    switch = call.office.switch
    busy = plan.busy or len(switch.channels_of(channel.device)) > 1
    try:
        yield NETWORK
        if busy:
            channel.tech_cause = "486"
            switch.request_hangup(channel, 17)
            switch.dial_event("DialEnd", None, channel, ("DialStatus", "BUSY"))
            wanted.done(wanted, False, 0)
            switch.hang_up(channel, 17)
            return False
        switch.set_state(channel, State.RINGING)
        switch.dial_event("DialState", None, channel, ("DialStatus", "RINGING"))
        in_time = plan.answer is not None and plan.answer < wanted.timeout
        yield plan.answer if in_time and plan.answer is not None else wanted.timeout
    except Redirected:
        wanted.done(wanted, False, 0)
        raise
    except HungUp as hung_up:
        switch.dial_event("DialEnd", None, channel, ("DialStatus", "NOANSWER"))
        wanted.done(wanted, False, 0)
        switch.hang_up(channel, hung_up.cause)
        return False
    if not in_time:
        wanted.done(wanted, False, 3)
        channel.tech_cause = "480"
        switch.hang_up(channel, 19)
        return False
    switch.set_state(channel, State.UP)
    switch.dial_event("DialEnd", None, channel, ("DialStatus", "ANSWER"))
    return True


def _make_local(
    call: Call, wanted: Originate, device: str, context: str, exten: str, plan: Plan
) -> "tuple[Channel, LocalCall]":
    """The ends of a Local channel: ;1 is the originated one, ;2 runs the dialplan in a call of its own."""
    switch = call.office.switch
    inner = LocalCall(call.office)
    one = switch.new_channel(
        device,
        call,
        suffix=";1",
        context=context,
        exten=exten,
        uniqueid=wanted.channel_id,
        account=wanted.account,
    )
    wanted.made = one
    two = switch.new_channel(
        device,
        inner,
        suffix=";2",
        state=State.RING,
        context=context,
        exten=exten,
        uniqueid=wanted.other_channel_id,
        linked=one,
        account=wanted.account,
    )
    inner.one, inner.two = one, two
    switch.execute(one, "AppDial2", "(Outgoing Line)")
    _dress(call, one, wanted)
    _dress(call, two, wanted)
    switch.tell(
        "LocalBridge",
        EventClass.CALL,
        [
            *one.snapshot("LocalOne"),
            *two.snapshot("LocalTwo"),
            ("Context", context),
            ("Exten", exten),
            ("LocalOptimization", "Yes"),
        ],
    )
    switch.dial_event("DialBegin", None, one, ("DialString", f"{exten}@{context}"))
    inner.start(run_dialplan(inner, two, plan))
    return one, inner


class LocalCall(Call):
    """The call behind a Local channel's ;2: it shares ;1's fate, and each learns who is behind the other."""

    one: Channel
    two: Channel

    def channel_changed(self, channel: Channel) -> None:
        """Hears of ;2 and of the phone that it dials."""
        switch, one, two = self.office.switch, self.one, self.two
        if one.gone:
            pass
        elif channel is two and two.gone:
            if two.dial_status:
                switch.set_variable(one, ("CHANLOCALSTATUS", two.dial_status))
            if one.state is State.DOWN and two.connected[0] not in (UNKNOWN, one.caller[0]):
                switch.set_caller(one, two.connected)
            switch.request_hangup(one, two.cause)
            one.owner.hang_up_requested(one, two.cause)
        elif channel is two and two.state is State.UP and one.state is not State.UP:
            switch.set_state(one, State.UP)
        elif channel is not two and channel.state is State.RINGING and one.state is State.DOWN:
            one.caller = channel.caller
            switch.set_state(one, State.RINGING)
            switch.set_caller(one, channel.caller)
        super().channel_changed(channel)

    def other_end_changed(self) -> None:
        """;1 is connected with somebody else: ;2 calls itself so, and the phone behind it shows it."""
        if self.one.gone or self.two.gone or self.two.bridge is None or self.two.caller == self.one.connected:
            return
        switch = self.office.switch
        switch.set_caller(self.two, self.one.connected)
        for channel in self.two.bridge.channels:
            if channel is not self.two:
                switch.set_connected(channel, self.one.connected)

    def other_end_gone(self) -> None:
        """;1 has ended, so ;2 does."""
        if not self.two.gone:
            self.office.switch.request_hangup(self.two, self.one.cause)
            self.hang_up_requested(self.two, self.one.cause)


def _wait_for_local(call: Call, channel: Channel, wanted: Originate) -> Generator[Wait, None, bool]:
    office, switch = call.office, call.office.switch
    deadline = office.time + wanted.timeout
    rang = False
    call.listening = True
    try:
        while channel.state is not State.UP and office.time < deadline:
            if channel.state is State.RINGING and not rang:
                rang = True
                switch.dial_event("DialState", None, channel, ("DialStatus", "RINGING"))
            yield deadline - office.time
    except Redirected:
        wanted.done(wanted, False, 0)
        raise
    except HungUp as hung_up:
        switch.dial_event(
            "DialEnd", None, channel, ("DialStatus", "BUSY" if hung_up.cause == 17 else "NOANSWER")
        )
        wanted.done(wanted, False, 0)
        switch.hang_up(channel, hung_up.cause)
        return False
    finally:
        call.listening = False
    if channel.state is State.UP:
        switch.dial_event("DialEnd", None, channel, ("DialStatus", "ANSWER"))
        return True
    wanted.done(wanted, False, 3)
    switch.hang_up(channel, 19)
    return False
