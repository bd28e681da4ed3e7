"""Reads what `manager show command NAME` and `manager show event NAME` print.

A page is a row of sections, each under a title in brackets. Their order, the blank lines between them and
which there are differ between the versions of Asterisk (16 knows no `[Since]`, and ends `[List Responses]`
only with the next title), so nothing here counts on them: a page is cut at its titles, what a title means is
looked up, and a section that nobody here knows is kept as it is. The events of a list stand inside their
section as whole pages of their own.

Asterisk breaks its sentences at 79 columns (`main/xmldoc.c`). They are put together again: a line that would
have had room for the next line's first word was ended on purpose.
"""

import re
from collections.abc import Iterable, Sequence

from ami_integration.actions.catalogue.descriptions import (
    BOOLEANS,
    ActionDescription,
    Argument,
    EventDescription,
)

#: What Asterisk prints where it has nothing to say.
NOTHING = ("Not available", "None", "<none>")
#: Columns after which Asterisk breaks a line.
COLUMNS = 79

_TITLE = re.compile(r"\[([A-Z][A-Za-z ]*)\]")
_BANNER = re.compile(r"\s*-= Info about .* =-\s*")
_SYNTAX = re.compile(r"\[?(?P<name>[^\[\]\s]+?):\]? <value>")
_EVENT = re.compile(r"Event: (?!<value>)(\S+)")
_WITH_PAGES = ("List Responses", "Final Response")

_WORD = re.compile(r"[^\s.:]+|\S+\.\.\.|\d+\(\w+\)")
_WORD_WITH_TEXT = re.compile(r"(\S+) - +(\S.*)")
_FEW_WORDS = re.compile(r"[A-Za-z-]+ [A-Za-z-]+")
_PLAIN = re.compile(r"[A-Za-z0-9][\w-]*")
#: Words with which a text says that its list isn't all: "module name … or subsystem identifier".
_OPEN = re.compile(r"\b(?:name|identifier)\b")
_REPEATABLE = re.compile(r"\bmultiple \S+ (?:headers|entries)\b")
_BOOLEAN = (
    (re.compile(r"\b(?:set to|if|default is) ['\"]?true\b|\btrue/false\b", re.I), ("true", "false")),
    (re.compile(r"\bset to ['\"]?yes\b", re.I), ("yes", "no")),
    (re.compile(r"\b1 to turn on, 0 to turn off\b", re.I), ("1", "0")),
)  # fmt: skip


class NoPage(ValueError):
    """The PBX has no page of that name, or printed something else."""


def action_parse(name: str, lines: Sequence[str]) -> ActionDescription:
    """What a page says of an action.

    Args:
        name: of the action, in the spelling of the list that it was found in.
        lines: the output of `manager show command NAME`.

    Raises:
        NoPage: it is no such page.
    """
    sections = _sections(lines)
    found = dict(sections)
    if "Syntax" not in found:
        raise NoPage(f"{name}: no [Syntax] in what the PBX printed")
    final = events_parse(found.get("Final Response", ()))
    return ActionDescription(
        name=name,
        synopsis=_text(found.get("Synopsis", ())),
        description=_text(found.get("Description", ())),
        syntax="\n".join(line for line in found["Syntax"] if line.strip()),
        arguments=_arguments(found["Syntax"], found.get("Arguments", ()), f"Action: {name}"),
        privileges=_names(found.get("Privilege", ())),
        see_also=_names(found.get("See Also", ())),
        list_responses=tuple(events_parse(found.get("List Responses", ()))),
        final_response=final[0] if final else None,
        provided_by=_text(found.get("Provided By", ())),
        since=_text(found.get("Since", ())),
        sections=_raw(sections),
    )


def event_parse(name: str, lines: Sequence[str]) -> EventDescription:
    """What a page says of an event; further descriptions on the same page become its `others`.

    Raises:
        NoPage: there is no event of that name.
    """
    pages: list[list[tuple[str, list[str]]]] = [[]]
    for title, body in _sections(lines):
        # A page has one synopsis, and that comes first; what stands before it belongs to it.
        if title == "Synopsis" and any(title for title, _ in pages[-1]):
            pages.append([])
        pages[-1].append((title, body))
    first, *others = (_event(name, page) for page in pages)
    if not any(title == "Syntax" for title, _ in first.sections):
        raise NoPage(f"{name}: no [Syntax] in what the PBX printed")
    return EventDescription(**{**vars(first), "others": tuple(others)})


def events_parse(lines: Iterable[str]) -> list[EventDescription]:
    """The events that a section describes: the items of a list, or what ends it."""
    found: list[tuple[str, list[str]]] = []
    before = ""
    for line in lines:
        event = _EVENT.fullmatch(line.strip())
        if event and before != "[Syntax]":
            found.append((event[1], []))
        elif found:
            found[-1][1].append(line)
        before = line.strip() or before
    return [_event(name, _sections(page), raw=False) for name, page in found]


def names_parse(lines: Iterable[str]) -> list[str]:
    """The first words of a table's rows: the actions that `manager show commands` lists."""
    rows = [line.split() for line in lines if line.startswith("  ") and line.strip()]
    return [row[0] for row in rows if row[0] != "Action" and not row[0].startswith("--")]


def event_names_parse(lines: Iterable[str]) -> list[str]:
    """The words that `manager show events` lists, each once.

    Asterisk 16 cuts them after 20 characters, so one of that length may be the beginning of a name, and it
    lists some of them twice.
    """
    words = [word for line in lines if line.startswith("  ") for word in line.split()]
    return list(dict.fromkeys(word for word in words if not word.startswith("--")))


# Sections


def _sections(lines: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The titles with the lines below them; what stands before the first has none."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        title = _TITLE.fullmatch(line.strip())
        within = sections[-1][0]
        if title and title[1] == f"End {within}":
            sections.append(("", []))
        elif title and (within not in _WITH_PAGES or title[1] in _WITH_PAGES):
            sections.append((title[1], []))
        elif _BANNER.fullmatch(line) and within not in _WITH_PAGES:
            sections.append(("", [line]))
        else:
            sections[-1][1].append(line)
    return [(title, body) for title, body in sections if title or any(line.strip() for line in body)]


def _raw(sections: Iterable[tuple[str, list[str]]]) -> tuple[tuple[str, str], ...]:
    return tuple((title, "\n".join(body).strip("\n")) for title, body in sections)


def _event(name: str, sections: list[tuple[str, list[str]]], *, raw: bool = True) -> EventDescription:
    found = dict(sections)
    return EventDescription(
        name=name,
        synopsis=_text(found.get("Synopsis", ())),
        description=_text(found.get("Description", ())),
        arguments=_arguments(found.get("Syntax", ()), found.get("Arguments", ()), f"Event: {name}"),
        see_also=_names(found.get("See Also", ())),
        provided_by=_text(found.get("Provided By", ())),
        since=_text(found.get("Since", ())),
        sections=_raw(sections) if raw else (),
    )


# Texts


def _paragraphs(lines: Iterable[str], *, indent: int = 0) -> list[str]:
    """The lines put together again, each with what it is further indented than `indent`."""
    paragraphs: list[str] = []
    room = 0  # columns that were left in the line before; 0: nothing goes on
    lines = list(lines)
    for number, line in enumerate(lines):
        text = line.rstrip()
        if not text:
            room = 0
            continue
        depth = len(text) - len(text.lstrip())
        words = text.split()
        if (
            paragraphs
            and room
            and len(words[0]) + 1 > room
            and not _list_begins(paragraphs[-1], lines[number:])
        ):
            paragraphs[-1] += " " + text.strip()
        else:
            paragraphs.append(" " * max(0, depth - indent) + text.strip())
        room = max(1, COLUMNS - len(line))
    return paragraphs


def _list_begins(before: str, lines: Sequence[str]) -> bool:
    """Whether a list of values begins after a sentence that happens to fill its line."""
    return (
        before.endswith((".", ":")) and len(lines) > 1 and all(_WORD.fullmatch(s.strip()) for s in lines[:2])
    )


def _text(lines: Iterable[str]) -> str:
    text = "\n".join(_paragraphs(lines)).strip()
    return "" if text in NOTHING else text


def _names(lines: Iterable[str]) -> tuple[str, ...]:
    text = _text(lines).replace("\n", ", ")
    return tuple(name.strip() for name in text.split(",") if name.strip())


# Arguments


def _arguments(syntax: Iterable[str], texts: Iterable[str], first: str) -> tuple[Argument, ...]:
    """The headers of the syntax, each with what is said of it.

    Args:
        first: the syntax's own first line, which is no header.
    """
    required: dict[str, bool] = {}
    repeated = set()
    for line in syntax:
        header = _SYNTAX.fullmatch(line.strip())
        if header is None or line.strip() == first:
            continue
        name = header["name"]
        if name in required:
            repeated.add(name)
        required[name] = required.get(name, False) or not line.strip().startswith("[")
    said: dict[str, list[str]] = {}
    name = ""
    for line in texts:
        if line and not line[0].isspace():
            name = line.strip()
            if name not in NOTHING:
                said.setdefault(name, [])
        elif name in said:
            said[name].append(line)
    return tuple(
        _argument(name, required.get(name, False), said.get(name, []), name in repeated)
        for name in dict.fromkeys((*required, *said))
        if not (first.startswith("Action:") and name == "ActionID")  # amiweb chooses it
    )


def _argument(name: str, required: bool, lines: list[str], repeated: bool) -> Argument:
    paragraphs = _paragraphs(lines, indent=4)
    choices = _choices(paragraphs)
    text = "\n".join(each for number, each in enumerate(paragraphs) if number not in choices).strip()
    words = [word for word, _ in choices.values()]
    closed = bool(words) and all(map(_PLAIN.fullmatch, words)) and not _OPEN.search(text)
    return Argument(
        name=name,
        required=required,
        text=text,
        choices=tuple(words),
        choice_texts={word: said for word, said in choices.values() if said},
        closed=closed,
        repeatable=repeated or bool(_REPEATABLE.search(text)),
        boolean=_boolean(words if closed else [], text),
    )


def _choices(paragraphs: list[str]) -> dict[int, tuple[str, str]]:
    """Which paragraphs are values of a list rather than sentences: their numbers, with value and text."""
    found: dict[int, tuple[str, str]] = {}
    for number, paragraph in enumerate(paragraphs):
        if paragraph.startswith(" "):
            return {}  # a list inside a list, or examples: nothing to choose from
        if said := _WORD_WITH_TEXT.fullmatch(paragraph):
            found[number] = (said[1], said[2])
        elif _WORD.fullmatch(paragraph) or (number - 1 in found and _FEW_WORDS.fullmatch(paragraph)):
            found[number] = (paragraph, "")
    if len(found) == 1:
        (number, (_, said_of_it)), *_ = found.items()
        introduced = number > 0 and paragraphs[number - 1].endswith(":")
        if not (said_of_it or introduced):
            return {}  # one word is a short text
    return found


def _boolean(choices: list[str], text: str) -> tuple[str, str] | None:
    if choices:
        words = {word.lower(): word for word in choices}
        return next(((words[yes], words[no]) for yes, no in BOOLEANS if {yes, no} == words.keys()), None)
    return next((pair for pattern, pair in _BOOLEAN if pattern.search(text)), None)
