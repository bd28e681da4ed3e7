"""The events of channels, bridges and dialling."""

from ami_integration.simulator.catalogue.headers import BRIDGE, CHANNEL, DEST, LOCAL
from ami_integration.simulator.catalogue.pages import Argument, EventDescription

_CAUSE = Argument("Cause", "Why, as a number of Q.850.")
_DIALLING = ("Dial()", "Originate()", "Originate")
_MEMBERS = (*CHANNEL, *DEST)

EVENTS = (
    EventDescription("Newchannel", "A channel was made.", CHANNEL, see_also=("Newstate", "Hangup")),
    EventDescription("Newstate", "A channel's state changed.", CHANNEL, see_also=("Newchannel", "Hangup")),
    EventDescription(
        "NewCallerid",
        "A channel's caller ID changed.",
        (*CHANNEL, "CID-CallingPres"),
        (Argument("CID-CallingPres", "Whether the caller ID may be shown."),),
        ("CALLERID",),
    ),
    EventDescription(
        "NewConnectedLine",
        "Who is at a channel's other end changed.",
        CHANNEL,
        see_also=("CONNECTEDLINE",),
        since="13.13.0, 14.2.0",
    ),
    EventDescription(
        "VarSet",
        "A variable was set.",
        (*CHANNEL, "Variable", "Value"),
        (Argument("Variable", "Its name."), Argument("Value", "What it is now.")),
        ("Gosub()", "gosub", "LOCAL", "LOCAL_PEEK"),
    ),
    EventDescription(
        "Hangup",
        "A channel has ended.",
        (*CHANNEL, "Cause", "Cause-txt", "TechCause"),
        (
            _CAUSE,
            Argument("Cause-txt", "The cause in words."),
            Argument("TechCause", "The cause as the channel's own technology has it, such as a SIP status."),
        ),
        ("Newchannel", "SoftHangupRequest", "HangupRequest", "Newstate"),
    ),
    EventDescription(
        "HangupRequest",
        "The far end wants the channel to end.",
        (*CHANNEL, "Cause"),
        (_CAUSE,),
        ("SoftHangupRequest", "Hangup"),
    ),
    EventDescription(
        "SoftHangupRequest",
        "The PBX wants the channel to end.",
        (*CHANNEL, "Cause"),
        (_CAUSE,),
        ("HangupRequest", "Hangup"),
    ),
    EventDescription(
        "Hold",
        "The channel's user has put the other one on hold.",
        (*CHANNEL, "MusicClass"),
        (Argument("MusicClass", "The music that was asked for."),),
        ("Unhold",),
    ),
    EventDescription("Unhold", "The channel's user has come back.", CHANNEL, see_also=("Hold",)),
    EventDescription(
        "MusicOnHoldStart",
        "A channel hears music.",
        (*CHANNEL, "Class"),
        (Argument("Class", "Which music."),),
        ("MusicOnHoldStop", "StartMusicOnHold()", "MusicOnHold()"),
    ),
    EventDescription(
        "MusicOnHoldStop",
        "A channel hears no more music.",
        CHANNEL,
        see_also=("MusicOnHoldStart", "StopMusicOnHold()"),
    ),
    EventDescription(
        "DialBegin",
        "Somebody is being called.",
        (*_MEMBERS, "DialString"),
        (Argument("DialString", "What was dialled."),),
        (*_DIALLING, "DialEnd"),
    ),
    EventDescription(
        "DialState",
        "There is news of who is being called.",
        (*_MEMBERS, "DialStatus", "[Forward]"),
        (
            Argument("DialStatus", "What they do, such as RINGING."),
            Argument("Forward", "Where the call was forwarded to."),
        ),
        since="14.0.0",
    ),
    EventDescription(
        "DialEnd",
        "The calling is over.",
        (*_MEMBERS, "DialStatus", "[Forward]"),
        (
            Argument(
                "DialStatus",
                "What came of it.",
                values=(
                    "ABORT - It was given up.",
                    "ANSWER - They answered.",
                    "BUSY - They were busy.",
                    "CANCEL - The caller gave up.",
                    "CHANUNAVAIL - They could not be reached.",
                    "CONGESTION - There was no way to them.",
                    "CONTINUE - Dial() goes on in the dialplan.",
                    "GOTO - Dial() goes on elsewhere in the dialplan.",
                    "NOANSWER - They did not answer.",
                ),
            ),
            Argument("Forward", "Where the call was forwarded to."),
        ),
        (*_DIALLING, "DialBegin"),
    ),
    EventDescription(
        "BridgeCreate",
        "A bridge was made.",
        BRIDGE,
        see_also=("BridgeDestroy", "BridgeEnter", "BridgeLeave"),
    ),
    EventDescription(
        "BridgeEnter",
        "A channel has come into a bridge.",
        (*BRIDGE, *CHANNEL, "SwapUniqueid"),
        (Argument("SwapUniqueid", "The channel whose place it took, if it took one."),),
        ("BridgeCreate", "BridgeDestroy", "BridgeLeave"),
    ),
    EventDescription(
        "BridgeLeave",
        "A channel has left a bridge.",
        (*BRIDGE, *CHANNEL),
        see_also=("BridgeCreate", "BridgeDestroy", "BridgeEnter"),
    ),
    EventDescription(
        "BridgeDestroy",
        "A bridge is gone.",
        BRIDGE,
        see_also=("BridgeCreate", "BridgeEnter", "BridgeLeave"),
    ),
    EventDescription(
        "LocalBridge",
        "The two ends of a Local channel are connected.",
        (*LOCAL, "Context", "Exten", "LocalOptimization"),
        (
            Argument("Context", "Where the second end begins."),
            Argument("Exten", "With which extension."),
            Argument("LocalOptimization", values=("Yes", "No")),
        ),
    ),
    EventDescription(
        "OriginateResponse",
        "What came of an Originate.",
        (
            "[ActionID]", "Response", "Channel", "Context", "Exten", "Application", "Data", "Reason",
            "Uniqueid", "CallerIDNum", "CallerIDName",
        ),
        (Argument("Response", values=("Failure", "Success")),),
        ("Originate",),
        "18.26.0, 20.11.0, 21.6.0, 22.1.0",
    ),
    EventDescription(
        "UserEvent",
        "An event that somebody made, from the dialplan or through AMI.",
        (*CHANNEL, "UserEvent"),
        (Argument("UserEvent", "What it calls itself."),),
        ("UserEvent()", "UserEvent"),
        "12.3.0",
        "It has whatever headers it was given, and those of a channel if the dialplan made it.",
    ),
)  # fmt: skip
