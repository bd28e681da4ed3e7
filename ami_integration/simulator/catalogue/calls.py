"""The actions on channels and their variables."""

from ami_integration.simulator.catalogue.headers import CHANNEL
from ami_integration.simulator.catalogue.pages import Argument, Description, EventDescription
from ami_integration.simulator.wire import EventClass

_NEW = "18.26.0, 20.11.0, 21.6.0, 22.1.0"

ACTIONS = (
    Description(
        "CoreShowChannels",
        "List the channels that there are now.",
        "Lists every channel of this moment with some facts about it.",
        EventClass.SYSTEM | EventClass.REPORTING,
        since="1.6.0",
        items=(
            EventDescription(
                "CoreShowChannel",
                "A channel of the list.",
                ("ActionID", *CHANNEL, "BridgeId", "Application", "ApplicationData", "Duration"),
                (
                    Argument("BridgeId", "Id of the bridge that it is in, if any"),
                    Argument("Application", "What it runs now"),
                    Argument("ApplicationData", "With which arguments"),
                    Argument("Duration", "How long the channel has existed"),
                ),
                ("CoreShowChannels", "CoreShowChannelsComplete"),
                _NEW,
            ),
        ),
        complete=EventDescription(
            "CoreShowChannelsComplete",
            "The end of the list of channels.",
            ("ActionID", "EventList", "ListItems"),
            see_also=("CoreShowChannels", "CoreShowChannel"),
            since=_NEW,
        ),
    ),
    Description(
        "Getvar",
        "Read a variable.",
        "Answers with the value of a channel's variable, of a global one, or of a dialplan function. What "
        "was never set has an empty value.",
        EventClass.CALL | EventClass.REPORTING,
        (
            Argument("Channel", "Whose variable; without it, a global one."),
            Argument("Variable", "The variable's name, or a function such as CALLERID(num).", True),
        ),
        ("Setvar",),
        since="1.0.0",
    ),
    Description(
        "Hangup",
        "End a channel.",
        "Ends one channel, or all whose names a pattern fits.",
        EventClass.SYSTEM | EventClass.CALL,
        (
            Argument(
                "Channel",
                "The channel's name, or a regular expression between slashes: /^PJSIP/trunk-/",
                True,
            ),
            Argument("Cause", "The hangup cause, as a number."),
        ),
    ),
    Description(
        "Originate",
        "Start a call.",
        "Calls a channel and, once it answers, connects it with an extension or an application.",
        EventClass.ORIGINATE,
        (
            Argument("Channel", "The channel to call, such as PJSIP/100.", True),
            Argument("Exten", "Extension to connect with (needs 'Context' and 'Priority')"),
            Argument("Context", "The extension's context (needs 'Exten' and 'Priority')"),
            Argument("Priority", "The extension's priority (needs 'Exten' and 'Context')"),
            Argument("Application", "Application to run instead of an extension."),
            Argument("Data", "What the application is given (needs 'Application')."),
            Argument("Timeout", "How long it may take to answer (in ms)."),
            Argument("CallerID", "The caller ID that the called one sees."),
            Argument(
                "Variable", "Channel variable to set, as name=value; multiple Variable: headers may be given."
            ),
            Argument("Account", "Account code of the channel."),
            Argument("EarlyMedia", "Set to 'true' to connect as soon as there is early media."),
            Argument(
                "Async",
                "Set to 'true' to be answered at once; the event OriginateResponse tells the outcome.",
            ),
            Argument("Codecs", "Comma-separated list of the codecs of this call."),
            Argument("ChannelId", "The uniqueid that the channel shall have."),
            Argument("OtherChannelId", "The uniqueid of the second end of a Local channel."),
            Argument(
                "PreDialGoSub", "Context,Extension,Priority of a subroutine to run on the channel first."
            ),
        ),
        see_also=("OriginateResponse",),
    ),
    Description(
        "Redirect",
        "Send a channel to another extension.",
        "Takes a channel out of what it does and lets it go on at another place of the dialplan; a second "
        "channel can be sent along, to the same place or one of its own.",
        EventClass.CALL,
        (
            Argument("Channel", "The channel to send.", True),
            Argument("ExtraChannel", "A second channel to send, usually the one at the other end."),
            Argument("Exten", "Extension to send it to.", True),
            Argument("ExtraExten", "Extension for the second channel, if it is another one."),
            Argument("Context", "The extension's context.", True),
            Argument("ExtraContext", "Context for the second channel, if it is another one."),
            Argument("Priority", "The extension's priority.", True),
            Argument("ExtraPriority", "Priority for the second channel, if it is another one."),
        ),
        ("BlindTransfer",),
    ),
    Description(
        "Setvar",
        "Set a variable.",
        "Gives a channel's variable, a global one, or a dialplan function a value.",
        EventClass.CALL,
        (
            Argument("Channel", "Whose variable; without it, a global one."),
            Argument("Variable", "The variable's name, or a function such as CALLERID(name).", True),
            Argument("Value", "What it shall be.", True),
        ),
        ("Getvar",),
        since="1.0.0",
    ),
    Description(
        "Status",
        "List channels with their variables.",
        "Lists one channel or all, each with what it does and, if wanted, with variables of it.",
        EventClass.SYSTEM | EventClass.CALL | EventClass.REPORTING,
        (
            Argument("Channel", "Only the channel of this name."),
            Argument("Variables", "Comma-separated list of the variables to show."),
            Argument(
                "AllVariables", 'If set to "true", all of its variables are shown.', values=("true", "false")
            ),
        ),
        items=(
            EventDescription(
                "Status",
                "A channel of the list.",
                (
                    "[ActionID]", *CHANNEL, "Type", "DNID", "EffectiveConnectedLineNum",
                    "EffectiveConnectedLineName", "TimeToHangup", "BridgeID", "Application", "Data",
                    "Nativeformats", "Readformat", "Readtrans", "Writeformat", "Writetrans", "Callgroup",
                    "Pickupgroup", "Seconds",
                ),
                (
                    Argument("Type", "Its technology"),
                    Argument("DNID", "The number that was dialled to reach it"),
                    Argument("EffectiveConnectedLineNum", "The other end's number, as it is shown"),
                    Argument("EffectiveConnectedLineName", "The other end's name, as it is shown"),
                    Argument("TimeToHangup", "Seconds until it is hung up by itself, 0 for never"),
                    Argument("BridgeID", "Id of the bridge that it is in, if any"),
                    Argument("Application", "What it runs now"),
                    Argument("Data", "With which arguments"),
                    Argument("Nativeformats", "Formats in which its media comes"),
                    Argument("Seconds", "For how long it has existed"),
                ),
                ("Status",),
                _NEW,
            ),
        ),
        complete=EventDescription(
            "StatusComplete",
            "The end of the list of channels.",
            ("Items",),
            (Argument("Items", "How many channels the list had"),),
            ("Status",),
            _NEW,
        ),
    ),
)  # fmt: skip
