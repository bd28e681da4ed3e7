"""ConfBridge: the actions and what they tell."""

from ami_integration.simulator.catalogue.headers import BRIDGE, CHANNEL
from ami_integration.simulator.catalogue.pages import Argument, Description, EventDescription
from ami_integration.simulator.wire import EventClass

_CONFERENCE = Argument("Conference", "Name of the conference.", True)
_WHO = Argument(
    "Channel",
    'Whose channel, or how its name begins; "all" for everybody, or "participants" for all but the admins.',
    True,
)

ACTIONS = (
    Description(
        "ConfbridgeKick",
        "Throw somebody out of a conference.",
        "The channel goes on in the dialplan behind ConfBridge().",
        EventClass.CALL,
        (
            _CONFERENCE,
            Argument(
                "Channel",
                'Whose channel; "all" for everybody, or "participants" for all but the admins.',
                True,
            ),
        ),
        since="10.0.0",
    ),
    Description(
        "ConfbridgeList",
        "List who is in a conference.",
        "Lists the channels of a conference, each with what it may and does.",
        EventClass.REPORTING,
        (_CONFERENCE,),
        since="10.0.0",
    ),
    Description(
        "ConfbridgeListRooms",
        "List the conferences.",
        "Lists the conferences that somebody is in, each with how many there are.",
        EventClass.REPORTING,
        since="10.0.0",
    ),
    Description(
        "ConfbridgeMute",
        "Let nobody hear somebody of a conference.",
        "The others hear this channel no more; it still hears them.",
        EventClass.CALL,
        (_CONFERENCE, _WHO),
        since="10.0.0",
    ),
    Description(
        "ConfbridgeUnmute",
        "Let somebody of a conference be heard again.",
        "The opposite of ConfbridgeMute.",
        EventClass.CALL,
        (_CONFERENCE, _WHO),
        since="10.0.0",
    ),
)

_ADMIN = Argument("Admin", "Whether it is an admin.", values=("Yes", "No"))
_MUTED = Argument("Muted", "Whether nobody hears it.", values=("Yes", "No"))
_ABOUT_ONE = ("Conference", *BRIDGE, *CHANNEL, "Admin")

EVENTS = (
    EventDescription(
        "ConfbridgeStart",
        "A conference has begun.",
        ("Conference", *BRIDGE),
        see_also=("ConfbridgeEnd", "ConfBridge()"),
    ),
    EventDescription(
        "ConfbridgeEnd",
        "A conference is over.",
        ("Conference", *BRIDGE),
        see_also=("ConfbridgeStart", "ConfBridge()"),
    ),
    EventDescription(
        "ConfbridgeJoin",
        "A channel has come into a conference.",
        (*_ABOUT_ONE, "Muted"),
        (_ADMIN, _MUTED),
        ("ConfbridgeLeave", "ConfBridge()"),
    ),
    EventDescription(
        "ConfbridgeLeave",
        "A channel has left a conference.",
        _ABOUT_ONE,
        (_ADMIN,),
        ("ConfbridgeJoin", "ConfBridge()"),
    ),
    EventDescription(
        "ConfbridgeMute",
        "Nobody hears a channel of a conference any more.",
        _ABOUT_ONE,
        (_ADMIN,),
        ("ConfbridgeUnmute", "ConfBridge()"),
    ),
    EventDescription(
        "ConfbridgeUnmute",
        "A channel of a conference is heard again.",
        _ABOUT_ONE,
        (_ADMIN,),
        ("ConfbridgeMute", "ConfBridge()"),
    ),
    EventDescription(
        "ConfbridgeList",
        "A channel of the list of a conference.",
        (
            "Conference", "Admin", "MarkedUser", "WaitMarked", "EndMarked", "Waiting", "Muted", "Talking",
            "AnsweredTime", *CHANNEL,
        ),
        (
            _ADMIN,
            Argument("MarkedUser", "Whether others wait for it.", values=("Yes", "No")),
            Argument("WaitMarked", "Whether it waits for a marked one.", values=("Yes", "No")),
            Argument("EndMarked", "Whether it leaves with the last marked one.", values=("Yes", "No")),
            Argument("Waiting", "Whether it waits now.", values=("Yes", "No")),
            _MUTED,
            Argument("Talking", "Whether it speaks now.", values=("Yes", "No")),
            Argument("AnsweredTime", "Seconds since it was answered."),
        ),
        since="13.20.0, 15.3.0",
    ),
    EventDescription(
        "ConfbridgeListRooms",
        "A conference of the list of conferences.",
        ("Conference", "Parties", "Marked", "Locked", "Muted"),
        (
            Argument("Parties", "How many are in it."),
            Argument("Marked", "How many of them are marked."),
            Argument("Locked", "Whether nobody may come in.", values=("Yes", "No")),
            Argument("Muted", "Whether nobody is heard.", values=("Yes", "No")),
        ),
        since="16.29.0, 18.15.0, 19.7.0",
    ),
)  # fmt: skip
