"""The next planned times as pages show them: on the clocks of the schedule's zone and in UTC, with notes.

One list for the form's preview and for the page of whoever may only look: `times.js` draws both.
"""

import zoneinfo
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from ami_integration.access.services import servers_visible
from ami_integration.schedules.blackouts import Window, blackout_for, blackouts_load
from ami_integration.schedules.calendar import BadTiming, clock_note, next_times
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.states import State, state_of
from ami_integration.schedules.targets import schedule_meant
from ami_integration.schedules.timing_forms import PREVIEW, moment_text, when_words
from ami_integration.servers.models import Server

_NONE = {
    State.PAUSED: "None: it is paused.",
    State.STOPPED: "None: amiweb stopped it.",
    State.ENDED: "None: it has ended.",
}


class Blackouts:
    """What blackouts will keep from starting.

    Args:
        schedule: a stored one; None: one that isn't saved yet.
        servers: on which it will run.
        seen: the ids of those whose names are for this person; None: all.
    """

    def __init__(
        self, schedule: Schedule | None, servers: list[Server], seen: Collection[int] | None = None
    ) -> None:
        self._schedule = schedule or Schedule()
        self._servers = servers
        self._seen = {server.pk for server in servers} if seen is None else seen
        self._whole = all(server.pk in self._seen for server in servers)
        self._rules = blackouts_load()

    def note(self, moment: datetime) -> str:
        """What of it doesn't run at this moment, a sentence; or ""."""
        held = blackout_for(schedule=self._schedule, at=moment, servers=self._servers, rules=self._rules)
        if held.whole is not None:
            return f"Will not run: {self._words(held.whole)}"
        if not held:
            return ""
        names = [one.name for one in self._servers if one.pk in held.servers and one.pk in self._seen]
        if not names:
            return "Will not run on some servers that you don't see."
        window = next(held.servers[one.pk] for one in self._servers if one.name == names[0])
        return f"Without {', '.join(names)}: {self._words(window)}"

    def _words(self, window: Window) -> str:
        until = window.ends_at.astimezone(zoneinfo.ZoneInfo(window.blackout.timezone))
        # One of a tag is about servers: its name is for whoever sees all that are meant.
        known = window.blackout.tag is None or self._whole
        name = f"“{window.blackout.name}”" if known else "a blackout"
        return f"{name} until {until:%Y-%m-%d %H:%M}"


def times_shown(
    *, timing: Any, zone: str, moments: Iterable[datetime], held: Blackouts
) -> list[dict[str, str]]:
    """Each moment in words, ready for JSON."""
    return [
        {
            "at": moment.isoformat(),
            "zone": moment_text(moment, zone),
            "utc": moment_text(moment, "UTC"),
            "note": clock_note(timing=timing, moment=moment),
            "blackout": held.note(moment),
        }
        for moment in moments
    ]


def coming_read(*, user: Any, schedule: Schedule, now: datetime) -> dict[str, Any]:
    """The next runs of a stored schedule, for somebody who sees it.

    Returns:
        `none`, why there are none, a sentence; or else `words`, `zone` and `times` as the preview has them.
    """
    if none := _NONE.get(state_of(schedule)):
        return {"none": none}
    left = PREVIEW if schedule.max_runs is None else schedule.max_runs - schedule.runs_counted
    try:
        words = when_words(schedule)
        moments = next_times(timing=schedule, after=now, count=max(0, min(PREVIEW, left)))
    except BadTiming as error:
        return {"none": str(error)}
    meant = schedule_meant(schedule=schedule, user=schedule.owner)
    seen = servers_visible(user=user).filter(pk__in=[server.pk for server in meant])
    held = Blackouts(schedule, meant, set(seen.values_list("pk", flat=True)))
    times = times_shown(timing=schedule, zone=schedule.timezone, moments=moments, held=held)
    return {"words": words, "zone": schedule.timezone, "times": times}
