"""What a live page wants to see: checked and bounded, since it comes from a browser, and quick to apply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_NAMES = 50
MAX_NAME_LENGTH = 100
MAX_TEXT_LENGTH = 200
MAX_CURSORS = 10_000
_LARGEST_ID = 2**63 - 1


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

    def within(self, value: str) -> bool:
        """Whether some part of the value matches."""
        position = 0
        folded = value.casefold()
        for piece in self.pieces:
            position = folded.find(piece, position)
            if position < 0:
                return False
            position += len(piece)
        return True

    def whole(self, value: str) -> bool:
        """Whether the value from its first to its last character matches."""
        folded = value.casefold()
        if len(self.pieces) == 1:
            return folded == self.pieces[0]
        first, *middle, last = self.pieces
        if len(first) + len(last) > len(folded) or not folded.startswith(first) or not folded.endswith(last):
            return False
        return Pattern(tuple(middle)).within(folded[len(first) : len(folded) - len(last)])


@dataclass(frozen=True)
class EventFilter:
    """Event names (any of them) and a text in any header's value. Empty: everything."""

    names: tuple[Pattern, ...] = ()
    text: Pattern | None = None

    def matches(self, name: str, headers: Sequence[Sequence[str]]) -> bool:
        if self.names and not any(pattern.whole(name) for pattern in self.names):
            return False
        return self.text is None or any(self.text.within(value) for _, value in headers)

    def matches_item(self, item: Mapping[str, Any]) -> bool:
        """The same for an item as pages get it; gaps always match."""
        return item["kind"] != "event" or self.matches(item["name"], item["headers"])


@dataclass(frozen=True)
class Subscription:
    """One wish of a page: which server (None: all), which events, and what it has already.

    `seq` is the page's own number of the wish; what is sent for it carries it, so that the page can tell the
    rows of an earlier filter from those of the present one.
    """

    seq: int
    server_id: int | None = None
    filter: EventFilter = field(default_factory=EventFilter)
    since: Mapping[int, int] = field(default_factory=dict)


def parse_subscription(data: Mapping[str, Any]) -> Subscription:
    """Check what the page sent. Raises InvalidSubscription."""
    seq = data.get("seq")
    if type(seq) is not int or not 0 <= seq < 2**53:
        raise InvalidSubscription("seq must be a number.")
    server = data.get("server")
    names = data.get("names", [])
    text = data.get("text", "")
    since = data.get("since", {})
    if not isinstance(names, list) or len(names) > MAX_NAMES:
        raise InvalidSubscription(f"Give at most {MAX_NAMES} event names.")
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_NAME_LENGTH for name in names):
        raise InvalidSubscription(f"An event name has 1 to {MAX_NAME_LENGTH} characters.")
    if not isinstance(text, str) or len(text) > MAX_TEXT_LENGTH:
        raise InvalidSubscription(f"The text to look for has at most {MAX_TEXT_LENGTH} characters.")
    if not isinstance(since, dict) or len(since) > MAX_CURSORS:
        raise InvalidSubscription("since must name the newest event of each server.")
    return Subscription(
        seq=seq,
        server_id=None if server is None else _number(server, "server"),
        filter=EventFilter(
            tuple(Pattern.parse(name) for name in names), Pattern.parse(text) if text.strip() else None
        ),
        since={
            _number(key, "a server in since"): _number(value, "an id in since")
            for key, value in since.items()
        },
    )


def _number(value: Any, what: str) -> int:
    # Ids travel as strings: JavaScript can't hold a bigint.
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 19:
        raise InvalidSubscription(f"{what} must be a number in a string.")
    number = int(value)
    if number > _LARGEST_ID:
        raise InvalidSubscription(f"{what} is too large.")
    return number
