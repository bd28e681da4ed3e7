"""
Channels, bridges and devices, and the events that each change of theirs makes.

The switch knows nothing of people or of what a call is: calls.py moves channels about and the switch tells
of it as Asterisk does. Header names, their order and the moments at which a device's state is looked at are
those of the captures in tests/simulator/captures. Where threads of a real PBX race (a device's state
against the channel's next event, one end's hangup against the other's), one order that was seen is always
taken, so that a seed gives one history.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable

from ami_integration.simulator.channels import CAUSES, UNKNOWN, Bridge, Channel, ChannelOwner, State
from ami_integration.simulator.wire import Event, EventClass, Header

_QUALITY = {
    "": "ssrc={ssrc};themssrc={themssrc};lp=0;rxjitter=0.000000;rxcount={packets};txjitter=0.000000;"
    "txcount={packets};rlp=0;rtt=0.000000;rxmes=88.2;txmes=88.2",
    "JITTER": "minrxjitter=000.000000;maxrxjitter=000.000000;avgrxjitter=000.000000;stdevrxjitter=000.000000;"
    "mintxjitter=000.000000;maxtxjitter=000.000000;avgtxjitter=000.000000;stdevtxjitter=000.000000;",
    "LOSS": "  minrxlost=000.000000;  maxrxlost=000.000000;  avgrxlost=000.000000;  stdevrxlost=000.000000;"
    "  mintxlost=000.000000;  maxtxlost=000.000000;  avgtxlost=000.000000;  stdevtxlost=000.000000;",
    "RTT": "     minrtt=000.000000;     maxrtt=000.000000;     avgrtt=000.000000;     stdevrtt=000.000000;",
    "MES": "   minrxmes=088.200000;   maxrxmes=088.200000;   avgrxmes=088.200000;   stdevrxmes=000.000000;"
    "   mintxmes=088.200000;   maxtxmes=088.200000;   avgtxmes=088.200000;   stdevtxmes=000.000000;",
}


class Switch:
    """All channels and bridges of the PBX. Every method makes its events at once."""

    def __init__(
        self, *, now: Callable[[], float], emit: Callable[[Event], None], rng: random.Random
    ) -> None:
        """``now`` gives the office's time; ``emit`` takes each event; ``rng`` makes call and bridge ids."""
        self.now = now
        self.emit = emit
        self.rng = rng
        self.channels: dict[str, Channel] = {}
        self.calls_processed = 0
        self.on_device: Callable[[str, str], None] = lambda device, state: None
        self._unique = 0
        self._serials: Counter[str] = Counter()
        self._devices: dict[str, str] = {}
        self._by_device: dict[str, list[Channel]] = {}

    # -- events -----------------------------------------------------------------------------------

    def tell(self, name: str, classes: EventClass, headers: Iterable[Header]) -> None:
        """Emit an event."""
        self.emit(Event(name, classes, tuple(headers)))

    def tell_channel(
        self, name: str, channel: Channel, *headers: Header, classes: EventClass = EventClass.CALL
    ) -> None:
        """Emit an event about a channel: its snapshot, then more headers."""
        self.tell(name, classes, [*channel.snapshot(), *headers])

    def set_variable(self, channel: Channel, *variables: Header) -> None:
        """VarSet, for each."""
        for name, value in variables:
            own = (
                name.lstrip("_") if name.startswith("_") else name
            )  # how a variable says that it is inherited
            channel.variables.pop(own, None)
            channel.variables[own] = value
            if name == "DIALSTATUS":
                channel.dial_status = value
            self.tell_channel(
                "VarSet", channel, ("Variable", name), ("Value", value), classes=EventClass.DIALPLAN
            )

    # -- channels ---------------------------------------------------------------------------------

    def make_uuid(self) -> str:
        """A UUID of this office's own chance."""
        text = f"{self.rng.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def find(self, name: str) -> Channel | None:
        """The channel of that name, in any case, or of that uniqueid: whatever an action may call it."""
        lowered = name.lower()
        by_name = (channel for channel in self.channels.values() if channel.name.lower() == lowered)
        by_id = (channel for channel in self.channels.values() if channel.uniqueid == name)
        return self.channels.get(name) or next(by_name, None) or next(by_id, None)

    def uniqueid_taken(self, uniqueid: str) -> bool:
        """Whether a live channel has that id."""
        return any(channel.uniqueid == uniqueid for channel in self.channels.values())

    def new_channel(
        self,
        device: str,
        owner: ChannelOwner,
        *,
        suffix: str = "",
        state: State = State.DOWN,
        context: str,
        exten: str,
        caller: tuple[str, str] = (UNKNOWN, UNKNOWN),
        uniqueid: str = "",
        linked: Channel | None = None,
        account: str = "",
    ) -> Channel:
        """Newchannel. ``device``: ``PJSIP/100``, ``Local/100@office``; ``suffix``: end of a Local pair."""
        technology = device.partition("/")[0]
        if suffix == ";2":
            serial = self._serials[technology] - 1
        else:
            serial = self._serials[technology]
            self._serials[technology] += 1
        uniqueid = uniqueid or f"{int(self.now())}.{self._unique}"
        self._unique += 1
        channel = Channel(
            name=f"{device}-{serial:08x}{suffix}",
            uniqueid=uniqueid,
            linkedid=linked.linkedid if linked else uniqueid,
            device=device,
            created=self.now(),
            owner=owner,
            state=state,
            caller=caller,
            context=context,
            exten=exten,
            account=account,
            call_id=self.make_uuid() if technology == "PJSIP" else "",
        )
        self.channels[channel.name] = channel
        self._by_device.setdefault(device, []).append(channel)
        self.tell_channel("Newchannel", channel)
        return channel

    def set_state(self, channel: Channel, state: State) -> None:
        """Newstate, then what it does to the device."""
        channel.state = state
        if state is State.UP:
            channel.answered = self.now()
        self.tell_channel("Newstate", channel)
        self.look_at_device(channel.device)
        channel.owner.channel_changed(channel)

    def execute(
        self, channel: Channel, application: str, data: str = "", *, exten: str | None = None
    ) -> None:
        """Newexten: the channel runs an application."""
        channel.application, channel.application_data = application, data
        told, channel.place_told = channel.place_told, False
        if told:
            return
        self.tell_channel(
            "Newexten",
            channel,
            ("Extension", channel.exten if exten is None else exten),
            ("Application", application),
            ("AppData", data),
            classes=EventClass.DIALPLAN,
        )

    def send_to(self, channel: Channel, context: str, exten: str, priority: int) -> None:
        """The channel's next step is elsewhere. Newexten tells at once, still with what it did until now."""
        channel.context, channel.exten, channel.priority = context, exten, priority
        if channel.application:
            self.execute(channel, channel.application, channel.application_data)
            channel.place_told = True

    def set_caller(self, channel: Channel, caller: tuple[str, str]) -> None:
        """NewCallerid."""
        channel.caller = caller
        presentation = ("CID-CallingPres", "0 (Presentation Allowed, Not Screened)")
        self.tell_channel("NewCallerid", channel, presentation)

    def set_connected(self, channel: Channel, connected: tuple[str, str]) -> None:
        """NewConnectedLine."""
        channel.connected = connected
        self.tell_channel("NewConnectedLine", channel)
        channel.owner.channel_changed(channel)

    def hang_up(self, channel: Channel, cause: int) -> None:
        """Hangup: the channel is gone, after its last statistics."""
        self.report_quality(channel)
        channel.gone = True
        channel.cause = cause
        channel.bridge = None
        del self.channels[channel.name]
        self._by_device[channel.device].remove(channel)
        headers = [("Cause", str(cause)), ("Cause-txt", CAUSES.get(cause, CAUSES[127]))]
        if channel.tech_cause:
            headers.append(("TechCause", channel.tech_cause))
        self.tell_channel("Hangup", channel, *headers)
        self.look_at_device(channel.device)
        channel.owner.channel_changed(channel)

    def request_hangup(self, channel: Channel, cause: int | None, *, soft: bool = False) -> None:
        """HangupRequest (the far end wants it) or SoftHangupRequest (the dialplan is done)."""
        headers = [] if cause is None else [("Cause", str(cause))]
        if channel.tech_cause:
            headers.append(("TechCause", channel.tech_cause))
        self.tell_channel("SoftHangupRequest" if soft else "HangupRequest", channel, *headers)

    def hold(self, channel: Channel, other: Channel) -> None:
        """The channel's user puts the other one on hold."""
        self.tell_channel("Hold", channel, ("MusicClass", "default"))
        self.set_bridge_peers(channel, other)
        self.start_music(other)
        other.on_hold = True
        self.look_at_device(other.device)

    def unhold(self, channel: Channel, other: Channel) -> None:
        """The channel's user takes the other one back."""
        self.tell_channel("Unhold", channel)
        self.set_bridge_peers(channel, other)
        self.stop_music(other)
        other.on_hold = False
        self.look_at_device(other.device)

    def start_music(self, channel: Channel) -> None:
        """MusicOnHoldStart."""
        channel.hears_music = True
        self.tell_channel("MusicOnHoldStart", channel, ("Class", "default"))

    def stop_music(self, channel: Channel) -> None:
        """MusicOnHoldStop."""
        channel.hears_music = False
        self.tell_channel("MusicOnHoldStop", channel)

    def report_quality(self, channel: Channel, bridged: Channel | None = None) -> None:
        """The RTP statistics that a SIP channel leaves in variables when its call ends."""
        if not channel.is_sip or channel.state is not State.UP or channel.quality_told:
            return
        channel.quality_told = True
        packets = int(max(0.0, self.now() - channel.created) * 50)
        values = {"ssrc": self.rng.getrandbits(31), "themssrc": self.rng.getrandbits(31), "packets": packets}
        for suffix, text in _QUALITY.items():
            value = text.format(**values)
            self.set_variable(channel, (f"RTPAUDIOQOS{suffix}", value))
            if bridged is not None:
                self.set_variable(bridged, (f"RTPAUDIOQOS{suffix}BRIDGED", value))

    # -- dialling ---------------------------------------------------------------------------------

    def dial_event(self, name: str, caller: Channel | None, callee: Channel, *headers: Header) -> None:
        """DialBegin, DialState or DialEnd; without a caller when an Originate dials."""
        both = [*(caller.snapshot() if caller else []), *callee.snapshot("Dest")]
        self.tell(name, EventClass.CALL, [*both, *headers])

    # -- bridges ----------------------------------------------------------------------------------

    def create_bridge(self, bridge: Bridge | None = None) -> Bridge:
        """BridgeCreate; of a two-party bridge if none is given."""
        bridge = bridge or Bridge(self.make_uuid())
        self.tell("BridgeCreate", EventClass.CALL, bridge.snapshot())
        return bridge

    def enter_bridge(self, bridge: Bridge, channel: Channel) -> None:
        """BridgeEnter; two calls that become one take the older linkedid, those in a conference don't."""
        bridge.channels.append(channel)
        channel.bridge = bridge
        if bridge.type == "basic":
            oldest = min((other.linkedid for other in bridge.channels), key=_age)
            for other in bridge.channels:
                other.linkedid = oldest
        self.tell("BridgeEnter", EventClass.CALL, [*bridge.snapshot(), *channel.snapshot()])

    def leave_bridge(self, bridge: Bridge, channel: Channel) -> None:
        """BridgeLeave."""
        bridge.channels.remove(channel)
        channel.bridge = None
        self.tell("BridgeLeave", EventClass.CALL, [*bridge.snapshot(), *channel.snapshot()])

    def destroy_bridge(self, bridge: Bridge) -> None:
        """BridgeDestroy."""
        bridge.invisible = 0
        self.tell("BridgeDestroy", EventClass.CALL, bridge.snapshot())

    def set_bridge_peers(self, first: Channel, second: Channel) -> None:
        """The variables that name the other end of a two-party bridge, set on both."""
        for channel, peer in ((first, second), (second, first)):
            self.set_variable(channel, ("BRIDGEPEER", peer.name))
            if peer.call_id:
                self.set_variable(channel, ("BRIDGEPVTCALLID", peer.call_id))

    def clear_bridge_peers(self, first: Channel, second: Channel) -> None:
        """And emptied again."""
        for channel, peer in ((first, second), (second, first)):
            self.set_variable(channel, ("BRIDGEPEER", ""))
            if peer.call_id:
                self.set_variable(channel, ("BRIDGEPVTCALLID", ""))

    # -- devices ----------------------------------------------------------------------------------

    def channels_of(self, device: str) -> list[Channel]:
        """The live channels of a device."""
        return self._by_device.get(device, [])

    def device_state(self, device: str) -> str:
        """What a device's channels make of it now."""
        channels = self.channels_of(device)
        if not channels:
            return "NOT_INUSE"
        ringing = [channel for channel in channels if channel.state is State.RINGING]
        if len(ringing) == len(channels) and not device.startswith("Local/"):
            return "RINGING"
        if ringing and not device.startswith("Local/"):
            return "RINGINUSE"
        return "ONHOLD" if all(channel.on_hold for channel in channels) else "INUSE"

    def known_device_state(self, device: str) -> str:
        """The state that was last told."""
        return self._devices.get(device, "NOT_INUSE")

    def look_at_device(self, device: str) -> None:
        """Tell a device's state if it changed."""
        self.set_device(device, self.device_state(device))

    def set_device(self, device: str, state: str) -> None:
        """DeviceStateChange, if it is one; ``on_device`` hears of it."""
        if self.known_device_state(device) == state:
            return
        if state == "NOT_INUSE":
            self._devices.pop(device, None)
        else:
            self._devices[device] = state
        self.tell("DeviceStateChange", EventClass.CALL, [("Device", device), ("State", state)])
        self.on_device(device, state)

    def announce_device(self, device: str, state: str) -> None:
        """Tell a device's state if it changed or was never told."""
        if self._devices.get(device) == state:
            return
        self._devices[device] = state
        self.tell("DeviceStateChange", EventClass.CALL, [("Device", device), ("State", state)])

    @property
    def devices(self) -> dict[str, str]:
        """The states that were told and are known still."""
        return self._devices


def _age(uniqueid: str) -> tuple[float, int]:
    """Sorts ids by the time and count in them; one that a client chose counts as newest."""
    seconds, _, count = uniqueid.partition(".")
    return (int(seconds), int(count)) if seconds.isdigit() and count.isdigit() else (float("inf"), 0)
