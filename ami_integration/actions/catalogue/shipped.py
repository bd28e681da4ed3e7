"""The catalogues that amiweb brings along, for servers whose login may not run `Command`.

They are files of facts, made from a real PBX by `manage.py build_catalogue` and looked at before a release:
names of actions, events and headers, what is required, the words that a header takes, privileges. Asterisk's
sentences stay in Asterisk.
"""

import functools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument, EventDescription

FOLDER = Path(__file__).parent / "data"

_VERSION = re.compile(r"\D*(\d+)(?:[.+~-]|\Z)")
#: Since Asterisk 16, whose AMI is 5, both count on together; `Asterisk Call Manager/11.0.0` is Asterisk 22.
_AMI_BEHIND = 11


@dataclass(frozen=True)
class Shipped:
    """A shipped catalogue."""

    asterisk_version: str
    actions: tuple[ActionDescription, ...]
    events: tuple[EventDescription, ...]

    def action(self, name: str) -> ActionDescription | None:
        """The action of that name in whatever case, marked as shipped."""
        return next((each for each in self.actions if each.name.lower() == name.lower()), None)


def major(asterisk_version: str, ami_version: str = "") -> int | None:
    """The number that people call a version by: 22 of `22.10.1+dfsg`; of AMI's version where that is all."""
    if found := _VERSION.match(asterisk_version.removeprefix("certified/")):
        return int(found[1])
    if (found := _VERSION.match(ami_version)) and int(found[1]) >= 5:
        return int(found[1]) + _AMI_BEHIND
    return None


def version_key(asterisk_version: str) -> tuple[int, ...]:
    """By which versions are put into order: its numbers."""
    return tuple(int(number) for number in re.findall(r"\d+", asterisk_version)[:4])


def release(asterisk_version: str) -> str:
    """A version without what a distribution adds to it: 22.10.1 of `22.10.1+dfsg+~cs6.17.60671434-1`."""
    return re.split(r"[+~(]|-\d", asterisk_version)[0].strip()


def shipped_major_for(asterisk_version: str, ami_version: str = "") -> int | None:
    """Whose shipped catalogue is used for that version: its own, or the nearest one's; None: unknown."""
    wanted = major(asterisk_version, ami_version)
    if wanted is None:
        return None
    return min(shipped_majors(), key=lambda number: (abs(number - wanted), -number))


@functools.cache
def shipped_majors() -> tuple[int, ...]:
    """The versions for which there is one, oldest first."""
    return tuple(sorted(int(path.stem) for path in FOLDER.glob("*.json")))


@functools.cache
def shipped(number: int) -> Shipped:
    """The shipped catalogue of this version, which is one of `shipped_majors()`."""
    data = json.loads((FOLDER / f"{number}.json").read_text(encoding="utf-8"))
    version = data["asterisk_version"]
    return Shipped(
        version,
        tuple(ActionDescription.from_json({**each, "shipped_for": version}) for each in data["actions"]),
        tuple(EventDescription.from_json(each) for each in data["events"]),
    )


def facts_write(
    *, version: str, actions: Iterable[ActionDescription], events: Iterable[EventDescription], folder: Path
) -> Path:
    """Write the facts of a catalogue as a shipped one, a line for each action and event; returns the file."""
    number = major(version)
    if number is None:
        raise ValueError(f"{version!r} is no version of Asterisk")
    lines = [f'{{"asterisk_version": {json.dumps(release(version))},', '"actions": [']
    lines += [",\n".join(_line(action_facts(each).to_json()) for each in actions), "],", '"events": [']
    lines += [",\n".join(_line(event_facts(each).to_json()) for each in events), "]}", ""]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{number}.json"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def action_facts(action: ActionDescription) -> ActionDescription:
    """The action without a sentence of its documentation."""
    final = action.final_response
    return replace(
        action,
        synopsis="",
        description="",
        syntax="",
        arguments=tuple(map(_argument_facts, action.arguments)),
        list_responses=tuple(map(event_facts, action.list_responses)),
        final_response=event_facts(final) if final else None,
        sections=(),
    )


def event_facts(event: EventDescription) -> EventDescription:
    """The event without a sentence of its documentation."""
    return replace(
        event,
        synopsis="",
        description="",
        arguments=tuple(map(_argument_facts, event.arguments)),
        sections=(),
        others=tuple(map(event_facts, event.others)),
    )


def _argument_facts(argument: Argument) -> Argument:
    return replace(argument, text="", choice_texts={})


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))
