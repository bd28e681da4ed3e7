"""What the history page asks for: read from its address, checked, and looked for.

The address is the whole question, so it can be kept, sent to somebody and asked again. It says what the live
page's address says (`server` or `tag`, `names`, `text`, `linkedid`), and a time: `since` and `until`, or
`range`, the last so many seconds.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from ami_integration.access.services import AnyUser
from ami_integration.events.filters import (
    MAX_LINKEDID_LENGTH,
    MAX_NAME_LENGTH,
    MAX_NAMES,
    MAX_TEXT_LENGTH,
)
from ami_integration.events.search import (
    Conditions,
    Found,
    InvalidSearch,
    events_histogram,
    events_iterate,
    events_search,
    gaps_search,
)
from ami_integration.events.services import Item, live_servers, snapshots_after

#: The last so many seconds, where the address names no time; what the page offers.
RANGE = 3_600
RANGES = {
    900: "Last 15 minutes",
    3_600: "Last hour",
    21_600: "Last 6 hours",
    86_400: "Last 24 hours",
    604_800: "Last 7 days",
}
MOST_SECONDS = 10 * 366 * 86_400
ROWS = 200
#: Gaps on one page; it says when there are more.
GAPS = 200
#: What the PBXs said after them, of all on one page: channels, members and the like. More are counted only.
SNAPSHOT_ITEMS = 5_000
BARS = 60
_LARGEST_ID = 2**63 - 1
#: Parameters of the address, with how long each may be.
LENGTHS = {
    "server": 20,
    "tag": 20,
    "names": MAX_NAMES * (MAX_NAME_LENGTH + 2),
    "words": MAX_TEXT_LENGTH,
    "text": MAX_TEXT_LENGTH,
    "linkedid": MAX_LINKEDID_LENGTH,
    "uniqueid": MAX_LINKEDID_LENGTH,
    "channel": 200,
    "range": 12,
    "since": 40,
    "until": 40,
}


@dataclass(frozen=True, kw_only=True)
class Question(Conditions):
    """What is asked for, with a time that has both ends.

    Attributes:
        server, tag: the id of one of them; None: all servers.
    """

    since: datetime
    until: datetime
    server: int | None = None
    tag: int | None = None

    @classmethod
    def parse(cls, address: Mapping[str, str], *, now: datetime | None = None) -> "Question":
        """Read an address. Raises InvalidSearch, with a sentence for a person."""
        given = {name: address.get(name, "").strip() for name in LENGTHS}
        for name, longest in LENGTHS.items():
            if len(given[name]) > longest:
                raise InvalidSearch(f"“{name}” is longer than {longest} characters. Shorten it.")
            if "\0" in given[name]:
                raise InvalidSearch(f"“{name}” holds a character that no event can have. Type it again.")
        names = tuple(name.strip() for name in given["names"].split(",") if name.strip())
        if len(names) > MAX_NAMES:
            raise InvalidSearch(f"Name at most {MAX_NAMES} events; * in a name stands for anything.")
        since, until = _times(given, now or timezone.now())
        return cls(
            since=since,
            until=until,
            server=_id(given["server"], "server"),
            tag=_id(given["tag"], "tag"),
            names=names,
            words=given["words"],
            everywhere=given["text"],
            linkedid=given["linkedid"],
            uniqueid=given["uniqueid"],
            channel=given["channel"],
        )

    def of(self, servers: list[Item]) -> "Question":
        """The same, of those of these servers that are meant: the ones that a person may see."""
        meant = [
            int(server["id"])
            for server in servers
            if self.server in (None, int(server["id"]))
            and (self.tag is None or any(int(pk) == self.tag for pk, _ in server["tags"]))
        ]
        return replace(self, servers=meant)


def _id(text: str, what: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) > _LARGEST_ID:
        raise InvalidSearch(f"There is no {what} {text}. Choose one from the list.")
    return int(text)


def _times(given: Mapping[str, str], now: datetime) -> tuple[datetime, datetime]:
    until = _moment(given["until"]) if given["until"] else now
    if given["since"]:
        since = _moment(given["since"])
    else:
        seconds = given["range"] or str(RANGE)
        if not (seconds.isascii() and seconds.isdigit()) or not 0 < int(seconds) <= MOST_SECONDS:
            raise InvalidSearch("The range is a number of seconds, such as 3600 for the last hour.")
        since = until - timedelta(seconds=int(seconds))
    if since >= until:
        raise InvalidSearch("The time range ends before it begins. Choose a later end.")
    return since, until


def _moment(text: str) -> datetime:
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None and 1970 <= moment.year <= 9998:
            return moment.astimezone(UTC)
    raise InvalidSearch(f"“{text}” is no time. Write it as in 2026-01-31T09:30:00Z.")


def history_page(*, user: AnyUser, question: Question, before_id: int | None = None) -> Item:
    """A page of what was found, newest first, with the gaps of its time, ready for JSON.

    Args:
        before_id: of the page before, its `more`; None: the first page, which brings the histogram.

    Raises:
        InvalidSearch: see there.
    """
    servers = live_servers(user=user)
    question = question.of(servers)
    found = events_search(user=user, conditions=question, before_id=before_id, limit=ROWS)
    gaps = _gaps(user, question, found, before_id)
    page: Item = {
        "items": [*found.items, *gaps[:GAPS], *_said_after(gaps[:GAPS])],
        "gaps_cut": len(gaps) > GAPS,
        "more": None if found.more is None else str(found.more),
        "back_to": None if found.back_to is None else found.back_to.isoformat(),
        "scanned": found.scanned,
    }
    if before_id is None:
        page |= {
            "since": question.since.isoformat(),
            "until": question.until.isoformat(),
            "bars": None,
            "servers": [
                {key: server[key] for key in ("id", "name", "simulated", "tags")} for server in servers
            ],
        }
        if not question.everywhere:  # what no index holds can't be counted
            bars = events_histogram(user=user, conditions=question, buckets=BARS)
            page |= {
                "bars": [[_milliseconds(since), count] for since, _, count in bars],
                "estimated": bars.estimated,
            }
    return page


def history_items(*, user: Callable[[], AnyUser], question: Question) -> Iterator[Item]:
    """All that was found, newest first, however many; as `events_iterate`."""
    return events_iterate(user=user, conditions=question.of(live_servers(user=user())))


def _gaps(user: AnyUser, question: Question, found: Found, before_id: int | None) -> list[Item]:
    """The gaps between the first and the last row of this page, and one more than it shows if there are."""
    return gaps_search(
        user=user,
        servers=question.servers,
        since=found.back_to or question.since,
        until=question.until,
        oldest_id=found.more,
        before_id=before_id,
        limit=GAPS + 1,
    )


def _said_after(gaps: list[Item]) -> list[Item]:
    said = snapshots_after({(int(gap["server"]), int(gap["after"])) for gap in gaps})
    room = SNAPSHOT_ITEMS
    for snapshot in said:
        snapshot["items"] = snapshot["items"][:room]
        room -= len(snapshot["items"])
    return said


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
