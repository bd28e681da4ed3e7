"""What stands for something else in headers: `{{name}}` for what is asked anew, stars for what is hidden.

Secrets never go back into a page. A form that opens with stored headers shows their masked copy and carries
the originals along encrypted (`Kept`); where the stars were left alone, the hidden value is put back. It is
put back for the same person and into the same action only: a hidden `Secret` of one action, moved into a
`UserEvent`, would be told to everybody who listens.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ami_integration.actions.masking import MASK, headers_mask
from ami_integration.servers.encryption import Secret, SecretUnreadable

Pairs = list[tuple[str, str]]

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_]\w{0,49})\s*\}\}")


class HiddenValueMissing(ValueError):
    """Stars stand where nothing was hidden. Attributes: `header`, its name."""

    def __init__(self, header: str) -> None:
        super().__init__(
            f"The stars of {header} stand for a hidden value that isn't there. Write the value anew."
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


def stars_restore(headers: Iterable[tuple[str, str]], stored: Iterable[tuple[str, str]]) -> Pairs:
    """The headers with hidden values put back where their stars were left alone.

    Raises:
        HiddenValueMissing: stars that none of the stored headers explains.
    """
    originals = list(stored)
    hidden = list(zip(headers_mask(originals), originals, strict=True))
    whole: Pairs = []
    for pair in headers:
        if MASK in pair[1]:
            match = next((both for both in hidden if both[0] == pair), None)
            if match is None:
                raise HiddenValueMissing(pair[0])
            hidden.remove(match)
            pair = match[1]
        whole.append(pair)
    return whole


@dataclass(frozen=True)
class Kept:
    """Headers that a form carries along, encrypted, for what its stars stand for."""

    user: int
    action: str
    headers: list[Any]

    def pack(self) -> str:
        return Secret.from_plain(json.dumps(asdict(self))).token

    @classmethod
    def unpack(cls, token: str) -> Self | None:
        """Read it again; None if it can't be read."""
        try:
            return cls(**json.loads(Secret(token).reveal()))
        except (SecretUnreadable, ValueError, TypeError):
            return None

    def for_request(self, *, user: Any, action: str) -> Pairs:
        """The headers, for this person and this action; nothing for others."""
        if user.pk != self.user or action.strip().lower() != self.action.strip().lower():
            return []
        return [(name, value) for name, value in self.headers]
