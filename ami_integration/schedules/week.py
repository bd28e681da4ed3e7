"""The calendar's week: what ran and what is planned, hour by hour, of all schedules that a person may see.

Thousands of schedules must not take longer than a page may. So the database counts the past by quarters of an
hour and hands out only the few rows of each that are drawn, those that went wrong first; what is planned
comes from `planning`, which remembers; and schedules that are due more often than every four hours are one
band each instead of entries, a few of them on a page.
"""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import (
    BigIntegerField,
    Case,
    Count,
    F,
    Func,
    IntegerField,
    QuerySet,
    When,
    Window,
)
from django.db.models.functions import RowNumber

from ami_integration.access.services import AnyUser, user_sees_all_servers
from ami_integration.schedules.bands import Band, bands_asked, bands_read
from ami_integration.schedules.blackouts import Window as BlackoutWindow
from ami_integration.schedules.outcomes import (
    COLUMNS,
    Entry,
    Group,
    Links,
    counts_words,
    group_is,
    group_of,
    state_words,
)
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.planning import SCHEDULE_COLUMNS, Plan, divided, upcoming
from ami_integration.schedules.questions import PLANNED, Question
from ami_integration.schedules.shades import Shade, shades_of, touches, windows_seen
from ami_integration.schedules.slots import QUARTER, Day

#: Entries that an hour of the grid shows; of more, these and a link to all.
SHOWN = 3
#: Bands on one page.
BANDS = 12
#: Stopped schedules that the page names.
STOPPED = 5
#: Seconds after which a planned time that nobody took is told to be late.
LATE = 60


class Quarter(Func):
    """Which quarter of an hour since 1970 a moment lies in."""

    output_field = BigIntegerField()
    template = f"FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / {QUARTER})::bigint"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = f"CAST(strftime('%%%%s', %(expressions)s) AS INTEGER) / {QUARTER}"
        return self.as_sql(compiler, connection, template=template, **context)


@dataclass(slots=True)
class Cell:
    """One hour of one day.

    Attributes:
        at: when it begins, for the address of the list of all.
        now: the time, if it is now; "" otherwise.
        entries: those that are shown, as they come.
        counts, planned: of all there are.
        blackouts: the names of those that touch it.
    """

    at: str
    now: str = ""
    entries: list[Entry] = field(default_factory=list)
    counts: Counter[Group] = field(default_factory=Counter)
    planned: int = 0
    blackouts: list[str] = field(default_factory=list)

    @property
    def more(self) -> int:
        return self.counts.total() + self.planned - len(self.entries)

    @property
    def words(self) -> str:
        return counts_words(self.counts, self.planned)


@dataclass(frozen=True)
class Row:
    """An hour of the clock over the days of the week.

    Attributes:
        again: whether it is the second time that the clocks of some day show it.
        cells: for each day its cell (None: that day's clocks don't show this hour) and whether it is the day
            that is shown on a phone.
    """

    hour: str
    again: bool
    cells: list[tuple[Cell | None, bool]]

    @property
    def now(self) -> bool:
        return any(cell is not None and cell.now for cell, _ in self.cells)


@dataclass(frozen=True)
class Column:
    """A day of the page's head."""

    day: Day
    today: bool
    chosen: bool
    blackouts: list[Shade]


@dataclass(frozen=True)
class WeekPage:
    """All that the page shows.

    Attributes:
        bands: those of `bands_page`, one of the pages of all bands.
        number: how many schedules are asked about.
        stopped: name and address of the first that are stopped; there are `stopped_more`.
        words: what ran and what is planned in the grid, in numbers.
    """

    columns: list[Column]
    rows: list[Row]
    bands: list[Band]
    bands_page: "Page[Any]"
    number: int
    stopped: list[tuple[str, str]]
    stopped_more: int
    disabled: int
    words: str

    @property
    def now(self) -> bool:
        return any(row.now for row in self.rows)

    @property
    def shaded(self) -> bool:
        return any(column.blackouts for column in self.columns)


def week_read(*, user: AnyUser, question: Question, page: int = 1) -> WeekPage:
    """What the calendar shows for a question.

    Args:
        page: which of the pages of bands.
    """
    found = question.schedules(user).order_by("name")
    schedules: list[Any] = list(found.values_list(*SCHEDULE_COLUMNS, named=True))
    listed, frequent = divided(schedules, question.week)
    windows = windows_seen(user, question)
    past = past_runs(user, question, [row.pk for row, *_ in listed], [row.pk for row, _ in frequent])
    drawn = _of_hours(question, past.some())
    links = Links(user, [row for hour in drawn for row in hour])
    cells = _cells(question, schedules, past, planned(question, listed), links, drawn, windows)
    bands = Paginator(bands_asked(question, frequent), BANDS).get_page(page)
    stopped = [row for row in schedules if row.stopped_at is not None]
    chosen = question.day.weekday()
    return WeekPage(
        columns=[
            Column(day, day.date == question.today, number == chosen, shades_of(question, day, windows))
            for number, day in enumerate(question.week.days)
        ],
        rows=_rows(question, cells),
        bands=bands_read(question, list(bands), links),
        bands_page=bands,
        number=len(schedules),
        stopped=[(row.name, links.schedule(row.pk)) for row in stopped[:STOPPED]],
        stopped_more=max(0, len(stopped) - STOPPED),
        disabled=sum(not row.enabled and row.stopped_at is None for row in schedules),
        words=counts_words(
            sum((cell.counts for cell in cells), Counter()), sum(cell.planned for cell in cells)
        ),
    )


def planned(question: Question, listed: list[tuple[Any, Plan, "array[int]"]]) -> list[list[tuple[int, Any]]]:
    """What is planned in each hour of the week, as it comes."""
    week = question.week
    hours: list[list[tuple[int, Any]]] = [[] for _ in week.slots]
    if question.outcome not in ("", PLANNED) or week.until <= question.now:
        return hours
    starts = week.starts
    for row, plan, times in listed:
        for moment in upcoming(row, plan, times):
            hours[bisect_right(starts, moment) - 1].append((moment, row))
    for hour in hours:
        hour.sort(key=itemgetter(0))
    return hours


# What ran


@dataclass(frozen=True)
class Past:
    """The planned runs of a week, save those of bands, with the quarter of an hour of each."""

    runs: QuerySet[Any]

    def counts(self) -> Iterator[tuple[int, Group, int]]:
        """Moment, group, number: for each quarter of an hour."""
        counted = (
            self.runs.order_by().values_list("quarter", "outcome", "result").annotate(number=Count("pk"))
        )
        for quarter, outcome, result, number in counted:
            yield quarter * QUARTER, group_of(result or outcome), number

    def some(self) -> list[Any]:
        """A few of each quarter, those that went wrong first."""
        badly = Case(When(group_is(Group.BAD), then=0), default=1, output_field=IntegerField())
        ranked = self.runs.annotate(
            rank=Window(RowNumber(), partition_by=[F("quarter")], order_by=[badly, F("planned_at"), F("pk")])
        )
        return list(ranked.filter(rank__lte=SHOWN).order_by().values_list(*COLUMNS, named=True))


def past_runs(user: AnyUser, question: Question, listed: Collection[int], frequent: Collection[int]) -> Past:
    """What ran in the week that is asked about.

    Args:
        listed: the schedules that are drawn time by time.
        frequent: those that are bands.
    """
    week = question.week
    runs = PlannedRun.objects.filter(planned_at__gte=week.since, planned_at__lt=week.until)
    if question.outcome == PLANNED:
        runs = runs.none()
    if (group := question.group()) is not None:
        runs = runs.filter(group_is(group))
    if len(listed) <= len(frequent):
        # The millions of rows of those that are bands are not even looked at.
        runs = runs.filter(schedule__in=listed)
    else:
        if question.narrowed or not user_sees_all_servers(user=user):
            runs = runs.filter(schedule__in=question.schedules(user).order_by().values("pk"))
        if frequent:
            runs = runs.exclude(schedule__in=frequent)
    return Past(runs.annotate(quarter=Quarter("planned_at")))


def _of_hours(question: Question, rows: Iterable[Any]) -> list[list[Any]]:
    """The rows of each hour of the week that are shown: as they come, but those that went wrong always."""
    hours: list[list[Any]] = [[] for _ in question.week.slots]
    for row in rows:
        hours[question.week.slot_at(int(row.planned_at.timestamp()))].append(row)
    for hour in hours:
        hour.sort(key=lambda row: (group_of(row.result or row.outcome) != Group.BAD, row.planned_at, row.pk))
        del hour[SHOWN:]
        hour.sort(key=lambda row: (row.planned_at, row.pk))
    return hours


# The grid


def _cells(
    question: Question, schedules: list[Any], past: Past, planned: list[list[tuple[int, Any]]], links: Links,
    drawn: list[list[Any]], windows: list[BlackoutWindow],
) -> list[Cell]:  # fmt: skip
    """One for each hour of the week."""
    week, names = question.week, {row.pk: row.name for row in schedules}
    now = int(question.now.timestamp())
    cells = []
    for slot, rows, coming in zip(week.slots, drawn, planned, strict=True):
        cell = Cell(at=datetime.fromtimestamp(slot.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        cell.entries = [past_entry(question, row, names.get(row.schedule_id, ""), links) for row in rows]
        cell.entries += [
            planned_entry(question, moment, row, links, windows)
            for moment, row in coming[: SHOWN - len(rows)]
        ]
        cell.planned = len(coming)
        if slot.since <= now < slot.until:
            cell.now = f"{question.local(now):%H:%M}"
        cell.blackouts = [
            window.blackout.name for window in windows if touches(window, slot.since, slot.until)
        ]
        cells.append(cell)
    for moment, group, number in past.counts():
        cells[week.slot_at(moment)].counts[group] += number
    return cells


def past_entry(question: Question, row: Any, name: str, links: Links) -> Entry:
    """A planned time that has passed."""
    state = row.result or row.outcome
    url = links.run(row) or links.schedule(row.schedule_id)
    note = f"by hand, by {row.by_hand}" if row.by_hand else ""
    at = question.local(row.planned_at.timestamp())
    return Entry(at, name, state, state_words(state), url, note)


def planned_entry(
    question: Question, moment: int, row: Any, links: Links, windows: Iterable[BlackoutWindow]
) -> Entry:
    """A planned time that is to come. One that passed and wasn't taken is late: the clock stands still."""
    url = links.schedule(row.pk)
    if question.now.timestamp() - moment > LATE:
        return Entry(question.local(moment), row.name, "late", "Due, not begun", url)
    for window in windows:
        chosen = window.blackout.about
        whole = window.blackout.tag_id is None and (chosen is None or row.pk in chosen)
        if whole and window.starts_at.timestamp() <= moment < window.ends_at.timestamp():
            note = f"in the blackout “{window.blackout.name}”: it will not start"
            return Entry(question.local(moment), row.name, "blackout", "Blackout", url, note)
    return Entry(question.local(moment), row.name, PLANNED, "Planned", url)


def _rows(question: Question, cells: list[Cell]) -> list[Row]:
    week = question.week
    by_hour: dict[tuple[int, int, bool], Cell] = {}
    number = 0
    for day, of_day in enumerate(week.days):
        for slot in of_day.slots:
            by_hour[day, slot.hour, slot.again] = cells[number]
            number += 1
    chosen = question.day.weekday()
    return [
        Row(
            f"{hour:02}:00",
            again,
            [(by_hour.get((day, hour, again)), day == chosen) for day in range(7)],
        )
        for hour, again in week.rows
    ]
