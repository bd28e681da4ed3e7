"""Where schedules were kept from running by blackouts: that isn't silence, and nobody is late in it.

Each blackout is unrolled once for all schedules of a look, since thousands may be asked about.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from ami_integration.schedules.blackouts import Window, blackouts_load, windows
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Server

#: Windows that ended longer ago are not asked for: there is no longer silence that somebody still waits for.
LOOK_BACK = timedelta(days=92)

Span = tuple[datetime, datetime]


class Quiet:
    """The windows that hold some schedules back on all of their servers.

    Args:
        schedules: the ids of those that will be asked about.
        since: the first moment that will be asked about; `LOOK_BACK` before `until` at most.
        until: the last one. Windows that hold then are known to their end.
    """

    def __init__(self, *, schedules: Iterable[int], since: datetime, until: datetime) -> None:
        span = max(since, until - LOOK_BACK)
        self._rules: list[tuple[frozenset[int] | None, frozenset[int] | None, list[Window]]] = [
            (rule.schedules, rule.servers, found)
            for rule in blackouts_load()
            if (found := windows(rule.blackout, span, until))
        ]
        self._servers: dict[int, set[int]] = {}
        if any(servers is not None for _, servers, _ in self._rules):
            self._servers = _enabled_servers(schedules)

    def spans(self, schedule_id: int, since: datetime, until: datetime) -> list[Span]:
        """When nothing of this schedule could start, in order, without overlaps."""
        found: list[Span] = []
        for schedules, servers, held in self._rules:
            if schedules is not None and schedule_id not in schedules:
                continue
            if servers is not None:
                runs_on = self._servers.get(schedule_id, set())
                if not runs_on or not runs_on <= servers:
                    continue
            found += [(one.starts_at, one.ends_at) for one in held if one.ends_at > since]
        merged: list[Span] = []
        for begins, ends in sorted(span for span in found if span[0] <= until):
            if merged and begins <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(ends, merged[-1][1]))
            else:
                merged.append((begins, ends))
        return merged


def counted_silence(
    *, since: datetime, now: datetime, spans: list[Span], first_chance: datetime | None
) -> timedelta:
    """For how long nothing has succeeded that could have.

    It counts from the end of the last window before anything could run again, since until then nothing was
    meant to; and without what later windows take. So neither a window nor a weekend of windows is silence,
    and a window each night hides none.

    Args:
        since: from when on it counts without windows.
        spans: from `Quiet.spans`.
        first_chance: the first planned time since then that no window held back; None: there was none.
    """
    until = first_chance or now
    began = max([since, *(ends for begins, ends in spans if begins <= until)])
    lost = sum(
        (min(ends, now) - max(begins, began) for begins, ends in spans if ends > began and begins < now),
        timedelta(),
    )
    return now - began - lost


def _enabled_servers(schedules: Iterable[int]) -> dict[int, set[int]]:
    asked = set(schedules)
    found: dict[int, set[int]] = {}
    enabled = Server.objects.enabled().order_by()
    for schedule_id, server_id in enabled.filter(schedules__isnull=False).values_list("schedules", "pk"):
        if schedule_id in asked:
            found.setdefault(schedule_id, set()).add(server_id)
    tagged: dict[int, set[int]] = {}
    for tag_id, server_id in enabled.filter(tags__isnull=False).values_list("tags", "pk"):
        tagged.setdefault(tag_id, set()).add(server_id)
    with_tag = Schedule.objects.filter(tag__isnull=False).order_by().values_list("pk", "tag_id")
    found.update({pk: tagged.get(tag_id or 0, set()) for pk, tag_id in with_tag if pk in asked})
    return found
