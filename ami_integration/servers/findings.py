"""What the connection doctor finds at a step, in words that a page and a database can hold."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Trust:
    """A pin that would accept what a machine has just shown, for a person who has looked at it.

    Attributes:
        field: the server's field that it belongs into.
        value: what to put there.
        label: what to call the choice.
    """

    field: str
    value: str
    label: str


@dataclass(frozen=True)
class Finding:
    """What was seen at a step, and what to do about it.

    Attributes:
        seen: in words.
        mend: what to do; "" if nothing.
        ok: whether it was good.
        shown: what came, to be looked at, as pairs of a label and a text.
        trust: the pin that would accept it.
    """

    seen: str
    mend: str = ""
    ok: bool = True
    shown: list[tuple[str, str]] = field(default_factory=list)
    trust: Trust | None = None
