"""
What the simulator's actions are, told as ``manager show command`` tells it.

A client builds its forms from this text, so its sections, their order, the brackets round optional headers
and the list of an argument's values are Asterisk 22's. The sentences are our own, and every page says
"Provided By: simulator".
"""

import textwrap
from dataclasses import dataclass

from ami_integration.simulator.wire import EventClass, privilege_text

_ACTION_ID = "ActionID for this transaction. Will be returned."


@dataclass(frozen=True)
class Argument:
    """A header of an action: its name, whether it must be there, what it means, the words it may have."""

    name: str
    text: str = ""
    required: bool = False
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class EventDescription:
    """An event of a list: its headers in order, those that need a word with it."""

    name: str
    synopsis: str
    headers: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Description:
    """One action's page."""

    name: str
    synopsis: str
    description: str
    classes: EventClass = EventClass.NONE
    arguments: tuple[Argument, ...] = ()
    see_also: tuple[str, ...] = ()
    since: str = "0.2.0"
    items: EventDescription | None = None
    complete: EventDescription | None = None

    def page(self) -> list[str]:
        """The lines that ``manager show command NAME`` prints."""
        arguments = (Argument("ActionID", _ACTION_ID), *self.arguments)
        lines = ["", f"  -= Info about Manager Command '{self.name}' =- ", ""]
        lines += [
            "[Synopsis]",
            f"{self.synopsis} ",
            "",
            "[Provided By]",
            "simulator",
            "",
            "[Since]",
            self.since,
            "",
        ]
        lines += [
            "[Description]",
            *textwrap.wrap(self.description, 78),
            "",
            "[Syntax]",
            f"Action: {self.name}",
        ]
        lines += [f"{a.name}: <value>" if a.required else f"[{a.name}:] <value>" for a in arguments]
        lines += ["", "[Arguments]", "", *_arguments(arguments)]
        lines += ["[Privilege]", privilege_text(self.classes), ""]
        lines += ["[See Also]", ", ".join(self.see_also) or "Not available", ""]
        lines += ["[List Responses]", *_event(self.items), "[End List Responses]", ""]
        lines += ["[Final Response]", *_event(self.complete), "[End Final Response]", ""]
        return lines


def _arguments(arguments: tuple[Argument, ...]) -> list[str]:
    lines: list[str] = []
    for argument in arguments:
        lines.append(argument.name)
        lines += textwrap.wrap(argument.text, 78, initial_indent="    ", subsequent_indent="    ")
        lines += [f"    {value}" for value in argument.values]
        lines.append("")
    return lines


def _event(event: EventDescription | None) -> list[str]:
    if event is None:
        return ["None", ""]
    lines = [f"Event: {event.name}", "", f"  -= Info about Manager Event '{event.name}' =- ", ""]
    lines += ["[Synopsis]", *textwrap.wrap(event.synopsis, 78), "", "[Provided By]", "simulator", ""]
    lines += [
        "[Since]",
        "22.1.0",
        "",
        "[Description]",
        "Not available",
        "",
        "[Syntax]",
        f"Event: {event.name}",
    ]
    lines += [*(f"{header}: <value>" for header in event.headers), "", "[Arguments]", ""]
    return [*lines, *_arguments(event.arguments), "[See Also]", "Not available", ""]


_CHANNEL_HEADERS = (
    "Channel", "ChannelState", "ChannelStateDesc", "CallerIDNum", "CallerIDName", "ConnectedLineNum",
    "ConnectedLineName", "Language", "AccountCode", "Context", "Exten", "Priority", "Uniqueid", "Linkedid",
)  # fmt: skip
_STATES = (
    "Down", "Rsrvd", "OffHook", "Dialing", "Ring", "Ringing", "Up", "Busy", "Dialing Offhook", "Pre-ring",
    "Unknown",
)  # fmt: skip
_CORE = EventClass.SYSTEM | EventClass.REPORTING

DESCRIPTIONS = (
    Description(
        "Challenge",
        "Get a challenge for an MD5 login.",
        "Answers with a challenge; the Key of the Login that follows is made of it and the secret.",
        arguments=(
            Argument("AuthType", "Digest to use, of which there is one.", required=True, values=("MD5",)),
        ),
    ),
    Description(
        "Command",
        "Run a command of the CLI.",
        "Runs a command as if it had been typed on the console, and returns its output.",
        EventClass.COMMAND,
        (Argument("Command", "The command to run.", required=True),),
        since="0.3.0",
    ),
    Description(
        "CoreSettings",
        "Show the core's settings.",
        "Tells the version of the PBX and of AMI, and how its core is set up.",
        _CORE,
        since="1.6.0",
    ),
    Description(
        "CoreShowChannels",
        "List the channels that there are now.",
        "Lists every channel of this moment with some facts about it.",
        _CORE,
        since="1.6.0",
        items=EventDescription(
            "CoreShowChannel",
            "One channel of the list.",
            ("ActionID", *_CHANNEL_HEADERS, "BridgeId", "Application", "ApplicationData", "Duration"),
            (
                Argument("ActionID", _ACTION_ID),
                Argument("ChannelState", "The number of the state that ChannelStateDesc names"),
                Argument("ChannelStateDesc", values=_STATES),
                Argument("BridgeId", "The bridge that the channel is in, empty if in none"),
                Argument("Duration", "How long the channel has existed"),
            ),
        ),
        complete=EventDescription(
            "CoreShowChannelsComplete",
            "The end of the list of channels.",
            ("ActionID", "EventList", "ListItems"),
            (Argument("ActionID", _ACTION_ID), Argument("ListItems", "How many items the list had")),
        ),
    ),
    Description(
        "CoreStatus",
        "Show how the core is doing.",
        "Tells since when the PBX has run, and how many calls it has and had.",
        _CORE,
        since="1.6.0",
    ),
    Description(
        "Events",
        "Choose which events this session gets.",
        "Sets the mask of events of this session, within what its account may read.",
        arguments=(
            Argument(
                "EventMask",
                required=True,
                values=(
                    "on - All events.",
                    "off - No events.",
                    "system,call,log,... - Events of these classes.",
                ),
            ),
        ),
        see_also=("Login",),
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
        "ListCommands",
        "List the actions that this account may run.",
        "Answers with one header for each action: its name, what it does and the classes that it needs.",
    ),
    Description(
        "Login",
        "Log in.",
        "Logs this session in, with the secret itself or with a key made of it and a challenge.",
        arguments=(
            Argument("Username", "The account, as in manager.conf.", True),
            Argument(
                "AuthType", values=("plain - The secret itself, the default.", "MD5 - A key made of it.")
            ),
            Argument("Secret", "The account's secret, for a plain login."),
            Argument(
                "Key",
                "32 lower-case hexadecimal digits: the MD5 digest of the challenge and the secret.",
            ),
            Argument(
                "Events",
                values=(
                    "on - All events.",
                    "off - No events.",
                    "system,call,log,... - Events of these classes.",
                ),
            ),
        ),
        see_also=("Challenge", "Logoff"),
    ),
    Description("Logoff", "Log off.", "Ends this session.", see_also=("Login",)),
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
            Argument("Variable", "Channel variable to set; there may be several headers Variable."),
            Argument("Account", "Account code of the channel."),
            Argument("EarlyMedia", "'true' to connect with early media."),
            Argument("Async", "'true' to answer at once; the event OriginateResponse tells the outcome."),
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
        "Ping",
        "Ask whether the PBX is there.",
        "Answers with Pong, which also keeps the session from idling.",
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
)
