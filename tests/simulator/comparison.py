"""
Compares what the simulator says with what a real Asterisk said in the same situation.

A real PBX is many threads: the events of one channel come in order, those of two channels interleave as the
machine pleases. So histories are compared strand by strand: a strand is what was told of one channel, one
device or one queue member, with names, ids, times and figures of quality replaced by marks.
"""

import re
from pathlib import Path

Message = list[tuple[str, str]]
CAPTURES = Path(__file__).parent / "captures"

# Debian builds Asterisk with its test framework, which tells of its own doings.
_IGNORED = {"TestEvent", "RTCPSent", "RTCPReceived"}
_TIMES = re.compile(r"^(RINGTIME|ANSWEREDTIME|DIALEDTIME|PROGRESSTIME|QUEUEWAIT)(_MS)?$")
_FIGURES = {
    "HoldTime", "TalkTime", "InCall", "RingTime", "LoginTime", "LastCall", "CallsTaken", "Wait", "Timestamp",
    "Uptime",
    "LastReload", "Duration",
    "Challenge", "SessionID", "EventTV", "SessionTV",
}  # fmt: skip


def capture_folders() -> list[Path]:
    """A folder for each version of Asterisk that was recorded."""
    return sorted(CAPTURES.iterdir())


def messages(data: bytes) -> list[Message]:
    """The messages of a stream of bytes (of well-formed ones: what both sides send)."""
    found = []
    for block in data.decode().split("\r\n\r\n"):
        lines = [
            line for line in block.split("\r\n") if line and not line.startswith("Asterisk Call Manager/")
        ]
        if lines:
            found.append([(name, value) for name, _, value in (line.partition(": ") for line in lines)])
    return found


def events(data: bytes) -> list[Message]:
    """Its events, without items of lists and those that only a build for tests makes."""
    return [
        message
        for message in messages(data)
        if message[0][0] == "Event" and message[0][1] not in _IGNORED and ("Privilege" in dict(message))
    ]


class Normaliser:
    """Replaces what differs from run to run by marks that stay the same over one history."""

    def __init__(self) -> None:
        self.marks: dict[str, str] = {}

    def mark(self, kind: str, value: str) -> str:
        if value not in self.marks:
            count = sum(1 for mark in self.marks.values() if mark.startswith(kind))
            self.marks[value] = f"{kind}{count + 1}"
        return self.marks[value]

    def value(self, name: str, value: str, variable: str) -> str:
        if re.fullmatch(r"\d{9,}\.\d+", value):
            return self.mark("uniqueid ", value)
        if name in {"BridgeUniqueid", "BridgeId"} and value:
            return self.mark("bridge ", value)
        if name in _FIGURES:
            return "figure"
        if name == "Value":
            if variable == "BRIDGEPVTCALLID":
                return "call-id" if value else ""
            if variable.startswith("RTPAUDIOQOS") or (_TIMES.match(variable) and value):
                return "figure"
        return re.sub(
            r"\b(PJSIP|Local|CBAnn)/([\w@]+)-[0-9a-f]{8}", lambda m: self.mark(f"{m[1]}/{m[2]} ", m[0]), value
        )

    def message(self, message: Message) -> Message:
        variable = dict(message).get("Variable", "")
        return [(name, self.value(name, value, variable)) for name, value in message]


def strand_of(message: Message) -> str:
    """Which strand an event belongs to."""
    fields = dict(message)
    name = fields["Event"]
    if name in {"NewCallerid", "NewConnectedLine"}:
        return f"identity of {fields['Channel']}"
    if name in {"Hold", "Unhold"}:
        return f"hold of {fields['Channel']}"
    if name == "AgentComplete":
        return f"end of {fields['DestChannel']} in {fields['Queue']}"
    if name == "DialState":
        return f"ringing of {fields['DestChannel']}"
    if name == "OriginateResponse":
        return "originate"
    if name.startswith("Dial"):
        return fields.get("Channel") or f"dialling of {fields['DestChannel']}"
    if name == "LocalBridge":
        return fields["LocalOneChannel"]
    if name.startswith("Confbridge"):
        return f"conference {fields['Conference']}"
    if name in {"BridgeCreate", "BridgeDestroy"}:
        return fields["BridgeUniqueid"]
    if name == "QueueMemberStatus":
        return f"member {fields['Interface']} of {fields['Queue']}"
    if name == "ExtensionStatus":
        return f"hint {fields['Exten']}"
    if name == "DeviceStateChange":
        return f"device {fields['Device']}"
    return fields.get("Channel", name)


def strands(history: list[Message]) -> dict[str, list[Message]]:
    """The events of a history by strand, normalised."""
    normaliser = Normaliser()
    found: dict[str, list[Message]] = {}
    for message in history:
        normal = normaliser.message(message)
        found.setdefault(strand_of(normal), []).append(normal)
    return found


def is_told_alike(message: Message) -> bool:
    """False of what a real PBX tells differently each time: states of devices that only exist for a call."""
    return not re.match(r"(Local|CBAnn)/", dict(message).get("Device", ""))


def comparable(message: Message) -> Message:
    """The message without what depends on which thread of a real PBX was quicker."""
    name, of_local = message[0][1], dict(message).get("Channel", "").startswith("Local/")
    dropped: set[str] = set()
    if name.startswith(("Dial", "Agent")):
        # Shown as it is when the event is made, which may be a moment after or before the phone rings.
        dropped = {"DestChannelState", "DestChannelStateDesc", "DestExten"}
        dropped |= {"DestConnectedLineNum", "DestConnectedLineName"}
    elif of_local:
        # Learnt from the channel behind it, by and by.
        dropped = {"CallerIDNum", "CallerIDName"}
    return [(header, value) for header, value in message if header not in dropped]
