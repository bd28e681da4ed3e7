"""What the catalogue says against a request, header by header, before anything is sent.

The PBX has the last word: it refuses what it doesn't like, and its description may be wrong. So everything
here is about what people mistype, and a form lets them insist.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument
from ami_integration.ami import Action, InvalidAction

_NUMBER = re.compile(r"-\d{6}\Z")
#: Values named in an error; a longer list would hide what is wrong.
SHOWN = 12


@dataclass(frozen=True)
class Fault:
    """What is wrong with a header.

    Attributes:
        header: its name, as in the catalogue where that knows it.
        text: a sentence for people.
    """

    header: str
    text: str


def wire_faults(headers: Iterable[tuple[str, str]]) -> list[Fault]:
    """The headers that can't be put on the wire: too long, a line end in them, no name."""
    faults = []
    for name, value in headers:
        try:
            Action("Ping", [(name, value)]).encode()
        except InvalidAction as error:
            faults.append(Fault(name, str(error)))
    return faults


def catalogue_faults(description: ActionDescription, headers: Sequence[tuple[str, str]]) -> list[Fault]:
    """What the catalogue doesn't know of: a required header that is missing, a value that isn't listed."""
    faults = _uncounted(description, headers)
    for argument in description.arguments:
        own = [(name, value) for name, value in headers if _fits(argument, name)]
        if argument.required and not any(value.strip() for _, value in own):
            faults.append(Fault(argument.name, f"{argument.name} is required."))
        faults += [
            Fault(name if argument.numbered else argument.name, _unlisted(argument, value))
            for name, value in own
            if not _takes(argument, value)
        ]
    return faults


def _uncounted(description: ActionDescription, headers: Sequence[tuple[str, str]]) -> list[Fault]:
    """Numbers without the header that leads its row: Asterisk counts up to the first that is missing.

    (main/manager.c, handle_updates: it looks for Action-000000, Action-000001 … and stops at an empty one.)
    """
    numbered = [argument for argument in description.arguments if argument.numbered]
    if not numbered:
        return []
    own = [name for name, _ in headers if any(_fits(argument, name) for argument in numbered)]
    leading = {_number(name) for name, value in headers if _fits(numbered[0], name) and value.strip()}
    first = next((number for number in range(len(leading) + 1) if number not in leading), 0)
    lost = [name for name in own if _number(name) >= first]
    if not lost:
        return []
    lead = _NUMBER.sub(f"-{first:06}", numbered[0].name)
    return [
        Fault(
            lead, f"{lead} is missing: the PBX stops there, and does nothing with {', '.join(lost[:SHOWN])}."
        )
    ]


def _number(name: str) -> int:
    return int(name[-6:])


def _fits(argument: Argument, name: str) -> bool:
    if argument.numbered:
        return _NUMBER.sub("", name).lower() == _NUMBER.sub("", argument.name).lower() and bool(
            _NUMBER.search(name)
        )
    return argument.name.lower() == name.lower()


def _takes(argument: Argument, value: str) -> bool:
    if not argument.closed or not value.strip():
        return True
    listed = {choice.lower() for choice in argument.choices}
    # "A comma-separated list of …": the words of the list, each by itself.
    parts = value.split(",") if "comma" in argument.text.lower() else [value]
    return all(part.strip().lower() in listed for part in parts)


def _unlisted(argument: Argument, value: str) -> str:
    shown = ", ".join(argument.choices[:SHOWN])
    more = " …" if len(argument.choices) > SHOWN else ""
    return f"The PBX doesn't list “{value[:40]}” for {argument.name}. It lists: {shown}{more}."
