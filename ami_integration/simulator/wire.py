"""
How a PBX writes AMI: event classes, masks, and the bytes of events and responses.

The simulator has an encoder of its own instead of the client's, for two reasons: the client refuses what a
PBX really sends (a bare LF in a value, an empty value's trailing blank, a name with parentheses), and a
mistake shared by both sides would be seen by neither. What is written here follows main/manager.c; the
tests compare it with captures.
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

Header = tuple[str, str]
Headers = Sequence[Header]


class EventClass(enum.IntFlag):
    """The classes of manager.conf's ``read`` and ``write``, numbered as in include/asterisk/manager.h."""

    NONE = 0
    SYSTEM = 1 << 0
    CALL = 1 << 1
    LOG = 1 << 2
    VERBOSE = 1 << 3
    COMMAND = 1 << 4
    AGENT = 1 << 5
    USER = 1 << 6
    CONFIG = 1 << 7
    DTMF = 1 << 8
    REPORTING = 1 << 9
    CDR = 1 << 10
    DIALPLAN = 1 << 11
    ORIGINATE = 1 << 12
    AGI = 1 << 13
    CC = 1 << 15
    AOC = 1 << 16
    TEST = 1 << 17
    SECURITY = 1 << 18
    MESSAGE = 1 << 30
    ALL = (1 << 31) - 1


_LABELS: dict[str, EventClass] = {
    member.name.lower(): member
    for member in EventClass.__members__.values()
    if member.name and member is not EventClass.NONE and member is not EventClass.ALL
}
# ast_true() and ast_false() of main/utils.c; anything else is read as a list of class names.
_TRUE = frozenset({"yes", "true", "y", "t", "1", "on"})
_FALSE = frozenset({"no", "false", "n", "f", "0", "off"})


def classes_from_text(text: str) -> EventClass:
    """Classes of a comma-separated list as in manager.conf; unknown names count for nothing there too."""
    classes = EventClass.NONE
    for word in text.split(","):
        label = word.strip().lower()
        classes |= EventClass.ALL if label == "all" else _LABELS.get(label, EventClass.NONE)
    return classes


def mask_from_text(text: str) -> EventClass | None:
    """The mask that an ``EventMask`` asks for; None where Asterisk leaves it as it is (empty)."""
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return EventClass(int(text) & EventClass.ALL)
    word = text.lower()
    if word in _FALSE:
        return EventClass.NONE
    if word in _TRUE:
        return EventClass.ALL
    return classes_from_text(text)


def privilege_text(classes: EventClass) -> str:
    """The ``Privilege`` of an event or an action: its classes in Asterisk's order, then ``all``."""
    labels = [label for label, member in _LABELS.items() if member & classes]
    return ",".join([*labels, "all"]) if labels else "<none>"


def encode(headers: Iterable[Header]) -> bytes:
    """One message as Asterisk writes it: a header a line, a blank line at its end."""
    text = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{text}\r\n".encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Event:
    """An unsolicited event. ``classes`` decides who gets it and is shown as its Privilege.

    ``lines`` come after the headers as they are: of a UserEvent, Asterisk looks at none of them.
    """

    name: str
    classes: EventClass
    headers: tuple[Header, ...]
    lines: tuple[str, ...] = ()

    @cached_property
    def encoded(self) -> bytes:
        """Its bytes, made once however many sessions get it."""
        told = encode([("Event", self.name), ("Privilege", privilege_text(self.classes)), *self.headers])
        if not self.lines:
            return told
        more = "".join(f"{line}\r\n" for line in self.lines).encode("utf-8", "surrogateescape")
        return told.removesuffix(b"\r\n") + more + b"\r\n"

    def passes(self, mask: EventClass) -> bool:
        """Whether a session with this mask gets it: an event of several classes needs all of them."""
        return self.classes & mask == self.classes

    def get(self, name: str) -> str | None:
        """The first value of a header, None if the event has none of that name."""
        return next((value for header, value in self.headers if header == name), None)
