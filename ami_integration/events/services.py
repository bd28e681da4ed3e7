"""What pages are told of servers, events, gaps and snapshots."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from ami_integration.access.services import AnyUser, servers_watchable
from ami_integration.events.ids import id_milliseconds
from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.servers.models import Server, ServerHealth

#: Items of a snapshot that a page is sent at most; it says how many there are.
SNAPSHOT_ITEMS = 200

Item = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
            "tags": [[str(tag.pk), tag.name] for tag in server.tags.all()],
        }
        for server in servers_watchable(user=user)
        .defer("secret", "tls_ca")
        .select_related("health")
        .prefetch_related("tags")
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
    """A gap as pages get it; when it ends it is sent again with the same id. Snapshots know it by `after`.

    Its row stands where its id does, and shows that moment, `known`: `at`, when it began, may be long before.
    """
    return {
        "kind": "gap",
        "id": str(gap.pk),
        "server": str(gap.server_id),
        "at": _milliseconds(gap.started_at),
        "known": id_milliseconds(gap.pk),
        "ended": None if gap.ended_at is None else _milliseconds(gap.ended_at),
        "reason": gap.get_reason_display(),
        "detail": gap.detail,
        "lost": gap.lost,
        "lost_kind": gap.lost_kind,
        "after": str(gap.after_id),
    }


def snapshots_after(gaps: Collection[tuple[int, int]]) -> list[Item]:
    """What the PBXs said after these gaps, each a server's id and the gap's `after`; as pages get it."""
    found = Snapshot.objects.filter(
        server_id__in={server for server, _ in gaps}, after_id__in={after for _, after in gaps}
    )
    return [snapshot_item(one) for one in found if (one.server_id, one.after_id) in gaps]


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
