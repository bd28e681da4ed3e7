"""Business rules of the events: what a page is shown from the store, what is removed when."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q

from ami_integration.access.services import AnyUser, servers_watchable
from ami_integration.events.filters import EventFilter
from ami_integration.events.ids import first_id_at, id_earlier
from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.servers.models import Server, ServerHealth

#: A page asks again for what is younger than its newest event minus this: batches of several listeners, and a
#: clock that was set back a little, may become visible out of order.
OVERLAP_SECONDS = 10.0
#: How many stored events are looked at for one page at most, and how many it is sent.
SCAN_LIMIT = 5_000
FIRST_SCAN_LIMIT = 2_000
PAGE_ROWS = 500
FIRST_PAGE_ROWS = 200
_GAP_ROWS = 50
#: Items of a snapshot that a page is sent at most; it says how many there are.
SNAPSHOT_ITEMS = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Item = dict[str, Any]


def group_name(server_id: int) -> str:
    """The channel layer group of a server's events."""
    return f"events.{server_id}"


def live_servers(*, user: AnyUser) -> list[Item]:
    """The servers whose events this person may see, with what explains their silence."""
    return [
        {
            "id": str(server.pk),
            "name": server.name,
            "simulated": server.simulated,
            "enabled": server.enabled,
            "state": _state(server).value,
            "label": _state(server).label,
            "error": server.health.last_error if hasattr(server, "health") else "",
        }
        for server in servers_watchable(user=user)
        .defer("secret", "tls_ca")
        .select_related("health")
        .order_by("name")
    ]


def _state(server: Server) -> ServerHealth.State:
    """As `Server.state`, for a server whose secret is not looked at."""
    if not server.enabled:
        return ServerHealth.State.DISABLED
    return server.health.current_state if hasattr(server, "health") else ServerHealth.State.UNKNOWN


def event_item(event: Event) -> Item:
    """An event as pages get it. Ids are strings, times are milliseconds since 1970."""
    return {
        "kind": "event",
        "id": str(event.pk),
        "server": str(event.server_id),
        "at": _milliseconds(event.at),
        "name": event.name,
        "channel": event.channel,
        "uniqueid": event.uniqueid,
        "linkedid": event.linkedid,
        "headers": event.headers,
        "kept": True,
    }


def gap_item(gap: Gap) -> Item:
    """A gap as pages get it; when it ends it is sent again with the same id."""
    return {
        "kind": "gap",
        "id": str(gap.pk),
        "server": str(gap.server_id),
        "at": _milliseconds(gap.started_at),
        "ended": None if gap.ended_at is None else _milliseconds(gap.ended_at),
        "reason": gap.get_reason_display(),
        "detail": gap.detail,
        "lost": gap.lost,
        "lost_kind": gap.lost_kind,
        "after": str(gap.after_id),
    }


def snapshot_item(snapshot: Snapshot) -> Item:
    """What a PBX said of its state after a gap, as pages get it: `after` is the gap's."""
    return {
        "kind": "snapshot",
        "id": str(snapshot.pk),
        "server": str(snapshot.server_id),
        "at": _milliseconds(snapshot.at),
        "after": str(snapshot.after_id),
        "action": snapshot.action,
        "items": snapshot.items[:SNAPSHOT_ITEMS],
        "count": len(snapshot.items),
        "error": snapshot.error,
    }


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


@dataclass(frozen=True)
class StoredItems:
    """What the store has for a page, oldest first.

    `newest` is the newest stored id per server, whether its event passed the filter or not. `cut`: more is in
    the store than a page is sent.
    """

    items: list[Item]
    newest: Mapping[int, int]
    cut: bool


def events_stored(
    *, server_ids: Collection[int], since: Mapping[int, int], event_filter: EventFilter
) -> StoredItems:
    """What a page should have of the store.

    Args:
        server_ids: those that it watches.
        since: per server the newest id that it has; what is at most 10 s older comes again. Empty: a page
            that begins, which is shown the latest.
        event_filter: what it wants to see.
    """
    # A page can't be ahead of the time; if a listener's clock was, this finds what came after it was set
    # right.
    now_id = first_id_at(datetime.now(UTC))
    bounds = {
        server: id_earlier(min(newest, now_id), seconds=OVERLAP_SECONDS)
        for server, newest in since.items()
        if server in server_ids
    }
    scan, rows = (SCAN_LIMIT, PAGE_ROWS) if bounds else (FIRST_SCAN_LIMIT, FIRST_PAGE_ROWS)
    # One query for all servers, newest first: what a page missed is newer than what it has, so the limit cuts
    # nothing else unless the page was away for long, and then `cut` says so.
    lowest = min(bounds.values(), default=0)
    found = list(Event.objects.of_servers(list(server_ids)).filter(id__gt=lowest).order_by("-id")[:scan])
    newest: dict[int, int] = {}
    for event in found:
        newest.setdefault(event.server_id, event.pk)
    wanted = [
        event
        for event in found
        if event.pk > bounds.get(event.server_id, 0) and event_filter.matches(event.name, event.headers)
    ]
    cut = bool(bounds) and (
        len(wanted) > rows or (len(found) == scan and found[-1].pk > max(bounds.values()))
    )
    items = [event_item(event) for event in reversed(wanted[:rows])]
    horizon = max(lowest, found[-1].pk if found else 0)
    gaps = (
        Gap.objects.filter(server_id__in=server_ids)
        .filter(Q(id__gt=horizon) | Q(before_id__gt=horizon) | Q(before_id=None))
        .order_by("-id")[:_GAP_ROWS]
    )
    items += [gap_item(gap) for gap in gaps]
    items.sort(key=lambda item: int(item["id"]))
    return StoredItems(items, newest, cut)


def events_between(*, server_id: int, after_id: int, before_id: int | None) -> list[Item]:
    """A server's stored items between two ids (exclusive), oldest first; at most 5,000, then the newest of
    them.
    """
    events = Event.objects.filter(server_id=server_id, id__gt=after_id)
    if before_id is not None:
        events = events.filter(id__lt=before_id)
    items = [event_item(event) for event in events.order_by("-id")[:SCAN_LIMIT]]
    items += [
        gap_item(gap)
        for gap in Gap.objects.filter(server_id=server_id)
        .filter(Q(after_id__gte=after_id) | Q(before_id__gt=after_id))
        .order_by("-id")[:_GAP_ROWS]
    ]
    items.sort(key=lambda item: int(item["id"]))
    return items


def events_prune(*, now: datetime, limit: int = 2_000) -> int:
    """Remove one batch of what is older than the retention, and return how many events went.

    Args:
        now: the present, aware.
        limit: rows a call, so that no transaction is long.
    """
    cutoff = now - timedelta(days=settings.AMIWEB_EVENT_RETENTION_DAYS)
    cutoff_id = first_id_at(cutoff)
    oldest = list(Event.objects.filter(id__lt=cutoff_id).order_by("id").values_list("id", flat=True)[:limit])
    if oldest:
        Event.objects.filter(id__lte=oldest[-1]).delete()
    if len(oldest) < limit:
        Gap.objects.filter(id__lt=cutoff_id, ended_at__lt=cutoff).delete()
    return len(oldest)
