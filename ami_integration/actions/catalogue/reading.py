"""Asks a PBX for all that it says of itself, over one session.

`ListCommands` needs no privilege and names what this login may run. The pages come from `Command`, which a
careful administrator grants to few: without it a server gets a shipped catalogue. The names of the pages
come from `manager show commands`, which lists every action whoever asks, so that two logins of one PBX read
the same catalogue.

Asterisk 16 prints its events in columns of 20 characters and cuts longer names, old versions do so with
actions; the CLI's own completion (`_command matchesarray`) knows the rest of such a name.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ami_integration.access.masking import storable
from ami_integration.actions.catalogue.descriptions import ActionDescription, EventDescription
from ami_integration.actions.catalogue.pages import (
    NoPage,
    action_parse,
    event_names_parse,
    event_parse,
    names_parse,
)
from ami_integration.ami import AMIClient

_PRIVILEGES = re.compile(r"\(Priv: (?P<classes>[^()]*)\)\s*\Z")
#: Headers of the answer to ListCommands that are no actions.
_NO_ACTIONS = ("response", "actionid", "message", "eventlist")
#: What a name looks like; anything else in a list of names isn't asked for.
_NAME = re.compile(r"[\w.-]{1,255}")

Description = TypeVar("Description", ActionDescription, EventDescription)


@dataclass(frozen=True)
class Reading:
    """What a PBX said of itself.

    Attributes:
        asterisk_version: empty if the login may not ask.
        abilities: what the login may run, with privileges.
        actions, events: their descriptions; both empty if the login may not run `Command`.
        unread: names that the PBX lists and has no page for.
        content_hash: SHA-256 of all pages.
    """

    asterisk_version: str
    abilities: dict[str, str]
    actions: tuple[ActionDescription, ...] = ()
    events: tuple[EventDescription, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def content_hash(self) -> str:
        described = [[each.to_json() for each in kind] for kind in (self.actions, self.events)]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def pbx_read(client: AMIClient) -> Reading:
    """Read everything. Raises AMIError if the session breaks."""
    version = storable(client.action("CoreSettings").response.get("AsteriskVersion") or "")
    abilities = abilities_parse(client.action("ListCommands").response.items())
    listed = _lines(client, "manager show commands")
    if not listed:
        return Reading(version, abilities)
    unread: list[str] = []
    actions = _described(
        client, [*names_parse(listed), *abilities], "manager show command", action_parse, unread
    )
    names = event_names_parse(_lines(client, "manager show events"))
    events = _described(client, names, "manager show event", event_parse, unread)
    return Reading(version, abilities, actions, events, tuple(unread))


def abilities_parse(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The actions in the answer to ListCommands with their privileges: `{"Hangup": "system,call,all"}`."""
    found = {}
    for name, text in headers:
        if name.lower() not in _NO_ACTIONS and (privileges := _PRIVILEGES.search(text)):
            found[storable(name)] = storable(privileges["classes"])
    return found


def _lines(client: AMIClient, command: str) -> list[str]:
    """The output of a CLI command; nothing where the login may not run it or the PBX doesn't know it."""
    reply = client.command(command)
    return [storable(line) for line in reply.output] if reply.success else []


def _described(
    client: AMIClient,
    names: Sequence[str],
    show: str,
    parse: Callable[[str, Sequence[str]], Description],
    unread: list[str],
) -> tuple[Description, ...]:
    """The pages of these names, in the order of the alphabet; names without one are added to `unread`."""
    found: dict[str, Description] = {}
    cut = []
    for name in dict.fromkeys(filter(_NAME.fullmatch, names)):
        try:
            found[name] = parse(name, _lines(client, f"{show} {name}"))
        except NoPage:
            cut.append(name)
    for beginning in cut:
        whole = _completed(client, show, beginning)
        missing = [name for name in whole if name not in found]
        for name in missing:
            try:
                found[name] = parse(name, _lines(client, f"{show} {name}"))
            except NoPage:
                unread.append(name)
        if not whole and not any(name.startswith(beginning) for name in found):
            unread.append(beginning)
    return tuple(found[name] for name in sorted(found, key=str.lower))


def _completed(client: AMIClient, show: str, beginning: str) -> list[str]:
    """The names that begin so, as the CLI completes them when somebody presses the tabulator key."""
    lines = _lines(client, f'_command matchesarray "{show} {beginning}" "{beginning}"')
    words = [word for word in " ".join(lines).split() if word != "_EOF_"]
    return [word for word in dict.fromkeys(words) if word.startswith(beginning)]
