"""What is known of an action, its arguments and its answers, and of an event: plain data, no Django.

The words are the PBX's own. Two things it never says outright and people need all the same: whether a header
may be given several times, and whether a list of values is all of them. Both are read from its sentences,
carefully: what isn't clear counts as "one header, any value", because a PBX refuses a wrong value with a
word, and a form that refuses a right one leaves nobody a way on.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

#: Pairs of words that mean yes and no, as Asterisk's ast_true() and ast_false() read them.
BOOLEANS = (("yes", "no"), ("true", "false"), ("on", "off"), ("1", "0"))


@dataclass(frozen=True)
class Argument:
    """One header of an action or an event.

    Attributes:
        name: as on the wire: `Channel`, `Cause-txt`, `UnitAmount(0)`.
        required: whether Asterisk's syntax line has it without brackets.
        text: what Asterisk says of it, without the list of its values; paragraphs are lines. May be empty.
        choices: the values that are listed for it, in Asterisk's order.
        choice_texts: what is said of them, for those of which something is.
        closed: whether `choices` are all that it takes; else they are suggestions.
        repeatable: whether the header may be given more than once.
        boolean: the words for yes and no, where it takes nothing else: `("true", "false")`.
    """

    name: str
    required: bool = False
    text: str = ""
    choices: tuple[str, ...] = ()
    choice_texts: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False
    repeatable: bool = False
    boolean: tuple[str, str] | None = None

    @property
    def numbered(self) -> bool:
        """Whether the name stands for a row of headers, counted from 000000: UpdateConfig's `Cat-000000`."""
        return self.name.endswith("-000000")

    @property
    def choices_with_texts(self) -> list[tuple[str, str]]:
        """The values, each with what is said of it or an empty text."""
        return [(choice, self.choice_texts.get(choice, "")) for choice in self.choices]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = dict(data)
        values["choices"] = tuple(values.get("choices", ()))
        boolean = values.get("boolean")
        values["boolean"] = (boolean[0], boolean[1]) if boolean else None
        return cls(**values)


@dataclass(frozen=True)
class EventDescription:
    """An event, or one item of a list of responses.

    Attributes:
        name: as on the wire.
        synopsis, description: what Asterisk says of it.
        arguments: its headers in order; `required` is false for those that don't always come.
        see_also: names of actions, events, applications.
        provided_by: the module, where the PBX tells (22 and newer).
        since: the versions in which it came, likewise.
        sections: every section of the page as it was printed, by its title, in order.
        others: further descriptions of the same name: an event may be raised for several reasons.
    """

    name: str
    synopsis: str = ""
    description: str = ""
    arguments: tuple[Argument, ...] = ()
    see_also: tuple[str, ...] = ()
    provided_by: str = ""
    since: str = ""
    sections: tuple[tuple[str, str], ...] = ()
    others: tuple["EventDescription", ...] = ()

    @property
    def headers(self) -> list[str]:
        """The names of its headers in order, those of its further descriptions after them, each once."""
        names = [argument.name for each in (self, *self.others) for argument in each.arguments]
        return list(dict.fromkeys(names))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            **_texts(data, "name", "synopsis", "description", "provided_by", "since"),
            arguments=tuple(Argument.from_json(each) for each in data.get("arguments", ())),
            see_also=tuple(data.get("see_also", ())),
            sections=_sections(data),
            others=tuple(cls.from_json(each) for each in data.get("others", ())),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries; what is empty is left out."""
        return _lean(asdict(self))


@dataclass(frozen=True)
class ActionDescription:
    """An action as a PBX describes it.

    Attributes:
        name: as on the wire.
        synopsis, description: what Asterisk says of it.
        syntax: the lines of its syntax, raw.
        arguments: its headers in the syntax's order, without Action and ActionID.
        privileges: the classes of which a login needs one (`("call", "all")`); empty: none is needed.
        see_also: names of actions, events, applications.
        list_responses: the events that come as items of its list.
        final_response: the event that ends the list, or None.
        provided_by: the module, where the PBX tells (22 and newer).
        since: the versions in which it came, likewise.
        sections: every section of the page as it was printed, by its title, in order.
        shipped_for: of which Asterisk this is, when it isn't the PBX's own word but what amiweb brings
            along: `16.28`. Empty: its own.
    """

    name: str
    synopsis: str = ""
    description: str = ""
    syntax: str = ""
    arguments: tuple[Argument, ...] = ()
    privileges: tuple[str, ...] = ()
    see_also: tuple[str, ...] = ()
    list_responses: tuple[EventDescription, ...] = ()
    final_response: EventDescription | None = None
    provided_by: str = ""
    since: str = ""
    sections: tuple[tuple[str, str], ...] = ()
    shipped_for: str = ""

    def argument(self, name: str) -> Argument | None:
        """The argument of that name, in whatever case, as Asterisk matches headers."""
        return next((each for each in self.arguments if each.name.lower() == name.lower()), None)

    @property
    def privileges_text(self) -> str:
        """As Asterisk writes them: `call,all`, or `<none>`."""
        return ",".join(self.privileges) or "<none>"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        final = data.get("final_response")
        texts = ("name", "synopsis", "description", "syntax", "provided_by", "since", "shipped_for")
        return cls(
            **_texts(data, *texts),
            arguments=tuple(Argument.from_json(each) for each in data.get("arguments", ())),
            privileges=tuple(data.get("privileges", ())),
            see_also=tuple(data.get("see_also", ())),
            list_responses=tuple(EventDescription.from_json(each) for each in data.get("list_responses", ())),
            final_response=EventDescription.from_json(final) if final else None,
            sections=_sections(data),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries; what is empty is left out."""
        return _lean(asdict(self))


def _texts(data: Mapping[str, Any], *names: str) -> dict[str, str]:
    return {name: data.get(name, "") for name in names}


def _sections(data: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((title, text) for title, text in data.get("sections", ()))


def _lean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lean(each) for key, each in value.items() if each not in (None, "", False, (), [], {})}
    if isinstance(value, list | tuple):
        return [_lean(each) for each in value]
    return value
