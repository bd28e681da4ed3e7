"""All that ran and is planned within one hour of the calendar, page by page."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from ami_integration.access.services import AnyUser
from ami_integration.schedules.outcomes import COLUMNS, Entry, Links, places_words
from ami_integration.schedules.planning import SCHEDULE_COLUMNS, divided, upcoming
from ami_integration.schedules.questions import PLANNED, Question
from ami_integration.schedules.shades import windows_seen
from ami_integration.schedules.slots import Slot
from ami_integration.schedules.week import past_entry, past_runs, planned_entry
from ami_integration.schedules.whys import whys_shown

#: Entries on one page.
AT_ONCE = 100


@dataclass(frozen=True)
class Line:
    """An entry with what the grid has no room for.

    Attributes:
        where: tag or servers, as far as the person sees them.
        reason: what amiweb noted, and why runs failed, as far as the person may see it.
        schedule_url: the history of the schedule.
    """

    entry: Entry
    where: str
    reason: str
    schedule_url: str


class _Both:
    """Rows of the past, then moments that are planned, for a paginator."""

    def __init__(self, past: QuerySet[Any], planned: list[tuple[int, Any]]) -> None:
        self._past, self._planned = past, planned
        self._gone = past.count()

    def __len__(self) -> int:
        return self._gone + len(self._planned)

    def __getitem__(self, part: slice) -> list[Any]:
        planned = self._planned[max(0, part.start - self._gone) : max(0, part.stop - self._gone)]
        return [*self._past[part], *planned] if part.start < self._gone else list(planned)


def hour_read(*, user: AnyUser, question: Question, slot: Slot, page: int = 1) -> "Page[Any]":
    """One page of the `Line`s of an hour of the question's week, as they come."""
    found = question.schedules(user).order_by("name")
    schedules: dict[int, Any] = {row.pk: row for row in found.values_list(*SCHEDULE_COLUMNS, named=True)}
    listed, frequent = divided(schedules.values(), question.week)
    since, until = (datetime.fromtimestamp(moment, UTC) for moment in (slot.since, slot.until))
    drawn, bands = [row.pk for row, *_ in listed], [row.pk for row, _ in frequent]
    runs = past_runs(user, question, drawn, bands).runs
    past = runs.filter(planned_at__gte=since, planned_at__lt=until).order_by("planned_at", "pk")
    planned: list[tuple[int, Any]] = []
    if question.outcome in ("", PLANNED) and until > question.now:
        for row, plan, times in listed:
            coming = upcoming(row, plan, times)
            part = coming[bisect_left(coming, slot.since) : bisect_right(coming, slot.until - 1)]
            planned += [(moment, row) for moment in part]
        planned.sort(key=lambda pair: (pair[0], pair[1].name))
    both: Any = _Both(past.values_list(*COLUMNS, "reason", named=True), planned)
    shown = Paginator(both, AT_ONCE).get_page(page)
    items: list[Any] = list(shown)
    gone = [item for item in items if not _is_planned(item)]
    links = Links(user, gone)
    pks = {item[1].pk if _is_planned(item) else item.schedule_id for item in items}
    where, whys = places_words(user, pks), whys_shown(user, gone)
    windows = windows_seen(user, question)
    lines = []
    for item in items:
        if _is_planned(item):
            moment, row = item
            pk, entry, reason = row.pk, planned_entry(question, moment, row, links, windows), ""
        else:
            pk, reason = item.schedule_id, whys.get(item.pk, "")
            entry = past_entry(question, item, schedules[pk].name, links)
        lines.append(Line(entry, where[pk], reason, links.schedule(pk)))
    shown.object_list = lines
    return shown


def _is_planned(item: Any) -> bool:
    return type(item) is tuple
