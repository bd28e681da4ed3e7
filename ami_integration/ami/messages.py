"""Messages: what comes from a PBX.

Headers are an ordered list of pairs, because on the wire names repeat, differ in case and hold characters
like ``( ) / : . ; @``. A received message keeps its text and reads only those that are asked for: whoever
counts or routes events by name doesn't pay for the other thirty. Text is UTF-8 with ``surrogateescape``, so
that a byte which isn't UTF-8 survives the round trip; a whole chunk is decoded at once, which costs next to
nothing.
"""

from __future__ import annotations

import re
from typing import ClassVar, Self, overload

_END_COMMAND = "--END COMMAND--"


def decode(data: bytes) -> str:
    """Bytes of the wire as text; bytes that aren't UTF-8 become lone surrogates and lose nothing."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The inverse of `decode`."""
    return text.encode("utf-8", "surrogateescape")


_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def unescape(value: str) -> str:
    """Undo the C escapes of Asterisk 13 and later in caller and connected names, ChanVariable and VarSet.

    Only on request: nothing in a message tells which values were escaped, and an older Asterisk escapes none.
    """
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), value)


class Message:
    """A received message.

    Args:
        text: what `decode` makes of its bytes, without the blank line that ended it.

    Whatever its lines look like, this reads them; `Event` and `Response` are faster, for those that are
    regular: each line ends in CRLF, and holds a colon.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def from_raw(cls, raw: bytes) -> Self:
        """A message from its bytes, without the blank line that ended it."""
        return cls(decode(raw))

    @property
    def text(self) -> str:
        """Its lines, as they came."""
        return self._text

    @property
    def raw(self) -> bytes:
        """Its bytes, as they came."""
        return encode(self.text)

    @property
    def kind(self) -> str:
        """The first header's name, which alone says what a message is: ``Response``, ``Event`` or ``Action``.

        An OriginateResponse event carries a ``Response`` header too, so "has a Response" would be wrong.
        """
        return self.text.partition(":")[0].strip()

    @property
    def name(self) -> str:
        """The first header's value: an event's or an action's name, a response's ``Success`` or ``Error``."""
        return self.text.partition("\n")[0].partition(":")[2].strip()

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first header that is spelled like this, else the first in any case, else the default."""
        wanted, found = name.lower(), default
        similar = False
        for key, value in self.items():
            if key == name:
                return value
            if not similar and key.lower() == wanted:
                similar, found = True, value
        return found

    def getall(self, name: str) -> list[str]:
        """The values of every header of this name, in any case, in order."""
        wanted = name.lower()
        return [value for key, value in self.items() if key.lower() == wanted]

    def items(self) -> list[tuple[str, str]]:
        """All headers as pairs in the order of the wire. A line without a colon has the name ``""``."""
        return _parse(self.text)

    @property
    def action_id(self) -> str | None:
        """The ActionID, where the message has one."""
        return self.get("ActionID")

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __repr__(self) -> str:
        # Values may be secrets; the kind and name are enough to recognise it.
        return f"<{type(self).__name__} {self.name}>"


class _Regular(Message):
    """What begins with ``Event: `` or ``Response: ``; each of its lines ends in CRLF and holds a colon.

    Only what follows those words is kept. So a name and a single header are found without reading the rest.
    """

    __slots__ = ()
    _first: ClassVar[str]

    @classmethod
    def from_raw(cls, raw: bytes) -> Self:
        return cls(decode(raw).removeprefix(f"{cls._first}: "))

    @property
    def text(self) -> str:
        return f"{self._first}: {self._text}"

    @property
    def kind(self) -> str:
        return self._first

    @property
    def name(self) -> str:
        return self._text.partition("\r")[0]

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first line that reads ``name: value``, else the first header of this name in any case."""
        text = self._text
        try:
            start, in_any_case = _STARTS[name]
        except KeyError:
            start, in_any_case = _start_of(name)
        _, found, rest = text.partition(start)
        if found:
            return rest.partition("\r")[0]
        if in_any_case not in text.lower():
            return default
        return Message.get(self, name, default)  # type: ignore[arg-type]  # the overloads' common form

    def items(self) -> list[tuple[str, str]]:
        """All headers as pairs in the order of the wire."""
        lines = self._text.split("\r\n")
        pairs = [(self._first, lines[0])]
        del lines[0]
        for line in lines:
            name, colon, value = line.partition(": ")
            pairs.append((name, value) if colon and " " not in name else split_header(line))
        return pairs


class _Odd(Message):
    """Takes back what `_Regular` does."""

    __slots__ = ()
    text = Message.text
    kind = Message.kind
    name = Message.name
    get = Message.get
    items = Message.items

    @classmethod
    def from_raw(cls, raw: bytes) -> Self:
        return cls(decode(raw))


class Event(_Regular):
    """An unsolicited event or an item of a list (`OddEvent`, where its lines aren't regular)."""

    __slots__ = ()
    _first = "Event"


class OddEvent(_Odd, Event):
    """An event with lines that end in a bare LF, hold no colon, or are spelled in an unusual way."""

    __slots__ = ()


class Response(_Regular):
    """The answer to an action (`OddResponse`, where its lines aren't regular)."""

    __slots__ = ("_missing",)
    _missing: int  # set only where something is
    _first = "Response"

    @property
    def missing(self) -> int:
        """Bytes of a longer answer that were left out behind this; 0 when it is whole (`Protocol`)."""
        return getattr(self, "_missing", 0)

    @property
    def success(self) -> bool:
        """Whether the PBX agreed: every answer but ``Error``."""
        return self.name.lower() != "error"

    @property
    def message(self) -> str:
        """The PBX's own words, or an empty string."""
        return self.get("Message", "").rstrip("\n")

    @property
    def output(self) -> list[str]:
        """The lines of a ``Command``'s output, blank ones kept; a failed command has output too."""
        return [line.rstrip("\r") for line in self.getall("Output")]


class OddResponse(_Odd, Response):
    """A response with lines that end in a bare LF, hold no colon, or are spelled in an unusual way."""

    __slots__ = ()


class FollowsResponse(OddResponse):
    """``Response: Follows``, the ``Command`` answer of Asterisk 13 and older: raw text up to END COMMAND."""

    __slots__ = ()

    def _split(self) -> tuple[list[str], str]:
        rest = self.text
        head: list[str] = []
        # No blank line divides headers from output, and output may hold colons: only these names are headers.
        while True:
            line, end, after = rest.partition("\n")
            if not end or line.partition(":")[0].lower() not in ("response", "privilege", "actionid"):
                break
            head.append(line.rstrip("\r"))
            rest = after
        return head, rest.removesuffix(_END_COMMAND)

    def items(self) -> list[tuple[str, str]]:
        """All headers as pairs, the lines of the output among them as ``Output``."""
        head, _ = self._split()
        return [split_header(line) for line in head] + [("Output", line) for line in self.output]

    @property
    def output(self) -> list[str]:
        _, body = self._split()
        lines = [line.rstrip("\r") for line in body.split("\n")]
        return lines[:-1] if lines and not lines[-1] else lines


#: By a header's name: how its line begins, and what a text holds that has one in any case.
_STARTS: dict[str, tuple[str, str]] = {}
_MOST_STARTS = 1000


def _start_of(name: str) -> tuple[str, str]:
    start, in_any_case = f"\n{name}: ", f"\n{name.lower()}:"
    if name.lower() in ("event", "response"):
        start = "\n\n"  # nowhere: of the first line only the value is kept, and a second one isn't meant
        in_any_case = ""
    elif not name.isascii():
        in_any_case = ""  # everywhere, since the case of other letters depends on their neighbours
    if len(_STARTS) >= _MOST_STARTS:  # names may come from outside
        _STARTS.clear()
    _STARTS[name] = start, in_any_case
    return _STARTS[name]


def is_irregular(text: str) -> bool:
    """Whether a line of a message ends in a bare LF."""
    return text.count("\n") != text.count("\r\n")


def _parse(text: str) -> list[tuple[str, str]]:
    if not is_irregular(text):
        return [split_header(line) for line in text.split("\r\n")]
    pairs: list[tuple[str, str]] = []
    bare = False  # did the line before end in a bare LF?
    for raw_line in text.split("\n"):
        line = raw_line.removesuffix("\r")
        name, value = split_header(line)
        if bare and pairs and not _plausible_name(name):
            # A value that was printed raw with an LF in it goes on here.
            previous, start = pairs[-1]
            pairs[-1] = (previous, f"{start}\n{line}")
        else:
            pairs.append((name, value))
        bare = not raw_line.endswith("\r")
    return pairs


def split_header(line: str) -> tuple[str, str]:
    """One line as name and value: cut at the first ``": "``, else at the first colon.

    Names hold colons (``ChanVariable(IAX2/192.0.2.1:4569-1): a=b``), and so do values.
    """
    name, colon, value = line.partition(": ")
    if not colon or " " in name:
        name, colon, value = line.partition(":")
        if not colon:
            return "", line
        value = value.removeprefix(" ")
    return name, value


def _plausible_name(name: str) -> bool:
    return bool(name) and not any(character.isspace() for character in name)


class Reply:
    """All that came back for one action.

    Attributes:
        response: the first response.
        responses: all of them; some actions send two or three.
        events: the items of a list, without the event that completes it.
        complete: the event that completed the list, if one did.

    Responses that come after the first (`ModuleLoad` sends up to three, `JabberSend` two) are added to
    `responses` as they arrive.
    """

    __slots__ = ("complete", "events", "responses")

    def __init__(
        self, responses: list[Response], events: list[Event] | None = None, complete: Event | None = None
    ) -> None:
        self.responses = responses
        self.events = [] if events is None else events
        self.complete = complete

    @property
    def response(self) -> Response:
        return self.responses[0]

    @property
    def whole(self) -> bool:
        """False where a list's items aren't as many as the PBX says in ``ListItems``."""
        said = (self.complete.get("ListItems", "") if self.complete is not None else "").strip()
        return not said.isascii() or not said.isdigit() or int(said) == len(self.events)

    @property
    def success(self) -> bool:
        """Whether no response was an error."""
        return all(response.success for response in self.responses)

    @property
    def message(self) -> str:
        """The PBX's own words: of the first error, else of the first response."""
        for response in self.responses:
            if not response.success:
                return response.message
        return self.response.message

    @property
    def output(self) -> list[str]:
        """The output lines of a ``Command``."""
        return self.response.output

    @property
    def missing(self) -> int:
        """Bytes of the answer that were left out, since it was too long."""
        return sum(response.missing for response in self.responses)

    @property
    def action_id(self) -> str | None:
        return self.response.action_id

    def __repr__(self) -> str:
        return f"<Reply {self.response.name} events={len(self.events)}>"
