"""What a PBX answered, as it is stored: masked for eyes, compressed, and never cut without a note.

A result has three parts, as `Result` holds them: the headers of the response, the items of a list, and the
output of a CLI command. What is stored is the masked copy, compressed, since a list of ten thousand channels
is megabytes of the same names again and again. Beside it lie the values that masking hid, encrypted, and
only those: whoever has the permission `view_result_secrets` gets the whole back, and a database that leaks
gives away none of them.

A result beyond `settings.AMIWEB_RESULT_LIMIT` bytes keeps its beginning and a sentence that says what is
missing; the sentence is part of the result, wherever that is shown.
"""

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ami_integration.access.masking import headers_mask, output_mask, storable, storable_headers
from ami_integration.ami import Event, Reply

Pairs = list[tuple[str, str]]

#: zlib's own default; a higher level costs four times the time for a few percent.
_LEVEL = 6
_MIB = 1024 * 1024


@dataclass
class Result:
    """What came back, in the characters that a database takes.

    Attributes:
        response: the headers of the response (of all responses, and of the list's end), without Output.
        items: the items of a list, each a list of headers in order.
        output: the output of a Command, lines separated by LF.
        note: a sentence that says what of it is missing; empty when it is whole.
        missing: bytes of the answer that weren't read, since it was too long; `limited` makes the note of it.
        command: the CLI command that printed the output, which says how it is masked. It isn't stored here.
    """

    response: Pairs = field(default_factory=list)
    items: list[Pairs] = field(default_factory=list)
    output: str = ""
    note: str = ""
    command: str = ""
    missing: int = 0

    @classmethod
    def of_reply(cls, reply: Reply, *, events: Iterable[Event] = (), command: str = "") -> "Result":
        """The whole of an answer, in clear.

        Args:
            reply: what the client collected.
            events: shown as items instead of the reply's own, if given: an Originate's OriginateResponse.
            command: the CLI command that was asked, if it was one.
        """
        response = [pair for part in reply.responses for pair in part.items() if pair[0].lower() != "output"]
        if reply.complete is not None:
            response += reply.complete.items()
        output = [line for part in reply.responses for line in part.output]
        return cls(
            storable_headers(response),
            [storable_headers(event.items()) for event in list(events) or reply.events],
            storable("\n".join(output)),
            command=command,
            missing=reply.missing,
        )

    def masked(self) -> "Result":
        """The same with every secret masked: what is stored, and what everybody sees."""
        return Result(
            headers_mask(self.response),
            [headers_mask(item) for item in self.items],
            output_mask(self.output, self.command),
            self.note,
        )

    def limited(self, limit: int) -> "Result":
        """The beginning of it that fits into so many bytes, with a note if anything is missing.

        Args:
            limit: bytes of its JSON, about.
        """
        left = limit
        lost: list[str] = []
        more = "more than " if self.missing else ""

        def take(parts: list[Any], what: str) -> list[Any]:
            nonlocal left
            for number, part in enumerate(parts):
                left -= len(_dumped(part)) + 1
                if left < 0:
                    lost.append(f"the first {number:,} of {more}{len(parts):,} {what}")
                    return parts[:number]
            return parts

        response = take(self.response, "headers of the response")
        lines = self.output.split("\n") if self.output else []
        output = take(lines, "lines of output")
        items = take(self.items, "items of the list")
        if not lost and self.missing:
            lost.append(
                f"the first {len(output):,} lines of output"
                if output
                else "the first headers of the response"
            )
        if not lost:
            return self
        unread = f"; {self.missing / _MIB:,.1f} MiB behind it were not even read" if self.missing else ""
        note = (
            f"Not whole: the answer was too large, and only {' and '.join(lost)} are kept{unread}. A result "
            f"may have {limit / _MIB:,.4g} MiB (AMIWEB_RESULT_LIMIT_MIB)."
        )
        return Result(response, items, "\n".join(output), f"{self.note} {note}".strip(), self.command)

    def data(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"response": self.response, "items": self.items, "output": self.output, "note": self.note}


@dataclass(frozen=True)
class Packed:
    """A result as the columns of its row.

    Attributes:
        data: the masked copy, compressed.
        hidden: JSON of what masking hid, to be encrypted; None when it hid nothing.
        size: bytes of the masked copy before compression.
        item_count: items of its list.
        note: as the result's.
    """

    data: bytes
    hidden: str | None
    size: int
    item_count: int
    note: str


def result_pack(result: Result, *, limit: int) -> Packed:
    """Make a result ready for its row.

    Args:
        result: in clear.
        limit: the bytes that it may have before compression.
    """
    clear = result.limited(limit)
    masked = clear.masked()
    text = _dumped(masked.data())
    hidden = _difference(masked, clear)
    return Packed(
        data=zlib.compress(text, _LEVEL),
        hidden=json.dumps(hidden) if hidden else None,
        size=len(text),
        item_count=len(masked.items),
        note=masked.note,
    )


def result_unpack(data: bytes, hidden: str | None = None) -> Result:
    """The result of a row; with `hidden`, decrypted, the one in clear."""
    stored = json.loads(zlib.decompress(data))
    response: list[list[str]] = stored["response"]
    items: list[list[list[str]]] = stored["items"]
    output: str = stored["output"]
    if hidden:
        lines = output.split("\n")
        for part, *place, value in json.loads(hidden):
            if part == "response":
                response[place[0]][1] = value
            elif part == "items":
                items[place[0]][place[1]][1] = value
            else:
                lines[place[0]] = value
        output = "\n".join(lines)
    return Result(
        [(name, value) for name, value in response],
        [[(name, value) for name, value in item] for item in items],
        output,
        stored["note"],
    )


def _difference(masked: Result, clear: Result) -> list[list[Any]]:
    """Where masking changed something, and what stood there: [part, *place, value]."""
    found: list[list[Any]] = [
        ["response", at, value] for at, value in _changed(masked.response, clear.response)
    ]
    for number, (shown, item) in enumerate(zip(masked.items, clear.items, strict=True)):
        if shown != item:
            found += [["items", number, at, value] for at, value in _changed(shown, item)]
    if masked.output != clear.output:
        lines = zip(masked.output.split("\n"), clear.output.split("\n"), strict=True)
        found += [["output", at, line] for at, (shown_line, line) in enumerate(lines) if shown_line != line]
    return found


def _changed(masked: Pairs, clear: Pairs) -> list[tuple[int, str]]:
    return [
        (at, value)
        for at, ((_, shown), (_, value)) in enumerate(zip(masked, clear, strict=True))
        if shown != value
    ]


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
