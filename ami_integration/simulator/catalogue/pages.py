"""
How ``manager show command`` and ``manager show event`` print what they know.

A client builds its forms from this text, so its sections, their order, the brackets round optional headers
and the list of an argument's values are Asterisk 22's. The sentences are our own, and every page says
"Provided By: simulator".
"""

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ami_integration.simulator.wire import EventClass, privilege_text

_ACTION_ID = "Any text of yours, which the answer brings back."
COLUMNS = 79
"""Where Asterisk breaks its lines; a reader puts them together again by that (main/xmldoc.c)."""
_PREFIXES = re.compile(r"^(?:Dest|LocalOne|LocalTwo)(?=[A-Z])")


@dataclass(frozen=True)
class Argument:
    """A header of an action or event: its name, what it means, whether it must be there, the words it takes.

    A value is a word, or a word with what it means: ``MD5``, ``off - No events.``
    """

    name: str
    text: str = ""
    required: bool = False
    values: tuple[str, ...] = ()


CHANNEL_STATES = (
    "Down", "Rsrvd", "OffHook", "Dialing", "Ring", "Ringing", "Up", "Busy", "Dialing Offhook", "Pre-ring",
    "Unknown",
)  # fmt: skip
COMMON: Mapping[str, Argument] = {
    argument.name: argument
    for argument in (
        Argument("ActionID", _ACTION_ID),
        Argument("Channel", "Name of the channel."),
        Argument("ChannelState", "State of the channel as a number, which ChannelStateDesc says in a word"),
        Argument("ChannelStateDesc", values=CHANNEL_STATES),
        Argument("CallerIDNum", "Number of who is on this channel."),
        Argument("CallerIDName", "Name of who is on this channel."),
        Argument("ConnectedLineNum", "Number of who is at the other end."),
        Argument("ConnectedLineName", "Name of who is at the other end."),
        Argument("Uniqueid", "Id of the channel, never used twice."),
        Argument("Linkedid", "Uniqueid of the oldest of the channels that belong together."),
        Argument("BridgeNumChannels", "How many channels are in the bridge."),
        Argument("BridgeVideoSourceMode", values=("none", "talker", "single")),
        Argument("BridgeVideoSource", "Uniqueid of the channel whose picture the others see."),
        Argument("Queue", "Name of the queue."),
        Argument("MemberName", "Name of the member."),
        Argument("Interface", "Device that is called to reach the member."),
        Argument("Conference", "Name of the conference."),
        Argument("ListItems", "How many items the list had."),
    )
}
"""What is said of headers that many events have in common, also with Dest or LocalOne before their names."""


@dataclass(frozen=True)
class EventDescription:
    """An event: its headers in order, optional ones in brackets, and those that need a word of their own."""

    name: str
    synopsis: str
    headers: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()
    see_also: tuple[str, ...] = ()
    since: str = "12.0.0"
    description: str = ""

    def page(self) -> list[str]:
        """The lines that ``manager show event NAME`` prints, which also stand in the page of a list."""
        lines = [f"Event: {self.name}", "", f"  -= Info about Manager Event '{self.name}' =- ", ""]
        lines += ["[Synopsis]", *_wrapped(self.synopsis), "", *_origin(self.since)]
        lines += ["[Description]", *_wrapped(self.description or "Not available"), ""]
        lines += ["[Syntax]", f"Event: {self.name}"]
        lines += [_syntax(header.strip("[]"), optional=header.startswith("[")) for header in self.headers]
        lines += ["", "[Arguments]", "", *_arguments(self._told())]
        return [*lines, "[See Also]", *_wrapped(", ".join(self.see_also) or "Not available"), ""]

    def _told(self) -> Iterable[Argument]:
        own = {argument.name: argument for argument in self.arguments}
        for header in (header.strip("[]") for header in self.headers):
            common = COMMON.get(header) or COMMON.get(_PREFIXES.sub("", header))
            if header in own:
                yield own[header]
            elif common is not None:
                yield Argument(header, common.text, values=common.values)


@dataclass(frozen=True)
class Description:
    """An action."""

    name: str
    synopsis: str
    description: str
    classes: EventClass = EventClass.NONE
    arguments: tuple[Argument, ...] = ()
    see_also: tuple[str, ...] = ()
    since: str = "0.2.0"
    items: tuple[EventDescription, ...] = ()
    complete: EventDescription | None = None

    def page(self) -> list[str]:
        """The lines that ``manager show command NAME`` prints."""
        arguments = (Argument("ActionID", _ACTION_ID), *self.arguments)
        lines = ["", f"  -= Info about Manager Command '{self.name}' =- ", ""]
        lines += ["[Synopsis]", f"{self.synopsis} ", "", *_origin(self.since)]
        lines += ["[Description]", *_wrapped(self.description), "", "[Syntax]", f"Action: {self.name}"]
        lines += [_syntax(each.name, optional=not each.required) for each in arguments]
        lines += ["", "[Arguments]", "", *_arguments(arguments)]
        lines += ["[Privilege]", privilege_text(self.classes), ""]
        lines += ["[See Also]", ", ".join(self.see_also) or "Not available", ""]
        lines += ["[List Responses]", *_events(self.items), "[End List Responses]", ""]
        final = (self.complete,) if self.complete else ()
        return [*lines, "[Final Response]", *_events(final), "[End Final Response]", ""]


def completion(
    name: str, what: str, *more: str, since: str = "12.0.0", action_id: bool = False
) -> EventDescription:
    """The event that ends a list."""
    headers = (*(("ActionID",) if action_id else ()), "EventList", "ListItems", *more)
    return EventDescription(name, f"The end of the list of {what}.", headers, since=since)


def _origin(since: str) -> list[str]:
    return ["[Provided By]", "simulator", "", "[Since]", since, ""]


def _syntax(name: str, *, optional: bool) -> str:
    return f"[{name}:] <value>" if optional else f"{name}: <value>"


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _arguments(arguments: Iterable[Argument]) -> list[str]:
    lines: list[str] = []
    for argument in arguments:
        lines += [argument.name, *_wrapped(argument.text, "    ")]
        lines += [f"    {value}" for value in argument.values]
        lines.append("")
    return lines


def _events(events: tuple[EventDescription, ...]) -> list[str]:
    return [line for event in events for line in event.page()] or ["None", ""]
