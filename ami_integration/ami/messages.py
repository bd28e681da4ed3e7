"""Messages: what goes to a PBX (`Action`) and what comes from it (`Response`, `Event`).

Headers are an ordered list of pairs, because on the wire names repeat, differ in case and hold characters
like ``( ) / : . ; @``. A received message keeps its text and reads only those that are asked for: whoever
counts or routes events by name doesn't pay for the other thirty. Text is UTF-8 with ``surrogateescape``, so
that a byte which isn't UTF-8 survives the round trip; a whole chunk is decoded at once, which costs next to
nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Self, TypeAlias, overload

from ami_integration.ami.errors import InvalidAction

HeaderValue: TypeAlias = "str | int | Sequence[str]"
Headers: TypeAlias = "Mapping[str, HeaderValue] | Iterable[tuple[str, str | int]]"

#: Longest usable line without its CRLF. Asterisk's buffer takes 1,025 bytes; longer lines drop the action,
#: and 1,023 bytes exactly would split it in two (main/manager.c, get_input).
MAX_LINE = 1022
#: Most header lines of one action, ``Action`` and ``ActionID`` included (include/asterisk/manager.h).
MAX_HEADERS = 128
#: Longer ActionIDs overflow an 80-byte buffer in app_confbridge and glue two headers together.
MAX_ACTION_ID = 67

_END_COMMAND = "--END COMMAND--"


def decode(data: bytes) -> str:
    """Bytes of the wire as text; bytes that aren't UTF-8 become lone surrogates and lose nothing."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The inverse of `decode`."""
    return text.encode("utf-8", "surrogateescape")


def new_action_id() -> str:
    """An ActionID that nobody can guess: other sessions may copy ids into events that reach us."""
    return os.urandom(16).hex()


_QUOTED = str.maketrans({character: f"\\{character}" for character in '\\",()[]'})
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def quote_variable(value: str) -> str:
    """A channel variable's value as it has to stand in a ``Variable`` header.

    Asterisk cuts that header at commas and takes quotes and backslashes away (main/app.c,
    __ast_app_separate_args), where parentheses and brackets protect commas; a backslash protects all of them.
    """
    return value.translate(_QUOTED)


def unescape(value: str) -> str:
    """Undo the C escapes of Asterisk 13 and later in caller and connected names, ChanVariable and VarSet.

    Only on request: nothing in a message tells which values were escaped, and an older Asterisk escapes none.
    """
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), value)


class Action:
    """An action to be sent.

    Args:
        name: as in ``manager show commands``, for example ``CoreStatus``.
        headers: a mapping (a sequence as value repeats the header) or pairs in order.
        action_id: at most 67 bytes; chosen at random when not given.
        variables: channel variables for Originate and its like, each in a ``Variable`` header of its own,
            quoted so that they arrive as they are (`quote_variable`). A ``Variable`` among the headers is
            sent as it is given.

    Creating one checks nothing; `encode` does.
    """

    __slots__ = ("action_id", "headers", "name")

    def __init__(
        self,
        name: str,
        headers: Headers = (),
        *,
        action_id: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.headers: list[tuple[str, str]] = []
        for key, value in _pairs(headers) if headers else ():
            if key.lower() == "actionid" and action_id is None:
                action_id = value
            else:
                self.headers.append((key, value))
        if variables:
            self.headers += (
                ("Variable", f"{key}={quote_variable(value)}") for key, value in variables.items()
            )
        self.action_id = new_action_id() if action_id is None else action_id

    def encode(self) -> bytes:
        """The bytes to send, ``Action`` and ``ActionID`` first, so that even an error about the rest has it.

        Raises:
            InvalidAction: what is wrong and where. AMI has no escaping, so CR, LF and NUL are refused.
        """
        if not self.name:
            raise InvalidAction("The action has no name.")
        if not self.action_id or len(encode(self.action_id)) > MAX_ACTION_ID:
            raise InvalidAction(f"The ActionID must have 1 to {MAX_ACTION_ID} bytes.")
        if len(self.headers) + 2 > MAX_HEADERS:
            raise InvalidAction(
                f"The action has {len(self.headers) + 2} headers, Action and ActionID included; "
                f"Asterisk takes {MAX_HEADERS} at most."
            )
        lines = [_line("Action", self.name), _line("ActionID", self.action_id)]
        for name, value in self.headers:
            if name.lower() in ("action", "actionid"):
                raise InvalidAction(f"The header {name} is given twice.")
            lines.append(_line(name, value))
        try:
            data = encode("\r\n".join(lines))
        except UnicodeEncodeError:
            data = b"\r\n".join(map(_encode_line, lines))  # it raises, and tells which
        if len(data) > MAX_LINE:
            for line in lines:
                _encode_line(line)
        return data + b"\r\n\r\n"

    def __repr__(self) -> str:
        # Values may be secrets: names only.
        names = ", ".join(name for name, _ in self.headers)
        return f"<Action {self.name} ({names})>"


def _pairs(headers: Headers) -> Iterable[tuple[str, str]]:
    if isinstance(headers, Mapping):
        for name, value in headers.items():
            if isinstance(value, (str, int)):
                yield name, str(value)
            else:
                for item in value:
                    yield name, str(item)
    else:
        for name, single in headers:
            yield name, str(single)


_bad_name = re.compile("[: \t\r\n\0]").search
_bad_value = re.compile("[\r\n\0]").search


def _line(name: str, value: str) -> str:
    if not name or _bad_name(name):
        raise InvalidAction(
            f"{name!r} can't be a header's name: it must not be empty nor hold blanks, colons or line ends."
        )
    if _bad_value(value):
        raise InvalidAction(
            f"The value of {name} holds a line end or a NUL. AMI can't carry them: "
            f"what follows would be read as another header or action."
        )
    return f"{name}: {value}"


def _encode_line(line: str) -> bytes:
    name = line.partition(":")[0]
    try:
        data = encode(line)
    except UnicodeEncodeError as error:
        raise InvalidAction(
            f"The value of {name} holds a character that can't be encoded: {error.reason}."
        ) from None
    if len(data) > MAX_LINE:
        raise InvalidAction(
            f"The line of {name} has {len(data)} bytes with its name; Asterisk takes {MAX_LINE} at most."
        )
    return data


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

    __slots__ = ()
    _first = "Response"

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
    def action_id(self) -> str | None:
        return self.response.action_id

    def __repr__(self) -> str:
        return f"<Reply {self.response.name} events={len(self.events)}>"
