"""What stands for something else in headers: `{{name}}` for what is asked anew, stars for what is hidden.

Secrets never go back into a page. A form that opens with stored headers shows their masked copy and carries
the originals along encrypted (`Kept`); where the stars were left alone, the hidden value is put back. It is
put back for the same person, into the same action and for the same servers only: a hidden `Secret` of one
action, moved into a `UserEvent`, would be told to everybody who listens, and a secret that was typed for one
PBX is nothing for another. Nor is it put back where it would be seen: `Value` is hidden by what `Variable`
names, and under another name it would be read by the next Getvar.

What another header does with a value nobody can tell by looking (`Data: PLAIN=${API_SECRET}`). So the values
that somebody else wrote are put back only into the request that they were written for, header by header; it
may differ in what its placeholders became, and in nothing else. Whose they are stays with them, through every
run, template and schedule that is made of the request.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ami_integration.access.masking import MASK, headers_mask, storable
from ami_integration.secrets.encryption import Secret, SecretUnreadable

Pairs = list[tuple[str, str]]

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_]\w{0,49})\s*\}\}")


class HiddenValueMissing(ValueError):
    """Stars stand where nothing was hidden, or what isn't lent. Attributes: `header`, its name."""

    def __init__(self, header: str, text: str = "") -> None:
        super().__init__(
            text
            or f"The stars of {header} stand for a hidden value that isn't there, or wasn't meant for this "
            "action, server or variable. Write the value anew."
        )
        self.header = header


def variables_of(headers: Iterable[tuple[str, str]]) -> list[str]:
    """The names in `{{…}}`, in the order in which they come first."""
    found = (match[1] for _, value in headers for match in _VARIABLE.finditer(value))
    return list(dict.fromkeys(found))


def variables_fill(headers: Iterable[tuple[str, str]], values: Mapping[str, str]) -> Pairs:
    """The headers with every `{{name}}` replaced whose name has a value. Values are taken as they are."""
    return [
        (name, _VARIABLE.sub(lambda match: values.get(match[1], match[0]), value)) for name, value in headers
    ]


def stars_restore(
    headers: Iterable[tuple[str, str]], stored: Iterable[tuple[str, str]], *, own: bool = False
) -> Pairs:
    """The headers with hidden values put back where their stars were left alone.

    Args:
        headers: as they came out of a form.
        stored: the ones in clear that it was filled with.
        own: whether who asks wrote the hidden values. Anybody else changes nothing beside them.

    Raises:
        HiddenValueMissing: stars that none of the stored headers explains, or whose value would be seen.
    """
    pairs, originals = list(headers), list(stored)
    if own or not originals:
        return _restore_own(pairs, originals)
    if not _same_request(pairs, originals):
        hidden = next((name for name, value in pairs if MASK in value), "")
        raise HiddenValueMissing(
            hidden,
            f"Somebody else wrote the hidden value of {hidden}. It is sent only with the headers that it was "
            "written for: leave them all as they were, or write the value anew.",
        )
    return originals


def _same_request(shown: Pairs, originals: Pairs) -> bool:
    """Whether these are the stored headers, each one, with nothing but what is hidden hidden."""
    if len(shown) != len(originals):
        return False
    for (name, value), original, masked in zip(shown, originals, headers_mask(originals), strict=True):
        accepted = {storable(masked[1]).strip(" \t")}
        if variables_of([original]):  # a placeholder is shown, even where a secret will stand
            accepted.add(storable(original[1]).strip(" \t"))
        if name != storable(original[0]).strip() or value not in accepted:
            return False
    return True


def _restore_own(headers: Pairs, originals: Pairs) -> Pairs:
    hidden = list(zip(headers_mask(originals), originals, strict=True))
    whole: Pairs = []
    restored = []
    for pair in headers:
        if MASK in pair[1]:
            match = next((both for both in hidden if both[0] == pair), None)
            if match is None:
                raise HiddenValueMissing(pair[0])
            hidden.remove(match)
            pair = match[1]
            restored.append(len(whole))
        whole.append(pair)
    # A placeholder's own name hides nothing: something else will stand there.
    filled = variables_fill(whole, dict.fromkeys(variables_of(whole), ""))
    # Of several headers that name what another holds, Asterisk takes the first.
    seen = headers_mask(filled, first_names=True)
    for index in restored:
        if MASK not in seen[index][1]:
            raise HiddenValueMissing(whole[index][0])
    return whole


@dataclass(frozen=True)
class Kept:
    """Headers that a form carries along, encrypted, for what its stars stand for.

    `servers`: the ids of those that they were meant for; None: any. `hidden_by`: the id of the person who
    wrote what is hidden in them; None: nobody knows. `tag`: the id of the tag that was meant, if one was.
    """

    user: int
    action: str
    headers: list[Any]
    servers: list[int] | None = None
    hidden_by: int | None = None
    tag: int | None = None

    @property
    def own(self) -> bool:
        """Whether the person who uses them wrote what is hidden in them."""
        return self.hidden_by == self.user

    def pack(self) -> str:
        return Secret.from_plain(json.dumps(asdict(self))).token

    @classmethod
    def unpack(cls, token: str) -> Self | None:
        """Read it again; None if it can't be read."""
        try:
            return cls(**json.loads(Secret(token).reveal()))
        except (SecretUnreadable, ValueError, TypeError):
            return None

    def for_request(
        self, *, user: Any, action: str, servers: Iterable[int] | None = None, tag: int | None = None
    ) -> Pairs:
        """The headers, for this person, action and servers (None: any that there are); nothing for others.

        `tag`: the id of a tag that stands for more than these servers, for those that join it later. Nobody
        but who wrote what is hidden has it sent to another tag's.
        """
        if tag is not None and self.servers is not None and tag != self.tag and not self.own:
            return []
        if self.servers is not None and (servers is None or not set(servers) <= set(self.servers)):
            return []
        if user.pk != self.user or action.strip().lower() != self.action.strip().lower():
            return []
        return [(name, value) for name, value in self.headers]
