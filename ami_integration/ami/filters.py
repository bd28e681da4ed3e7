"""Filters that the PBX applies before it sends an event (action ``Filter``, which needs ``write=system``).

A session can add filters and take none away; they end with it, and don't concern the items of lists. Events
that match any including filter are let through (all, where there is none), and then those that match an
excluding one are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ami_integration.ami.action import Action

#: From these releases on, Filter takes MatchCriteria.
_CRITERIA_SINCE = {18: 26, 20: 11, 21: 6, 22: 1}


@dataclass(frozen=True)
class EventFilter:
    """One filter.

    Args:
        text: a regular expression (POSIX extended) over the whole event as sent; or, where one of the
            following is given, what `method` compares with.
        exclude: whether matching events are kept back instead of let through.
        name: only events of this name. Asterisk compares a number, so this is cheap for it.
        header: the header that `method` looks at; the whole event when empty.
        method: ``regex``, ``exact``, ``starts_with``, ``ends_with``, ``contains`` or ``none``.

    `name`, `header` and `method` need Asterisk 18.26, 20.11, 21.6, 22.1 or newer; an older one is refused
    before the filter is sent.
    """

    text: str = ""
    exclude: bool = False
    name: str = ""
    header: str = ""
    method: str = ""

    @property
    def advanced(self) -> bool:
        """Whether it needs a PBX that knows MatchCriteria."""
        return bool(self.name or self.header or self.method)

    def action(self) -> Action:
        """The action that adds it."""
        if not self.advanced:
            return Action("Filter", {"Operation": "Add", "Filter": ("!" if self.exclude else "") + self.text})
        criteria = ["action(exclude)" if self.exclude else "action(include)"]
        criteria += [
            f"{key}({value})"
            for key, value in (("name", self.name), ("header", self.header), ("method", self.method))
            if value
        ]
        return Action(
            "Filter", {"Operation": "Add", "MatchCriteria": ",".join(criteria), "Filter": self.text}
        )


def supports_criteria(version: str) -> bool:
    """Whether an Asterisk of this version (as in ``22.10.0~dfsg``) knows MatchCriteria."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        return False
    major, minor = int(found[1]), int(found[2])
    return major > max(_CRITERIA_SINCE) or minor >= _CRITERIA_SINCE.get(major, minor + 1)
