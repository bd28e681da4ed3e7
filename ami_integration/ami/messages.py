"""Messages: what goes to a PBX (`Action`) and what comes from it (`Response`, `Event`).

Headers are an ordered list of pairs, because on the wire names repeat, differ in case and hold characters
like ``( ) / : . ; @``. A received message keeps its bytes and decodes only what is asked for: whoever counts
or routes events by name doesn't pay for the other thirty headers. Values decode as UTF-8 with
``surrogateescape``, so that a byte which isn't UTF-8 survives the round trip.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
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


class Action:
    """An action to be sent.

    Args:
        name: as in ``manager show commands``, for example ``CoreStatus``.
        headers: a mapping (a sequence as value repeats the header) or pairs in order.
        action_id: at most 67 bytes; chosen at random when not given.

    Creating one checks nothing; `encode` does.
    """

    __slots__ = ("action_id", "headers", "name")

    def __init__(self, name: str, headers: Headers = (), *, action_id: str | None = None) -> None:
        self.name = name
        self.headers: list[tuple[str, str]] = []
        for key, value in _pairs(headers):
            if key.lower() == "actionid" and action_id is None:
                action_id = value
            else:
                self.headers.append((key, value))
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

    __slots__ = ("_odd", "_pairs", "raw")

    def __init__(self, raw: bytes, *, odd: bool = False) -> None:
        self.raw = raw
        # Set where lines don't all end in CRLF: then the quick search of `get` isn't exact.
        self._odd = odd
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
        if self._pairs is None and not self._odd:
            # lower() changes ASCII only, so positions stay; each "\n" is a line's start in a message without
            # oddities. This reads one header for a fifth of the price of reading all.
            needle = _needle(name)
            at = self.raw.lower().find(needle)
            if at < 0:
                if self.raw[: len(needle) - 1].lower() != needle[1:]:
                    return default
                at = -1
            start = at + len(needle)
            if self.raw[start : start + 1] == b" ":
                end = self.raw.find(b"\r\n", start)
                return decode(self.raw[start + 1 : end if end >= 0 else None])
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
        if not self._odd:
            return [split_header(line) for line in self.raw.split(b"\r\n")]
        pairs: list[tuple[str, str]] = []
        bare = False  # did the line before end in a bare LF?
        for line in self.raw.split(b"\n"):
            text = line[:-1] if line.endswith(b"\r") else line
            name, value = split_header(text)
            if bare and pairs and not _plausible_name(name):
                # A value that was printed raw with an LF in it goes on here.
                previous, start = pairs[-1]
                pairs[-1] = (previous, start + "\n" + decode(text))
            else:
                pairs.append((name, value))
            bare = not line.endswith(b"\r")
        return pairs

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
    """An unsolicited event or an item of a list."""

    __slots__ = ()


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
        return [split_header(line) for line in head] + [("Output", line) for line in self.output]

    @property
    def output(self) -> list[str]:
        _, body = self._split()
        lines = [decode(line).rstrip("\r") for line in body.split(b"\n")]
        return lines[:-1] if lines and not lines[-1] else lines


@lru_cache(maxsize=512)
def _needle(name: str) -> bytes:
    return b"\n" + encode(name.lower()) + b":"


def split_header(line: bytes) -> tuple[str, str]:
    """One line as name and value: cut at the first ``": "``, else at the first colon.

    Names hold colons (``ChanVariable(IAX2/192.0.2.1:4569-1): a=b``), and so do values.
    """
    name, colon, value = line.partition(b": ")
    if not colon or b" " in name:
        name, colon, value = line.partition(b":")
        if not colon:
            return "", decode(line)
        if value.startswith(b" "):
            value = value[1:]
    return decode(name), decode(value)


def _plausible_name(name: str) -> bool:
    return bool(name) and not any(character.isspace() for character in name)


class Reply:
    """All that came back for one action.

    Attributes:
        response: the first response.
        responses: all of them; some actions send two or three.
        events: the items of a list, without the event that completes it.
        complete: the event that completed the list, if one did.
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
