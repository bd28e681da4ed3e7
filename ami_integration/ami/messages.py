"""Messages: what goes to a PBX (`Action`) and what comes from it (`Response`, `Event`).

Headers are an ordered list of pairs, because on the wire names repeat, differ in case and hold characters
like ``( ) / : . ; @``. A received message keeps its bytes and decodes only what is asked for: whoever counts
or routes events by name doesn't pay for the other thirty headers. Values decode as UTF-8 with
``surrogateescape``, so that a byte which isn't UTF-8 survives the round trip.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, overload

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

_END_COMMAND = b"--END COMMAND--"


def decode(data: bytes) -> str:
    """Bytes of the wire as text; bytes that aren't UTF-8 become lone surrogates and lose nothing."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The inverse of `decode`."""
    return text.encode("utf-8", "surrogateescape")


def new_action_id() -> str:
    """An ActionID that nobody can guess: other sessions may copy ids into events that reach us."""
    return secrets.token_hex(16)


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
        for key, value in _pairs(headers):
            if key.lower() == "actionid" and action_id is None:
                action_id = value
            else:
                self.headers.append((key, value))
        for key, value in (variables or {}).items():
            self.headers.append(("Variable", f"{key}={quote_variable(value)}"))
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
        lines = [("Action", self.name), ("ActionID", self.action_id), *self.headers]
        if len(lines) > MAX_HEADERS:
            raise InvalidAction(
                f"The action has {len(lines)} headers, Action and ActionID included; "
                f"Asterisk takes {MAX_HEADERS} at most."
            )
        out = bytearray()
        for position, (name, value) in enumerate(lines):
            if position > 1 and name.lower() in ("action", "actionid"):
                raise InvalidAction(f"The header {name} is given twice.")
            out += _encode_line(name, value)
        out += b"\r\n"
        return bytes(out)

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


def _encode_line(name: str, value: str) -> bytes:
    if not name or any(character in name for character in ": \t\r\n\0"):
        raise InvalidAction(
            f"{name!r} can't be a header's name: it must not be empty nor hold blanks, colons or line ends."
        )
    if "\r" in value or "\n" in value or "\0" in value:
        raise InvalidAction(
            f"The value of {name} holds a line end or a NUL. AMI can't carry them: "
            f"what follows would be read as another header or action."
        )
    try:
        line = encode(f"{name}: {value}")
    except UnicodeEncodeError as error:
        raise InvalidAction(
            f"The value of {name} holds a character that can't be encoded: {error.reason}."
        ) from None
    if len(line) > MAX_LINE:
        raise InvalidAction(
            f"The line of {name} has {len(line)} bytes with its name; Asterisk takes {MAX_LINE} at most."
        )
    return line + b"\r\n"


class Message:
    """A received message.

    Attributes:
        raw: its bytes without the blank line that ended it.
    """

    __slots__ = ("_pairs", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._pairs: list[tuple[str, str]] | None = None

    @property
    def kind(self) -> str:
        """The first header's name, which alone says what a message is: ``Response``, ``Event`` or ``Action``.

        An OriginateResponse event carries a ``Response`` header too, so "has a Response" would be wrong.
        """
        return decode(self.raw.partition(b":")[0]).strip()

    @property
    def name(self) -> str:
        """The first header's value: an event's or an action's name, a response's ``Success`` or ``Error``."""
        return decode(self.raw.partition(b"\n")[0].partition(b":")[2].strip())

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first header of this name, in any case, or the default."""
        wanted = name.lower()
        for key, value in self.items():
            if key.lower() == wanted:
                return value
        return default

    def getall(self, name: str) -> list[str]:
        """The values of every header of this name, in order."""
        wanted = name.lower()
        return [value for key, value in self.items() if key.lower() == wanted]

    def items(self) -> list[tuple[str, str]]:
        """All headers as pairs in the order of the wire. A line without a colon has the name ``""``."""
        if self._pairs is None:
            self._pairs = self._parse()
        return self._pairs

    def _parse(self) -> list[tuple[str, str]]:
        return _parse_irregular(self.raw) if is_irregular(self.raw) else _parse_regular(self.raw)

    @property
    def action_id(self) -> str | None:
        """The ActionID, where the message has one."""
        return self.get("ActionID")

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __repr__(self) -> str:
        # Values may be secrets; the kind and name are enough to recognise it.
        return f"<{type(self).__name__} {self.name}>"


class Event(Message):
    """An unsolicited event or an item of a list.

    Its first line begins with ``Event: `` and all its lines end in CRLF (`OddEvent` is for those that don't),
    so a name or a single header is found without reading the others.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        raw = self.raw
        try:
            return raw[7 : raw.index(b"\r", 7)].decode()
        except ValueError:  # nothing but a name; or a byte that isn't UTF-8
            return decode(raw[7:].partition(b"\r")[0])

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first header of this name, in any case, or the default."""
        try:
            match = _FINDERS[name](self.raw)
        except KeyError:
            match = _finder(name)(self.raw)
        if match is None:
            return default
        value = match[1]
        if value is None:
            return Message.get(self, name, default)  # type: ignore[arg-type]  # the overloads' common form
        try:
            return value.decode()
        except UnicodeDecodeError:
            return decode(value)


class OddEvent(Event):
    """An event with lines that end in a bare LF, hold no colon, or are spelled in an unusual way."""

    __slots__ = ()
    name = Message.name
    get = Message.get


class Response(Message):
    """The answer to an action."""

    __slots__ = ()

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


class FollowsResponse(Response):
    """``Response: Follows``, the ``Command`` answer of Asterisk 13 and older: raw text up to END COMMAND."""

    __slots__ = ()

    def _split(self) -> tuple[list[bytes], bytes]:
        rest = self.raw
        head: list[bytes] = []
        # No blank line divides headers from output, and output may hold colons: only these names are headers.
        while True:
            line, end, after = rest.partition(b"\n")
            if not end or line.partition(b":")[0].lower() not in (b"response", b"privilege", b"actionid"):
                break
            head.append(line.rstrip(b"\r"))
            rest = after
        return head, rest.removesuffix(_END_COMMAND)

    def _parse(self) -> list[tuple[str, str]]:
        head, _ = self._split()
        return [split_header(decode(line)) for line in head] + [("Output", line) for line in self.output]

    @property
    def output(self) -> list[str]:
        _, body = self._split()
        lines = [decode(line).rstrip("\r") for line in body.split(b"\n")]
        return lines[:-1] if lines and not lines[-1] else lines


#: By header name, the search for its first line in a regular message. Group 1 is the value, unless no blank
#: follows the colon or the value holds a CR.
_FINDERS: dict[str, Callable[[bytes], re.Match[bytes] | None]] = {}
_MOST_FINDERS = 1000


def _finder(name: str) -> Callable[[bytes], re.Match[bytes] | None]:
    if len(_FINDERS) >= _MOST_FINDERS:  # names may come from outside
        _FINDERS.clear()
    start = (rb"\A" if name.lower() == "event" else rb"\n") + re.escape(encode(name))
    pattern = start + rb":(?: ([^\r\n]*)(?:\r\n|\Z))?"
    search = _FINDERS[name] = re.compile(pattern, re.IGNORECASE).search
    return search


def is_irregular(raw: bytes) -> bool:
    """Whether a line of a message ends in a bare LF."""
    return raw.count(b"\n") != raw.count(b"\r\n")


def _parse_regular(raw: bytes) -> list[tuple[str, str]]:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = decode(raw)
    pairs = []
    for line in text.split("\r\n"):
        name, colon, value = line.partition(": ")
        pairs.append((name, value) if colon and " " not in name else split_header(line))
    return pairs


def _parse_irregular(raw: bytes) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    bare = False  # did the line before end in a bare LF?
    for line in decode(raw).split("\n"):
        text = line.removesuffix("\r")
        name, value = split_header(text)
        if bare and pairs and not _plausible_name(name):
            # A value that was printed raw with an LF in it goes on here.
            previous, start = pairs[-1]
            pairs[-1] = (previous, f"{start}\n{text}")
        else:
            pairs.append((name, value))
        bare = not line.endswith("\r")
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
