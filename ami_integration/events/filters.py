"""What a live page wants to see: checked and bounded, since it comes from a browser, and quick to apply.

A web process applies each distinct filter to each event once, however many pages have it, so what can be
prepared is: names are looked up in a set or remembered, and a text is first looked for in all headers at
once, as the recorder folded them (see `ami_integration.events.pushes`).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ami_integration.events.pushes import HEADER_MARK, LINKEDID, NAME, SEARCHED, VALUE_MARK, Row

MAX_NAMES = 50
MAX_NAME_LENGTH = 100
MAX_TEXT_LENGTH = 200
MAX_LINKEDID_LENGTH = 150
MAX_STARS = 20
MAX_CURSORS = 10_000
_LARGEST_ID = 2**63 - 1
_REMEMBERED = 1_000  # names, per filter

#: `Channel:PJSIP/1*` looks in one header. What begins with a star looks in all: `*sip:100@pbx`.
_IN_HEADER = re.compile(r"\s*([A-Za-z][A-Za-z0-9_.\-]*(?:\([^()]*\))?)\s*:\s*(.*)", re.DOTALL)


class InvalidSubscription(ValueError):
    """The page asked for something that can't be; the message says what, for a person."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text in which ``*`` stands for anything, without regard to case.

    No regular expression is built from what a stranger typed: the pieces between the stars are looked for one
    after the other, which takes linear time.
    """

    pieces: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        return cls(tuple(text.casefold().split("*")))

    @property
    def longest(self) -> str:
        """The piece that tells most: what lacks it doesn't match."""
        return max(self.pieces, key=len)

    def within(self, value: str) -> bool:
        """Whether some part of the value matches."""
        return self.within_folded(value.casefold())

    def whole(self, value: str) -> bool:
        """Whether the value from its first to its last character matches."""
        return self.whole_folded(value.casefold())

    def within_folded(self, folded: str) -> bool:
        """`within`, for a value that is casefolded already."""
        position = 0
        for piece in self.pieces:
            position = folded.find(piece, position)
            if position < 0:
                return False
            position += len(piece)
        return True

    def whole_folded(self, folded: str) -> bool:
        """`whole`, for a value that is casefolded already."""
        if len(self.pieces) == 1:
            return folded == self.pieces[0]
        first, *middle, last = self.pieces
        if len(first) + len(last) > len(folded) or not folded.startswith(first) or not folded.endswith(last):
            return False
        return Pattern(tuple(middle)).within_folded(folded[len(first) : len(folded) - len(last)])


@dataclass(frozen=True, slots=True)
class TextPattern:
    """A pattern somewhere in the value of any header, or, with a `header`, the whole value of that one."""

    pattern: Pattern
    header: str = ""  # folded

    @classmethod
    def parse(cls, text: str) -> "TextPattern":
        """Read `a text`, or `Header:a whole value`."""
        if found := _IN_HEADER.fullmatch(text):
            return cls(Pattern.parse(found[2].rstrip()), found[1].casefold())
        return cls(Pattern.parse(text.strip()))

    def matches(self, searched: str) -> bool:
        """Whether it is in these headers, given as `pushes.searched_text`."""
        if self.pattern.longest not in searched:
            return False
        if self.header:
            begin = f"{HEADER_MARK}{self.header}{VALUE_MARK}"
            position = searched.find(begin)
            while position >= 0:
                position += len(begin)
                end = searched.find(HEADER_MARK, position)
                if self.pattern.whole_folded(searched[position : end if end >= 0 else None]):
                    return True
                position = searched.find(begin, position)
            return False
        return any(
            self.pattern.within_folded(line.partition(VALUE_MARK)[2])
            for line in searched.split(HEADER_MARK)[1:]
        )


@dataclass(frozen=True)
class EventFilter:
    """Event names (any of them), a text in the headers, a linkedid. Empty: everything.

    What isn't an event (a gap, a snapshot) passes every filter.
    """

    names: tuple[Pattern, ...] = ()
    text: TextPattern | None = None
    linkedid: str = ""
    _known: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def sift(self, rows: Sequence[Row]) -> tuple[Sequence[Row], Counter[str]]:
        """The rows that match, and how many events of each name match all but the names.

        Args:
            rows: as in `ami_integration.events.pushes`.
        """
        if self.linkedid or self.text is not None:
            rows = [row for row in rows if row[NAME] is None or self._matches_content(row)]
        counts = Counter([row[NAME] for row in rows])
        counts.pop(None, None)
        if self.names:
            rows = [row for row in rows if row[NAME] is None or self.matches_name(row[NAME])]
        return rows, counts

    def matches_row(self, row: Row) -> bool:
        return row[NAME] is None or (self.matches_name(row[NAME]) and self._matches_content(row))

    def matches_name(self, name: str) -> bool:
        if not self.names:
            return True
        known = self._known.get(name)
        if known is None:
            known = any(pattern.whole(name) for pattern in self.names)
            if len(self._known) < _REMEMBERED:  # strangers may make up names
                self._known[name] = known
        return known

    def _matches_content(self, row: Row) -> bool:
        if self.linkedid and row[LINKEDID] != self.linkedid:
            return False
        return self.text is None or self.text.matches(row[SEARCHED])


@dataclass(frozen=True)
class Subscription:
    """One wish of a page: which servers (both None: all), which events, and what it has already.

    `seq` is the page's own number of the wish; what is sent for it carries it, so that the page can tell the
    rows of an earlier filter from those of the present one.
    """

    seq: int
    server_id: int | None = None
    tag_id: int | None = None
    filter: EventFilter = field(default_factory=EventFilter)
    since: Mapping[int, int] = field(default_factory=dict)


def parse_subscription(data: Mapping[str, Any]) -> Subscription:
    """Check what the page sent. Raises InvalidSubscription."""
    seq = data.get("seq")
    if type(seq) is not int or not 0 <= seq < 2**53:
        raise InvalidSubscription("seq must be a number.")
    server, tag = data.get("server"), data.get("tag")
    if server is not None and tag is not None:
        raise InvalidSubscription("Choose one server or a tag, not both.")
    since = data.get("since", {})
    if not isinstance(since, dict) or len(since) > MAX_CURSORS:
        raise InvalidSubscription("since must name the newest event of each server.")
    return Subscription(
        seq=seq,
        server_id=None if server is None else _place(server, "server"),
        tag_id=None if tag is None else _place(tag, "tag"),
        filter=parse_filter(
            names=data.get("names", []), text=data.get("text", ""), linkedid=data.get("linkedid", "")
        ),
        since={
            _number(key, "a server in since"): _number(value, "an id in since")
            for key, value in since.items()
        },
    )


def parse_filter(*, names: Any, text: Any, linkedid: Any) -> EventFilter:
    """Check what somebody typed. Raises InvalidSubscription.

    Args:
        names: a list of event names, ``*`` in them standing for anything.
        text: what to look for in any header's value, or `Header:value`.
        linkedid: a call's, whole.
    """
    if not isinstance(names, list) or len(names) > MAX_NAMES:
        raise InvalidSubscription(f"Give at most {MAX_NAMES} event names; a * in one stands for anything.")
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_NAME_LENGTH for name in names):
        raise InvalidSubscription(f"An event name has 1 to {MAX_NAME_LENGTH} characters.")
    if not isinstance(text, str) or len(text) > MAX_TEXT_LENGTH:
        raise InvalidSubscription(f"The text to look for has at most {MAX_TEXT_LENGTH} characters.")
    if not isinstance(linkedid, str) or len(linkedid) > MAX_LINKEDID_LENGTH:
        raise InvalidSubscription(f"A linkedid has at most {MAX_LINKEDID_LENGTH} characters.")
    if any(not _is_text(one) for one in (*names, text, linkedid)):
        raise InvalidSubscription(
            "What you look for holds half a character or a NUL, which no event has. Type it again."
        )
    if _stars((*names, text)) > MAX_STARS:
        raise InvalidSubscription(f"Use at most {MAX_STARS} stars in a text or a name.")
    return EventFilter(
        names=tuple(sorted({Pattern.parse(name) for name in names}, key=lambda pattern: pattern.pieces)),
        text=TextPattern.parse(text) if text.strip() else None,
        linkedid=linkedid.strip(),
    )


def _is_text(text: str) -> bool:
    """Whether a database takes it: JSON may carry half a surrogate pair, and a NUL."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _stars(texts: Iterable[str]) -> int:
    return max((text.count("*") for text in texts), default=0)


def _place(value: Any, what: str) -> int:
    try:
        return _number(value, what)
    except InvalidSubscription:
        raise InvalidSubscription(
            f"There is no such {what}: the page's address must have its number. Choose one above."
        ) from None


def _number(value: Any, what: str) -> int:
    # Ids travel as strings: JavaScript can't hold a bigint.
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 19:
        raise InvalidSubscription(f"{what} must be a number in a string.")
    number = int(value)
    if number > _LARGEST_ID:
        raise InvalidSubscription(f"{what} is too large.")
    return number
