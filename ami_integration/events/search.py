"""Looking for stored events: pages of them, how they lie in time, and all of them for an export.

Whoever asks sees the events of servers that they may watch and of no others (`access.services`); rows of
deleted servers are shown to nobody. Pages go by the id, never by an offset, so that the thousandth costs what
the first does.

A search *everywhere* reads the headers themselves. It looks at a bounded number of rows, newest first, says
how many that were, and from where to go on.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from django.db import connection

from ami_integration.access.services import AnyUser, servers_watchable, user_may_watch
from ami_integration.events.filters import Pattern, TextPattern
from ami_integration.events.ids import first_id_at, id_moment
from ami_integration.events.models import Event, Gap
from ami_integration.events.pushes import searched_text
from ami_integration.events.queries import (
    END,
    Wanted,
    buckets_counted,
    events_of,
    headers_like,
    names_stored,
    newest_first,
    rows_estimated,
)
from ami_integration.events.services import Item, event_item, gap_item
from ami_integration.events.words import words_of

#: Rows of one page at most.
MOST_ROWS = 1_000
MOST_BUCKETS = 1_000
#: Rows that one search everywhere looks at, and for how long (s).
SCAN_ROWS = 200_000
SCAN_SECONDS = 5.0
#: Rows that an export reads at once.
CHUNK_ROWS = 2_000
#: Seconds after which it asks again whether they may be read.
RIGHTS_SECONDS = 3.0
#: Newest rows in which common words show themselves; a word that is rarer there is looked up by its index.
_NEWEST_ROWS = 20_000
_SCAN_STEP = 20_000
#: Above so many rows in its time (by the statistics) a histogram is made from a sample of so many, if enough
#: of them match; what is rare is counted, by its index.
_COUNT_ROWS = 1_000_000
_SAMPLE_ROWS = 100_000
_SAMPLE_FOUND = 500


class InvalidSearch(ValueError):
    """What was asked for can't be looked for; the message says what to do, for a person."""


class RightWithdrawn(Exception):
    """What is being read may not be read to its end; the message is for a person."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What is looked for; all that is given must hold.

    Attributes:
        servers: ids; None: all that the person who asks may watch. Others are left out.
        since, until: aware; from `since`, and before `until`. None: open.
        names: any of these event names, without regard to case, `*` standing for anything.
        linkedid, uniqueid: whole.
        channel: whole, or with `*` for anything.
        words: must all occur in what is indexed (`words.SEARCHED`); `ab*`: those that begin so.
        everywhere: text in any header, or `Header:value`, as the live page's filter takes it; wants `since`.
    """

    servers: Collection[int] | None = None
    since: datetime | None = None
    until: datetime | None = None
    names: Sequence[str] = ()
    linkedid: str = ""
    uniqueid: str = ""
    channel: str = ""
    words: str = ""
    everywhere: str = ""


@dataclass(frozen=True)
class Found:
    """One page of what was found.

    Attributes:
        items: as pages get them (`services.event_item`), newest first.
        more: give it as `before_id` for the next page; None: that was all.
        scanned: how many rows a search everywhere has looked at for this page; None for other searches.
    """

    items: list[Item]
    more: int | None
    scanned: int | None = None

    @property
    def back_to(self) -> datetime | None:
        """Up to which moment in the past this page has looked; None: to the end."""
        return None if self.more is None else id_moment(self.more)


class Histogram(list[tuple[datetime, datetime, int]]):
    """Bars: from, to, how many. `estimated`: from a sample, so the numbers are about right."""

    estimated: bool = False


def events_search(
    *, user: AnyUser, conditions: Conditions, before_id: int | None = None, limit: int = 100
) -> Found:
    """A page of stored events, newest first.

    Args:
        user: who asks.
        before_id: of the page before, its `more`.
        limit: rows, up to 1,000.

    Raises:
        InvalidSearch: see there.
    """
    wanted = _wanted(user, conditions)
    if before_id is not None:
        wanted = wanted.between(0, before_id)
    limit = max(1, min(limit, MOST_ROWS))
    if wanted.empty:
        return Found([], None, 0 if wanted.everywhere else None)
    if wanted.everywhere is not None:
        return _scan(wanted, wanted.everywhere, limit)
    events = _newest(wanted, limit + 1)
    more = events[limit - 1].pk if len(events) > limit else None
    return Found([event_item(event) for event in events[:limit]], more)


def events_histogram(*, user: AnyUser, conditions: Conditions, buckets: int = 60) -> Histogram:
    """How what `events_search` finds lies in time: `buckets` bars of equal width, empty ones too.

    Where very many events match, a sample of them is counted; `estimated` says so. `everywhere` isn't looked
    at: what no index holds can't be counted. Raises InvalidSearch, also where the time is open.
    """
    since, until = conditions.since, conditions.until
    if since is None or until is None:
        raise InvalidSearch("To see how events lie in time, choose from when to when.")
    wanted = _wanted(user, replace(conditions, everywhere=""))
    buckets = max(1, min(buckets, MOST_BUCKETS))
    first, end = first_id_at(since), first_id_at(until)
    if end <= first:
        raise InvalidSearch("The time range ends before it begins. Choose a later end.")
    counted, histogram = [0] * buckets, Histogram()
    if not wanted.empty:
        rows, time_range = events_of(wanted), {"first": first, "end": end, "buckets": buckets}
        sample = _sample(wanted)
        found: dict[int, int] = {}
        if sample is not None:
            found = buckets_counted(rows, **time_range, sample=sample)
            histogram.estimated = sum(found.values()) >= _SAMPLE_FOUND
        if not histogram.estimated:
            found, sample = buckets_counted(rows, **time_range), None
        for number, count in found.items():
            share = count if sample is None else round(count * 100 / sample)
            counted[min(number, buckets - 1)] += share
    step = (until - since) / buckets
    histogram.extend((since + step * n, since + step * (n + 1), count) for n, count in enumerate(counted))
    return histogram


def events_iterate(*, user: Callable[[], AnyUser], conditions: Conditions) -> Iterator[Item]:
    """All that `events_search` would find in all its pages, newest first, however many: for exports.

    Read in chunks by the id, so that neither memory nor an open transaction grows with the number.

    Args:
        user: says who asks, with the rights that they have now; asked again every few seconds, since an
            export may take hours.

    Raises:
        InvalidSearch: before the first item.
        RightWithdrawn: at any item.
    """
    wanted = _wanted(user(), conditions)
    return _while_allowed(wanted, user)


def gaps_search(
    *,
    user: AnyUser,
    servers: Collection[int] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    oldest_id: int | None = None,
    before_id: int | None = None,
    limit: int = 200,
) -> list[Item]:
    """The gaps that touch this time, newest first, as pages get them.

    Args:
        oldest_id, before_id: only those from the one, and before the other.
    """
    rows = Gap.objects.filter(server_id__in=_server_ids(user, servers))
    if since is not None:
        rows = rows.exclude(ended_at__lt=since)
    if until is not None:
        rows = rows.filter(started_at__lt=until)
    if oldest_id is not None:
        rows = rows.filter(id__gte=oldest_id)
    if before_id is not None:
        rows = rows.filter(id__lt=before_id)
    return [gap_item(gap) for gap in rows.order_by("-id")[:limit]]


# What is looked for


def _server_ids(user: AnyUser, servers: Collection[int] | None) -> tuple[int, ...]:
    if not user_may_watch(user=user):
        return ()
    visible = servers_watchable(user=user).values_list("pk", flat=True)
    chosen = None if servers is None else set(servers)
    return tuple(sorted(pk for pk in visible if chosen is None or pk in chosen))


def _wanted(user: AnyUser, conditions: Conditions) -> Wanted:
    everywhere, since, until = conditions.everywhere.strip(), conditions.since, conditions.until
    if everywhere and since is None:
        raise InvalidSearch("To search in all headers, choose from when on; they have no index.")
    if everywhere and not TextPattern.parse(everywhere).pattern.longest:
        raise InvalidSearch("Say what to look for in the headers; a * alone is everywhere.")
    return Wanted(
        server_ids=_server_ids(user, conditions.servers),
        first=0 if since is None else max(0, first_id_at(since)),
        end=END if until is None else max(0, min(END, first_id_at(until))),
        names=_spelled(conditions.names),
        linkedid=conditions.linkedid.strip(),
        uniqueid=conditions.uniqueid.strip(),
        channel=conditions.channel.strip(),
        words=_words(conditions.words),
        everywhere=TextPattern.parse(everywhere) if everywhere else None,
    )


def _spelled(names: Iterable[str]) -> tuple[str, ...] | None:
    """The names in the store that these are, or that fit their stars; None: any."""
    patterns = [Pattern.parse(name.strip()) for name in names if name.strip()]
    if not patterns:
        return None
    return tuple(name for name in names_stored() if any(one.whole(name) for one in patterns))


def _words(text: str) -> tuple[tuple[str, bool], ...]:
    found: list[tuple[str, bool]] = []
    for part in text.split():
        words = words_of(part)
        last = len(words) - 1
        found += [(word, part.endswith("*") and place == last) for place, word in enumerate(words)]
    if text.strip() and not found:
        raise InvalidSearch("Type a word: letters or digits, with * behind it for all that begin so.")
    return tuple(dict.fromkeys(found))


# Reading


def _newest(wanted: Wanted, limit: int) -> list[Event]:
    """The newest events, by whatever is quickest."""
    rows = events_of(wanted)
    if not wanted.words or wanted.of_one_call:
        return list(newest_first(rows, selective=wanted.of_one_call)[:limit])
    # Common words are soon found by walking back, rare ones by their index. Which they are shows among the
    # newest rows.
    edge = _edge(wanted, _NEWEST_ROWS)
    found = list(newest_first(events_of(wanted.between(edge, END)), selective=False)[:limit])
    if len(found) < limit and edge > wanted.first:
        rest = events_of(wanted.between(0, edge))
        found += newest_first(rest, selective=True)[: limit - len(found)]
    return found


def _edge(wanted: Wanted, rows: int) -> int:
    """The id below which there are all but the newest so many rows of these servers; `wanted.first` if there
    are fewer.
    """
    around = Wanted(wanted.server_ids, first=wanted.first, end=wanted.end)
    ids = newest_first(events_of(around), selective=False).values_list("id", flat=True)
    return next(iter(ids[rows - 1 : rows]), wanted.first)


def _scan(wanted: Wanted, pattern: TextPattern, limit: int) -> Found:
    deadline = time.monotonic() + SCAN_SECONDS
    items: list[Item] = []
    scanned = 0
    end: int = wanted.end
    while scanned < SCAN_ROWS and time.monotonic() < deadline:
        part = wanted.between(0, end)
        ids = newest_first(events_of(part), selective=part.of_one_call).values_list("id", flat=True)
        numbers = list(ids[:_SCAN_STEP])
        if not numbers:
            return Found(items, None, scanned)
        candidates = events_of(part.between(numbers[-1], END)).filter(headers_like(pattern))
        for event in newest_first(candidates, selective=False).iterator(chunk_size=CHUNK_ROWS):
            if not pattern.matches(searched_text(event.headers)):
                continue
            items.append(event_item(event))
            if len(items) == limit:
                return Found(items, event.pk, scanned + sum(1 for number in numbers if number >= event.pk))
        scanned += len(numbers)
        end = numbers[-1]
        if len(numbers) < _SCAN_STEP:
            return Found(items, None, scanned)
    return Found(items, end, scanned)


def _while_allowed(wanted: Wanted, user: Callable[[], AnyUser]) -> Iterator[Item]:
    """All events while all of their servers may be watched: leaving one out would go unnoticed."""
    asked = time.monotonic()
    for item in _all(wanted):
        if time.monotonic() - asked >= RIGHTS_SECONDS:
            if _server_ids(user(), wanted.server_ids) != wanted.server_ids:
                raise RightWithdrawn(
                    "This isn't all: meanwhile you were logged out, or may not watch all of these servers "
                    "any more, or one was deleted."
                )
            asked = time.monotonic()
        yield item


def _all(wanted: Wanted) -> Iterator[Item]:
    while not wanted.empty:
        if wanted.everywhere is not None:
            found = _scan(wanted, wanted.everywhere, CHUNK_ROWS)
            yield from found.items
            if found.more is None:
                return
            wanted = wanted.between(0, found.more)
            continue
        events = _newest(wanted, CHUNK_ROWS)
        for event in events:
            yield event_item(event)
        if len(events) < CHUNK_ROWS:
            return
        wanted = wanted.between(0, events[-1].pk)


def _sample(wanted: Wanted) -> float | None:
    """Per cent of the rows that are to be looked at; None: all."""
    if connection.vendor != "postgresql" or wanted.of_one_call:
        return None
    rows = rows_estimated(first=wanted.first, end=min(wanted.end, first_id_at(_tomorrow())))
    return None if rows <= _COUNT_ROWS else min(100.0, max(0.1, 100 * _SAMPLE_ROWS / rows))


def _tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)
