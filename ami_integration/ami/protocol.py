"""The protocol: a machine from bytes to messages, and from actions to bytes, without I/O.

Framing is done on bytes, since a character may be cut in two by a TCP segment. A line ends at LF, with or
without a CR before it; a blank line ends a message; blank lines between messages mean nothing. The one
exception is ``Response: Follows`` (Asterisk 13 and older), which runs to ``--END COMMAND--`` whatever blank
lines it holds.

Two ways lead through the same rule. What Asterisk nearly always sends, lines that all end in CRLF, is cut by
one ``split`` for a whole chunk. Everything else (a bare LF, a Follows answer) is cut message by message. Both
take time linear in the input, however it is split.

========  ==============================  =========
State     Input                           Next
========  ==============================  =========
BANNER    a line                          MESSAGES   (a client starts here, a server in MESSAGES)
MESSAGES  a message                       MESSAGES
any       end of input                    CLOSED
any       a message beyond the limit      CLOSED, and `MessageTooLarge`
========  ==============================  =========

What a PBX does wrong never raises here: it is counted in `Protocol.anomalies`, and the next message is whole.
"""

from __future__ import annotations

import enum
import re
from collections import Counter, deque
from typing import Final, Literal

from ami_integration.ami.errors import MessageTooLarge
from ami_integration.ami.messages import Action, Event, FollowsResponse, Message, Response

#: How many bytes one message may have before the session is given up.
DEFAULT_MAX_MESSAGE = 16 * 1024 * 1024

_BLANK_LINE = re.compile(rb"\n\r?\n")
_LINE_ENDS = re.compile(rb"(?:\r?\n)*")
_END_COMMAND = re.compile(rb"--END COMMAND--\r?\n\r?\n")
_LONGEST_BLANK = 3
_LONGEST_END = len(b"--END COMMAND--\r\n\r\n")
_SAMPLES = 5
_SAMPLE_BYTES = 400


class NeedData(enum.Enum):
    """The answer of `Protocol.next_message` when no message is whole yet."""

    NEED_DATA = "NEED_DATA"


class Closed(enum.Enum):
    """The answer of `Protocol.next_message` when the input has ended and all messages are read."""

    CLOSED = "CLOSED"


NEED_DATA: Final = NeedData.NEED_DATA
CLOSED: Final = Closed.CLOSED


class State(enum.Enum):
    """Where a `Protocol` stands."""

    BANNER = "BANNER"
    MESSAGES = "MESSAGES"
    CLOSED = "CLOSED"


class Banner(Message):
    """The greeting line, for example ``Asterisk Call Manager/11.0.0``."""

    __slots__ = ()

    @property
    def text(self) -> str:
        return self.raw.decode("utf-8", "replace")

    @property
    def ami_version(self) -> str | None:
        """The AMI version (not Asterisk's own), or None where the line is not an AMI banner."""
        name, slash, version = self.text.partition("/")
        return version.strip() if slash and name.endswith("Call Manager") else None


class Anomalies(Counter[str]):
    """Counts of oddities by kind, with a few samples of the raw bytes of each."""

    def __init__(self) -> None:
        super().__init__()
        self.samples: dict[str, list[bytes]] = {}

    def record(self, kind: str, raw: bytes) -> None:
        """Count one oddity.

        Args:
            kind: ``bare_lf``, ``truncated``, ``unknown_action_id`` …
            raw: the bytes it came with; the first 400 are kept of the first 5.
        """
        self[kind] += 1
        kept = self.samples.setdefault(kind, [])
        if len(kept) < _SAMPLES:
            kept.append(raw[:_SAMPLE_BYTES])


class Protocol:
    """One side of an AMI connection.

    Args:
        role: a ``client`` expects a banner line first; a ``server`` reads actions.
        max_message: bytes that one message may have.

    Attributes:
        state: a `State`.
        anomalies: what was odd, counted by kind.
    """

    def __init__(
        self, role: Literal["client", "server"] = "client", *, max_message: int = DEFAULT_MAX_MESSAGE
    ) -> None:
        self.role = role
        self.state = State.BANNER if role == "client" else State.MESSAGES
        self.anomalies = Anomalies()
        self._max_message = max_message
        self._eof = False
        self._ready: deque[Message] = deque()
        # Bytes of a message that isn't whole yet. `_scanned` of them were searched for its end already.
        self._buffer = bytearray()
        self._scanned = 0
        # Whether the buffer holds what only the slow way can cut.
        self._odd = False
        self._too_large = False

    @property
    def unread(self) -> bytes:
        """The bytes of a message (or banner) that isn't whole yet."""
        return bytes(self._buffer)

    def send(self, action: Action) -> bytes:
        """The bytes of an action.

        Raises:
            InvalidAction: it can't be put on the wire.
        """
        return action.encode()

    def receive_data(self, data: bytes) -> None:
        """Feed what was read; empty bytes mean the end of the input."""
        if not data:
            self._receive_eof()
            return
        buffer = self._buffer
        buffer += data
        if self.state is State.BANNER and not self._take_banner():
            return
        if self.state is not State.MESSAGES:
            return
        self._notice_oddities()
        if self._odd:
            self._cut_one_by_one()
        else:
            self._cut_by_split()
        self._keep_rest()

    def _notice_oddities(self) -> None:
        """Look at the new bytes only, once, with searches that run in C."""
        buffer, start = self._buffer, self._scanned
        if not self._odd:
            self._odd = (
                buffer.count(b"\n", start) != buffer.count(b"\r\n", max(0, start - 1))
                or buffer.find(b"ollows\r\n", max(0, start - 7)) >= 0
            )

    def next_message(self) -> Message | NeedData | Closed:
        """The next whole message; `NEED_DATA` when more must be read, `CLOSED` after the last.

        Raises:
            MessageTooLarge: a message passed the limit; close the connection.
        """
        if self._ready:
            return self._ready.popleft()
        if self._too_large:
            raise MessageTooLarge(
                f"The PBX sent a message of more than {self._max_message} bytes; the session was given up.",
                sent=True,
            )
        return CLOSED if self._eof else NEED_DATA

    def _take_banner(self) -> bool:
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._keep_rest()
            return False
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        self._scanned = 0
        self._ready.append(Banner(line))
        self.state = State.MESSAGES
        return bool(self._buffer)

    def _cut_by_split(self) -> None:
        """Every line ends in CRLF, and no Follows answer is near."""
        buffer = self._buffer
        end = buffer.rfind(b"\r\n\r\n", max(0, self._scanned - _LONGEST_BLANK))
        if end < 0:
            return
        for raw in bytes(memoryview(buffer)[:end]).split(b"\r\n\r\n"):
            if raw.startswith(b"\r\n"):
                raw = raw[_match_end(_LINE_ENDS, raw, 0) :]
            # An odd number of line ends: the last of them may overlap the end that rfind saw.
            self._emit(raw.removesuffix(b"\r\n"), odd=False)
        del buffer[: end + 4]
        self._scanned = 0

    def _cut_one_by_one(self) -> None:
        buffer = self._buffer
        start = 0
        scan = self._scanned
        while True:
            start = _match_end(_LINE_ENDS, buffer, start)
            scan = max(scan, start)
            follows = _is_follows(buffer, start)
            pattern, longest = (_END_COMMAND, _LONGEST_END) if follows else (_BLANK_LINE, _LONGEST_BLANK)
            found = pattern.search(buffer, max(start, scan - longest))
            if found is None:
                break
            if follows:
                # END COMMAND stays: it is glued to an unterminated last line, and is cut off by the message.
                raw = bytes(buffer[start : found.start() + len(b"--END COMMAND--")])
                self._ready.append(FollowsResponse(raw, odd=True))
            else:
                raw = bytes(buffer[start : found.start()])
                ends_bare = not raw.endswith(b"\r")
                raw = raw.removesuffix(b"\r")
                odd = ends_bare or raw.count(b"\n") != raw.count(b"\r\n")
                if odd and self.role == "client":
                    self.anomalies.record("bare_lf", raw)
                self._emit(raw, odd=odd)
            start = scan = found.end()
        if start:
            del buffer[:start]
            self._scanned = 0
            self._odd = False
            self._notice_oddities()

    def _emit(self, raw: bytes, *, odd: bool) -> None:
        if not raw:
            return
        if len(raw) > self._max_message:
            self._fail_too_large()
            return
        start = raw[:9].lower()
        if start.startswith(b"event:"):
            self._ready.append(Event(raw, odd=odd))
        elif start.startswith(b"response:"):
            self._ready.append(Response(raw, odd=odd))
        else:
            if self.role == "client":
                self.anomalies.record("unknown_kind", raw)
            self._ready.append(Message(raw, odd=odd))

    def _keep_rest(self) -> None:
        self._scanned = len(self._buffer)
        if self._scanned > self._max_message:
            self._fail_too_large()

    def _fail_too_large(self) -> None:
        self._too_large = True
        self.state = State.CLOSED
        self._buffer.clear()
        self._scanned = 0

    def _receive_eof(self) -> None:
        if self._eof:
            return
        self._eof = True
        if self._buffer.strip(b"\r\n"):
            # A message cut in the middle: counted, and not handed on as if it were whole.
            self.anomalies.record("truncated", bytes(self._buffer))
        self._buffer.clear()
        self._scanned = 0
        self.state = State.CLOSED


def _match_end(pattern: re.Pattern[bytes], data: bytes | bytearray, start: int) -> int:
    match = pattern.match(data, start)
    assert match is not None  # it matches nothing, too
    return match.end()


def _is_follows(buffer: bytearray, start: int) -> bool:
    line = bytes(buffer[start : start + 32]).partition(b"\n")[0].lower()
    name, _, value = line.partition(b":")
    return name == b"response" and value.strip() == b"follows"
