"""The rules of the catalogue: read it from a server, find an action in it, describe an action.

Reading a server logs in with its stored account and asks only; it is done by a worker after the server's
first connection and whenever its version or account changed (`catalogues_sweep`, called from the listener as
the sweep of the runs is), by the button, the bulk action and `manage.py sync_catalogue`.

A server's own word comes first. A login that may not run `Command` is answered from a shipped catalogue, and
so is a server that was never read but whose version is known.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Prefetch, Q
from django.utils import timezone

from ami_integration.actions import doorbell
from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument, EventDescription
from ami_integration.actions.catalogue.models import (
    Catalogue,
    CatalogueAction,
    CatalogueEvent,
    ServerCatalogue,
)
from ami_integration.actions.catalogue.reading import Reading, pbx_read
from ami_integration.actions.catalogue.shipped import (
    Shipped,
    shipped,
    shipped_major_for,
    version_key,
)
from ami_integration.ami import AMIError
from ami_integration.ami.printing import printable
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import VERSION_LENGTH, Server, ServerAbilities, ServerHealth
from ami_integration.servers.sessions import action_session
from ami_integration.servers.waiting import MustWait

#: The Celery task that reads a server (`actions.tasks.catalogue_sync`), by name, because it calls us.
TASK = "actions.catalogue_sync"
#: After a failed attempt a server is left alone for so long.
RETRY_AFTER = timedelta(minutes=10)
#: Servers that one sweep has read; the next sweep is 5 s away.
SWEEP_BATCH = 50
#: Rows in one INSERT.
BATCH = 500


class SyncRefused(Exception):
    """amiweb doesn't read this server's catalogue; the text says why, and what to do."""


@dataclass(frozen=True)
class Synced:
    """What came of reading a server.

    Attributes:
        catalogue: the one that it has now; None: its login may not run `Command` and its version is unknown.
        changed: whether it had another one before, or none.
        abilities: how many actions its login may run.
    """

    catalogue: Catalogue | None
    changed: bool
    abilities: int

    @property
    def sentence(self) -> str:
        """What came of it, for people."""
        may = f"its login may run {self.abilities} actions"
        if self.catalogue is None:
            return (
                f"{may}, but not Command, CoreSettings; without them nothing is known of their arguments. "
                "Grant the account write=command,system or reporting on the PBX and read again."
            )
        if self.catalogue.shipped:
            return (
                f"{may}, but not Command, with which a PBX describes them; amiweb uses its own catalogue "
                f"for Asterisk {self.catalogue.asterisk_version}, without texts"
            )
        new = "a new catalogue" if self.changed else "the same catalogue as before"
        return f"{may}; {new}, {self.catalogue}"


@dataclass(frozen=True)
class FoundAction:
    """An action in the list of a search.

    Attributes:
        privileges: as Asterisk writes them.
        servers: how many of the servers have it.
        of: how many servers were asked.
        versions: of the Asterisks that have it, the newest first.
    """

    name: str
    synopsis: str
    privileges: str
    servers: int
    of: int
    versions: tuple[str, ...] = ()


# Reading


def catalogue_sync(*, server: Server) -> Synced:
    """Read what a server says of itself and keep it; over one action session, in a second or so.

    Raises:
        SyncRefused: the server is disabled or in maintenance.
        MustWait: no action session can be had just now; nothing was asked. Why is kept in
            `ServerCatalogue.error`, and the sweep tries again.
        AMIError, SecretUnreadable: the session failed; its sentence is kept in `ServerCatalogue.error`.
    """
    if not server.enabled:
        raise SyncRefused(f"{server.name} is disabled. Enable it first.")
    if server.maintenance:
        raise SyncRefused(f"{server.name} is in maintenance. Take the switch back first.")
    _attempt_note(server)
    try:
        with action_session(server) as session:
            reading = pbx_read(session.client)
            ami_version = session.client.ami_version
    except MustWait as reason:
        ServerCatalogue.objects.filter(pk=server.pk).update(error=str(reason), attempted_at=None)
        raise
    except (AMIError, SecretUnreadable) as error:
        ServerCatalogue.objects.filter(pk=server.pk).update(error=str(error))
        raise
    return _reading_store(server, reading, ami_version)


def _attempt_note(server: Server) -> None:
    # The sweep leaves it alone for a while.
    ServerCatalogue.objects.update_or_create(
        server=server, defaults={"attempted_at": timezone.now(), "error": ""}
    )


def _reading_store(server: Server, reading: Reading, ami_version: str) -> Synced:
    now = timezone.now()
    known = server.health.asterisk_version if hasattr(server, "health") else ""
    version = printable(reading.asterisk_version)[:VERSION_LENGTH] or known  # as the health keeps it
    with transaction.atomic():
        # The lock keeps the server from being deleted meanwhile.
        if not Server.objects.select_for_update(no_key=True).filter(pk=server.pk).exists():
            raise SyncRefused(f"{server.name} was deleted.")
        ServerAbilities.objects.update_or_create(
            server=server,
            defaults={"actions": reading.abilities, "asterisk_version": version, "read_at": now},
        )
        catalogue: Catalogue | None
        if reading.actions:
            catalogue = _catalogue(reading.content_hash, version, reading)
        else:
            catalogue = catalogue_shipped(version, ami_version)
        link, _ = ServerCatalogue.objects.get_or_create(server=server)
        before = link.catalogue_id
        link.catalogue, link.read_at, link.error = catalogue, now, ""
        link.save(update_fields=("catalogue", "read_at", "error"))
    changed = before != link.catalogue_id
    if changed and before is not None:
        _catalogue_drop(before)
    return Synced(catalogue, changed, len(reading.abilities))


def _catalogue(content_hash: str, version: str, content: Reading | Shipped) -> Catalogue:
    unread = [] if isinstance(content, Shipped) else list(content.unread)
    # Of two who read the same, the second waits at the unique index and finds it. The row is locked until a
    # server has it, so that nobody drops it in between.
    catalogue, created = Catalogue.objects.select_for_update(no_key=True).get_or_create(
        content_hash=content_hash,
        defaults={"asterisk_version": version, "shipped": isinstance(content, Shipped), "unread": unread},
    )
    if created:
        CatalogueAction.objects.bulk_create(
            [CatalogueAction.of(catalogue, each) for each in content.actions], batch_size=BATCH
        )
        CatalogueEvent.objects.bulk_create(
            [CatalogueEvent.of(catalogue, each) for each in content.events], batch_size=BATCH
        )
    return catalogue


def catalogue_shipped(asterisk_version: str, ami_version: str = "") -> Catalogue | None:
    """The shipped catalogue for this version as rows, made when it is first needed; None: unknown version."""
    number = shipped_major_for(asterisk_version, ami_version)
    if number is None:
        return None
    found = shipped(number)
    content = json.dumps(
        [[each.to_json() for each in kind] for kind in (found.actions, found.events)], sort_keys=True
    )
    content_hash = hashlib.sha256(b"shipped " + content.encode()).hexdigest()
    return _catalogue(content_hash, found.asterisk_version, found)


def _catalogue_drop(pk: int) -> None:
    """Forget a catalogue that no server has any more."""
    try:
        with transaction.atomic():
            Catalogue.objects.filter(pk=pk, servers=None).delete()
    except IntegrityError:
        pass  # somebody took it up at this very moment


def catalogues_sweep(*, now: datetime | None = None) -> int:
    """Have those servers read that are online and have to be.

    These were never read, or were before their account or their version changed; or somebody asked for it,
    and the task queue was away or no session could be had.

    Returns:
        for how many the task queue was rung.
    """
    now = now or timezone.now()
    known = Q(abilities__isnull=False, catalogue__read_at__isnull=False)
    unlike = ~Q(abilities__asterisk_version=F("health__asterisk_version")) & ~Q(health__asterisk_version="")
    outdated = Q(abilities__read_at__lt=F("updated_at")) | unlike
    asked_for = Q(catalogue__isnull=False, catalogue__attempted_at=None)
    left_alone = Q(catalogue__attempted_at__gt=now - RETRY_AFTER)
    due = (
        Server.objects.enabled()
        .filter(maintenance=False, health__state=ServerHealth.State.ONLINE)
        .filter(~known | outdated | asked_for)
        .exclude(left_alone)
        .values_list("pk", flat=True)[:SWEEP_BATCH]
    )
    taken = []
    for pk in due:
        link, created = ServerCatalogue.objects.get_or_create(server_id=pk, defaults={"attempted_at": now})
        # Whoever changes the row rings; another sweep finds it taken.
        free = Q(attempted_at=None) | Q(attempted_at__lte=now - RETRY_AFTER)
        if created or ServerCatalogue.objects.filter(free, pk=link.pk).update(attempted_at=now):
            taken.append(pk)
    return len(catalogues_ring(server_ids=taken))


def catalogues_ring(*, server_ids: Sequence[int]) -> list[int]:
    """Ask the workers to read these servers; returns those for which the task queue took the news."""
    if not server_ids:
        return []
    ServerCatalogue.objects.bulk_create(
        [ServerCatalogue(server_id=pk) for pk in server_ids], ignore_conflicts=True
    )
    rung = doorbell.ring(server_ids, task=TASK)
    missed = set(server_ids) - set(rung)
    links = ServerCatalogue.objects.all()
    links.filter(pk__in=rung).update(attempted_at=timezone.now())
    links.filter(pk__in=missed).update(attempted_at=None)  # the next sweep may try again
    return rung


# Looking up


def action_describe(
    *, action: str, server: Server | None = None, servers: Iterable[Server] = ()
) -> ActionDescription | None:
    """What is known of an action: from the server itself, else shipped for its version, else None.

    For several servers it is what holds on all of them together: every header that one of them knows,
    required if one of them requires it, and only those lists of values closed that are so on all.
    With no server at all, whatever catalogue knows the action, the newest first.
    """
    asked = [server] if server is not None else list(servers)
    found = _descriptions(asked, action) if asked else _described_anywhere(action)
    return _merged(found)


def _descriptions(servers: Sequence[Server], action: str) -> list[ActionDescription]:
    links = dict(
        ServerCatalogue.objects.filter(server__in=servers, catalogue__isnull=False).values_list(
            "server_id", "catalogue_id"
        )
    )
    rows = CatalogueAction.objects.filter(catalogue__in=set(links.values()), name__iexact=action)
    found = [row.description() for row in rows.select_related("catalogue").order_by("-catalogue_id")]
    for brought, _ in _shipped_of([server for server in servers if server.pk not in links]):
        if (description := brought.action(action)) and description not in found:
            found.append(description)
    return found


def _shipped_of(servers: Iterable[Server]) -> list[tuple[Shipped, int]]:
    """The shipped catalogues of servers that have none of their own, and of how many each is."""
    healths = ServerHealth.objects.filter(server__in=list(servers))
    found = Counter(
        number
        for asterisk_version, ami_version in healths.values_list("asterisk_version", "ami_version")
        if (number := shipped_major_for(asterisk_version, ami_version)) is not None
    )
    return [(shipped(number), count) for number, count in found.items()]


def _described_anywhere(action: str) -> list[ActionDescription]:
    rows = CatalogueAction.objects.filter(name__iexact=action).select_related("catalogue")
    newest = max(
        rows,
        key=lambda row: row.catalogue.age_key,
        default=None,
    )
    return [newest.description()] if newest else []


def _merged(found: Sequence[ActionDescription]) -> ActionDescription | None:
    if len(found) <= 1:
        return found[0] if found else None
    # The one with texts leads, and among those the one that knows most.
    first, *others = sorted(found, key=lambda each: (bool(each.shipped_for), -len(each.arguments), each.name))
    arguments = {argument.name.lower(): argument for argument in first.arguments}
    for other in others:
        for argument in other.arguments:
            mine = arguments.get(argument.name.lower())
            arguments[argument.name.lower()] = _argument_merged(mine, argument) if mine else argument
    return replace(first, arguments=tuple(arguments.values()))


def _argument_merged(mine: Argument, other: Argument) -> Argument:
    return replace(
        mine,
        required=mine.required or other.required,
        text=mine.text or other.text,
        choices=tuple(dict.fromkeys((*mine.choices, *other.choices))),
        choice_texts={**other.choice_texts, **mine.choice_texts},
        closed=mine.closed and other.closed,
        repeatable=mine.repeatable or other.repeatable,
        boolean=mine.boolean if mine.boolean == other.boolean else None,
    )


def actions_search(
    *, query: str = "", servers: Iterable[Server], limit: int | None = 50
) -> list[FoundAction]:
    """The actions that fit a search, the best first.

    Args:
        query: words that all have to occur in the name, the synopsis, the names of arguments or the
            privileges, in any case. Empty: every action.
        servers: whose actions; for a page those that its reader may see (`servers_visible`).
        limit: at most so many; None: all.
    """
    asked = list(servers)
    words = query.lower().split()
    links = dict(
        ServerCatalogue.objects.filter(server__in=asked, catalogue__isnull=False).values_list(
            "server_id", "catalogue_id"
        )
    )
    catalogues = Catalogue.objects.in_bulk(set(links.values()))
    shared = Counter(links.values())
    rows = CatalogueAction.objects.filter(catalogue__in=shared)
    for word in words:
        rows = rows.filter(search__contains=word)
    hits = [
        (name, synopsis, privileges, catalogues[pk].release, shared[pk])
        for name, synopsis, privileges, pk in rows.values_list(
            "name", "synopsis", "privileges", "catalogue_id"
        )
    ]
    for brought, count in _shipped_of([server for server in asked if server.pk not in links]):
        entries = [CatalogueAction.of(Catalogue(), action) for action in brought.actions]
        hits += [
            (entry.name, "", entry.privileges, brought.asterisk_version, count)
            for entry in entries
            if all(word in entry.search for word in words)
        ]
    found: dict[str, FoundAction] = {}
    for name, synopsis, privileges, release, count in hits:
        before = found.get(name) or FoundAction(name, "", privileges, servers=0, of=len(asked))
        found[name] = replace(
            before,
            synopsis=before.synopsis or synopsis,
            servers=before.servers + count,
            versions=tuple(sorted({*before.versions, release}, key=version_key, reverse=True)),
        )
    return sorted(found.values(), key=lambda each: _rank(each.name, words))[:limit]


def _rank(name: str, words: Sequence[str]) -> tuple[Any, ...]:
    """The whole name first, then its beginning, then its middle, then what else fits."""
    lowered = name.lower()
    word = words[0] if words else ""
    return (lowered != word, not lowered.startswith(word), word not in lowered, lowered)


def events_describe(
    *, servers: Iterable[Server] | None = None, names: Iterable[str] | None = None
) -> dict[str, EventDescription]:
    """The events that these servers (all by default) describe, by name; those of the newest catalogue win.

    Args:
        names: only these.
    """
    catalogues = Catalogue.objects.all()
    if servers is not None:
        catalogues = catalogues.filter(servers__server__in=list(servers)).distinct()
    rows = CatalogueEvent.objects.all() if names is None else CatalogueEvent.objects.filter(name__in=names)
    catalogues = catalogues.prefetch_related(Prefetch("catalogueevents", queryset=rows))
    found: dict[str, EventDescription] = {}
    for catalogue in sorted(catalogues, key=lambda each: each.age_key):
        found.update({row.name: row.description() for row in catalogue.catalogueevents.all()})
    return found
