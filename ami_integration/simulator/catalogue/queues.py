"""Queues: the actions and what they tell."""

from ami_integration.simulator.catalogue.headers import CHANNEL, DEST
from ami_integration.simulator.catalogue.pages import Argument, Description, EventDescription
from ami_integration.simulator.wire import EventClass

_QUEUE = Argument("Queue", "Name of the queue.", True)
_INTERFACE = Argument("Interface", "The member's device, such as PJSIP/100.", True)

ACTIONS = (
    Description(
        "QueueAdd",
        "Add a member to a queue.",
        "Takes a device into a queue, until QueueRemove takes it out again.",
        EventClass.AGENT,
        (
            _QUEUE,
            _INTERFACE,
            Argument("Penalty", "Members of a higher penalty are called only if no other is free."),
            Argument("Paused", "Whether the member begins with a pause (true/false or 1/0)."),
            Argument("Reason", "Why, if it does."),
            Argument("MemberName", "Name of the member; without it, the device."),
            Argument(
                "StateInterface", "Device whose state tells whether the member is free, if it is another one."
            ),
        ),
        since="1.0.0",
    ),
    Description(
        "QueuePause",
        "Let a member pause or go on.",
        "A member that pauses is not called, by one queue or by any.",
        EventClass.AGENT,
        (
            _INTERFACE,
            Argument("Paused", "Whether it pauses or not (true/false or 1/0).", True),
            Argument("Queue", "Only in this queue; without it, in all that it is a member of."),
            Argument("Reason", "Why, for the event QueueMemberPause."),
        ),
        since="1.2.0",
    ),
    Description(
        "QueuePenalty",
        "Change a member's penalty.",
        "Members of a higher penalty are called only if no other is free.",
        EventClass.AGENT,
        (
            _INTERFACE,
            Argument("Penalty", "The new penalty, a number from 0.", True),
            Argument("Queue", "Only in this queue; without it, in all that it is a member of."),
        ),
        since="1.6.0",
    ),
    Description(
        "QueueRemove",
        "Take a member out of a queue.",
        "Works for members that came by QueueAdd, not for those of queues.conf.",
        EventClass.AGENT,
        (_QUEUE, _INTERFACE),
        since="1.0.0",
    ),
    Description(
        "QueueStatus",
        "Show queues, their members and their callers.",
        "Lists one queue or all, each with its figures, its members and the callers in it.",
        arguments=(
            Argument("Queue", "Only the queue of this name."),
            Argument("Member", "Only the member of this interface."),
        ),
        since="0.5.0",
    ),
    Description(
        "QueueSummary",
        "Show queues in a few figures.",
        "Lists one queue or all, each with how many members and callers it has and how long they wait.",
        arguments=(Argument("Queue", "Only the queue of this name."),),
        since="1.6.0",
    ),
)  # fmt: skip

_MEMBER = (
    "Queue", "MemberName", "Interface", "StateInterface", "Membership", "Penalty", "CallsTaken", "LastCall",
    "LastPause", "LoginTime", "InCall", "Status", "Paused", "PausedReason", "Ringinuse", "Wrapuptime",
)  # fmt: skip
_ABOUT_A_MEMBER = (
    Argument("StateInterface", "Device whose state tells whether the member is free."),
    Argument("Membership", "How it became one.", values=("dynamic", "realtime", "static")),
    Argument("Penalty", "Members of a higher penalty are called only if no other is free."),
    Argument("CallsTaken", "How many calls it has answered."),
    Argument("LastCall", "When the last one ended, in seconds since 1970."),
    Argument("LastPause", "When its last pause began, in seconds since 1970."),
    Argument("LoginTime", "Since when it has been one, in seconds since 1970."),
    Argument("InCall", "Whether it talks with a caller of this queue.", values=("0", "1")),
    Argument(
        "Status",
        "What its device does.",
        values=(
            "0 - Not known.",
            "1 - Free.",
            "2 - In use.",
            "3 - Busy.",
            "4 - There is no such device.",
            "5 - Not reachable.",
            "6 - Ringing.",
            "7 - Ringing while in use.",
            "8 - On hold.",
        ),
    ),
    Argument("Paused", "Whether it pauses.", values=("0", "1")),
    Argument("PausedReason", "Why, if it was told."),
    Argument("Ringinuse", "Whether it is called while in use.", values=("0", "1")),
    Argument("Wrapuptime", "Seconds of rest after a call."),
)
_AGENT = (*CHANNEL, *DEST, "Queue", "MemberName", "Interface")
_HOLD = Argument("HoldTime", "Seconds that the caller waited.")
_RING = Argument("RingTime", "How long the member was called, in milliseconds.")
_POSITION = Argument("Position", "The caller's place in the queue.")
_COUNT = Argument("Count", "How many callers the queue has.")


def _member_event(name: str, synopsis: str, *see_also: str, since: str = "12.0.0") -> EventDescription:
    return EventDescription(name, synopsis, _MEMBER, _ABOUT_A_MEMBER, see_also, since)


EVENTS = (
    _member_event("QueueMemberStatus", "A member's device does something else."),
    _member_event("QueueMemberAdded", "A queue has a new member.", "QueueMemberRemoved", "AddQueueMember()"),
    _member_event(
        "QueueMemberRemoved", "A queue has lost a member.", "QueueMemberAdded", "RemoveQueueMember()"
    ),
    _member_event(
        "QueueMemberPause", "A member pauses or goes on.", "PauseQueueMember()", "UnpauseQueueMember()",
        since="12.2.0",
    ),
    _member_event("QueueMemberPenalty", "A member's penalty changed.", "QUEUE_MEMBER"),
    EventDescription(
        "QueueCallerJoin",
        "A caller has come into a queue.",
        (*CHANNEL, "Queue", "Position", "Count"),
        (_POSITION, _COUNT),
        ("QueueCallerLeave", "Queue()"),
    ),
    EventDescription(
        "QueueCallerLeave",
        "A caller has left a queue.",
        (*CHANNEL, "Queue", "Count", "Position"),
        (_COUNT, _POSITION),
        ("QueueCallerJoin",),
    ),
    EventDescription(
        "QueueCallerAbandon",
        "A caller has left a queue without having talked to anybody.",
        (*CHANNEL, "Queue", "Position", "OriginalPosition", "HoldTime"),
        (_POSITION, Argument("OriginalPosition", "The caller's first place in the queue."), _HOLD),
    ),
    EventDescription(
        "AgentCalled",
        "A member is called for a caller.",
        _AGENT,
        see_also=("AgentRingNoAnswer", "AgentComplete", "AgentConnect"),
    ),
    EventDescription(
        "AgentConnect",
        "A member talks with a caller.",
        (*_AGENT, "RingTime", "HoldTime"),
        (Argument("RingTime", "Seconds that the member was called."), _HOLD),
        ("AgentCalled", "AgentComplete", "AgentDump"),
    ),
    EventDescription(
        "AgentComplete",
        "A member and a caller have talked.",
        (*_AGENT, "HoldTime", "TalkTime", "Reason"),
        (
            _HOLD,
            Argument("TalkTime", "Seconds that they talked."),
            Argument("Reason", "Who ended it.", values=("caller", "agent", "transfer")),
        ),
        ("AgentCalled", "AgentConnect"),
    ),
    EventDescription(
        "AgentRingNoAnswer", "A member did not answer.", (*_AGENT, "RingTime"), (_RING,), ("AgentCalled",)
    ),
    EventDescription(
        "QueueParams",
        "A queue of the list that QueueStatus gives.",
        (
            "Max", "Strategy", "Calls", "Holdtime", "TalkTime", "Completed", "Abandoned", "ServiceLevelPerf",
            "ServiceLevelPerf2",
        ),
        (
            Argument("Max", "The most callers that it takes, 0 for any number."),
            Argument("Strategy", "How it chooses whom to call."),
            Argument("Calls", "How many callers it has."),
            Argument("Holdtime", "Seconds that callers wait, on average."),
            Argument("TalkTime", "Seconds that they talk, on average."),
            Argument("Completed", "How many have talked with somebody."),
            Argument("Abandoned", "How many have left before."),
        ),
        ("QueueMember", "QueueEntry"),
        "16.24.0, 18.10.0, 19.2.0",
    ),
    EventDescription(
        "QueueEntry",
        "A caller of the list that QueueStatus gives.",
        (
            "Queue", "Position", "Channel", "Uniqueid", "CallerIDNum", "CallerIDName", "ConnectedLineNum",
            "ConnectedLineName", "Wait", "Priority",
        ),
        (
            _POSITION,
            Argument("Wait", "Seconds since the caller came."),
            Argument("Priority", "The caller's rank."),
        ),
        ("QueueParams", "QueueMember"),
        "16.24.0, 18.10.0, 19.2.0",
    ),
)  # fmt: skip
