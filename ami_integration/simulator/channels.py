"""Channels and bridges: what is known of them, as the headers of events and lists show it."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from ami_integration.simulator.wire import Header

if TYPE_CHECKING:
    from ami_integration.simulator.calls import HungUp

UNKNOWN = "<unknown>"


class State(IntEnum):
    """Channel states, with Asterisk's numbers."""

    DOWN = 0
    RING = 4
    RINGING = 5
    UP = 6


CAUSES = {
    0: "Unknown",
    16: "Normal Clearing",
    17: "User busy",
    19: "User alerting, no answer",
    26: "Answered elsewhere",
    127: "Interworking, unspecified",
}

# Device state -> (ExtensionStatus number, its text, app_queue's number)
DEVICE_STATES: dict[str, tuple[int, str, int]] = {
    "UNKNOWN": (0, "Idle", 0),
    "NOT_INUSE": (0, "Idle", 1),
    "INUSE": (1, "InUse", 2),
    "BUSY": (2, "Busy", 3),
    "INVALID": (4, "Unavailable", 4),
    "UNAVAILABLE": (4, "Unavailable", 5),
    "RINGING": (8, "Ringing", 6),
    "RINGINUSE": (9, "InUse&Ringing", 7),
    "ONHOLD": (16, "Hold", 8),
}


class ChannelOwner(Protocol):
    """What moves a channel and wants to hear when it answers, ends, or is asked to end."""

    def channel_changed(self, channel: "Channel") -> None: ...

    def hang_up_requested(self, channel: "Channel", cause: int) -> None: ...

    def interrupt(self, hung_up: "HungUp") -> None: ...


@dataclass(eq=False)
class Channel:
    """One channel; the fields are the headers of a channel snapshot."""

    name: str
    uniqueid: str
    linkedid: str
    device: str
    created: float
    owner: ChannelOwner
    state: State = State.DOWN
    caller: tuple[str, str] = (UNKNOWN, UNKNOWN)
    connected: tuple[str, str] = (UNKNOWN, UNKNOWN)
    account: str = ""
    context: str = ""
    exten: str = ""
    priority: int = 1
    application: str = ""
    application_data: str = ""
    tech_cause: str = ""
    call_id: str = ""
    on_hold: bool = False
    bridge: "Bridge | None" = None
    gone: bool = False
    cause: int = 0
    quality_told: bool = False
    dial_status: str = ""
    language: str = "en"
    variables: dict[str, str] = field(default_factory=dict)
    answered: float = 0.0
    hears_music: bool = False
    place_told: bool = False
    """Whether Newexten has told of the place that it was sent to, so that its first step there isn't told."""

    @property
    def is_sip(self) -> bool:
        return self.name.startswith("PJSIP/")

    def snapshot(self, prefix: str = "") -> list[Header]:
        """Its headers as every channel event carries them."""
        values = (
            ("Channel", self.name),
            ("ChannelState", str(int(self.state))),
            ("ChannelStateDesc", self.state.name.capitalize()),
            ("CallerIDNum", self.caller[0]),
            ("CallerIDName", self.caller[1]),
            ("ConnectedLineNum", self.connected[0]),
            ("ConnectedLineName", self.connected[1]),
            ("Language", self.language),
            ("AccountCode", self.account),
            ("Context", self.context),
            ("Exten", self.exten),
            ("Priority", str(self.priority)),
            ("Uniqueid", self.uniqueid),
            ("Linkedid", self.linkedid),
        )
        return [(prefix + name, value) for name, value in values]


@dataclass(eq=False)
class Bridge:
    """One bridge and the channels in it."""

    uniqueid: str
    type: str = "basic"
    technology: str = "simple_bridge"
    creator: str = UNKNOWN
    name: str = UNKNOWN
    channels: list[Channel] = field(default_factory=list)
    invisible: int = 0
    """Channels that count and make no events: a conference's announcer."""

    def snapshot(self) -> list[Header]:
        """Its headers as every bridge event carries them."""
        return [
            ("BridgeUniqueid", self.uniqueid),
            ("BridgeType", self.type),
            ("BridgeTechnology", self.technology),
            ("BridgeCreator", self.creator),
            ("BridgeName", self.name),
            ("BridgeNumChannels", str(len(self.channels) + self.invisible)),
            ("BridgeVideoSourceMode", "none"),
        ]
