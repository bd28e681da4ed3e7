"""
Reads actions from bytes exactly as Asterisk's get_input() and do_message() do (main/manager.c), oddities
included.

A parser that is kinder than the real one would let a client pass its tests and fail on a PBX. So this one
keeps the 1,024-byte buffer and what follows from it: a line of 1,022 bytes is the longest that works, a
longer one costs the whole action, and one whose length is a multiple of 1,023 leaves its CR in the buffer,
which with the LF after it reads as a blank line: the message ends early and the headers that follow are
taken for a new action.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_HEADERS = 128
_BUFFER_BYTES = 1024

LINE_TOO_LONG = "Failed to parse message: line too long"
TOO_MANY_LINES = "Too many lines in message or allocation failure"


@dataclass
class Request:
    """One message of a client: its lines, and the error that Asterisk answers instead of running it."""

    lines: list[str] = field(default_factory=list)
    error: str | None = None

    def get(self, name: str) -> str:
        """The first header of that name, "" if none. Case doesn't matter, a blank before ":" does."""
        return next(self._values(name), "")

    def get_nonempty(self, name: str) -> str:
        """Like get(), passing over headers without a value: how Asterisk finds ``Action``."""
        return next((value for value in self._values(name) if value), "")

    def getall(self, name: str) -> list[str]:
        """All values of a name, in order."""
        return list(self._values(name))

    @property
    def action(self) -> str:
        """The action's name, "" if there is none."""
        return self.get_nonempty("Action")

    @property
    def action_id(self) -> str:
        """The ActionID, "" if there is none or its line came after the one that could not be read."""
        return self.get("ActionID")

    def _values(self, name: str) -> Iterator[str]:
        prefix = f"{name.lower()}:"
        for line in self.lines:
            if line[: len(prefix)].lower() == prefix:
                yield line[len(prefix) :].lstrip(" \t")


class RequestReader:
    """Bytes in, requests out; no I/O. feed() may be given any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._request = Request()
        self._too_long = False
        self._too_many = False

    def feed(self, data: bytes) -> Iterator[Request]:
        """Give the next bytes and iterate over the requests that they complete."""
        at = 0
        while at < len(data):
            room = _BUFFER_BYTES - len(self._buffer)
            self._buffer += data[at : at + room]
            at += room
            while (end := self._buffer.find(b"\n")) >= 0:
                line = self._buffer[:end]
                if line.endswith(b"\r"):
                    line = line[:-1]
                del self._buffer[: end + 1]
                request = self._line(bytes(line))
                if request is not None:
                    yield request
            if len(self._buffer) >= _BUFFER_BYTES:
                # Too long. Asterisk keeps the last byte, in case it is the CR of a CRLF.
                del self._buffer[:-1]
                self._too_long = True

    def _line(self, line: bytes) -> Request | None:
        line = line.partition(b"\0")[0]  # a C string ends at NUL
        if line:
            if len(self._request.lines) < MAX_HEADERS:
                self._request.lines.append(line.decode("utf-8", "surrogateescape"))
            else:
                self._too_many = True
            return None
        request = self._request
        self._request = Request()
        if self._too_many:
            request.error = TOO_MANY_LINES
            self._too_many = False
        elif self._too_long:
            request.error = LINE_TOO_LONG
            self._too_long = False
        return request
