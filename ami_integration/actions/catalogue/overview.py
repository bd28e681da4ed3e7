"""What the catalogue's pages show: where an action or event is known, and what differs between the versions.

Every function takes the servers that the reader may see, and tells of no other.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ami_integration.actions.catalogue.descriptions import ActionDescription, EventDescription
from ami_integration.actions.catalogue.differences import actions_compare, events_compare
from ami_integration.actions.catalogue.models import (
    Catalogue,
    CatalogueAction,
    CatalogueEvent,
    ServerCatalogue,
)
from ami_integration.servers.models import Server, ServerAbilities

#: Servers that a page names for one catalogue; of the rest it gives the number.
NAMED = 50

Description = TypeVar("Description", ActionDescription, EventDescription)


@dataclass(frozen=True)
class Home(Generic[Description]):
    """A catalogue that knows the action or event.

    Attributes:
        servers: some of those that have this catalogue, each with whether its login may run the action
            (None: nobody asked).
        more: how many further ones there are.
        differences: to the description that the page shows, in sentences.
    """

    catalogue: Catalogue
    description: Description
    servers: list[tuple[Server, bool | None]]
    more: int
    differences: list[str]


@dataclass(frozen=True)
class Overview(Generic[Description]):
    """An action or event: the newest description, and where it is known."""

    description: Description
    homes: list[Home[Description]]
    lacking: list[Catalogue]

    @property
    def differs(self) -> bool:
        return any(home.differences for home in self.homes)


@dataclass(frozen=True)
class Comparison:
    """Two catalogues beside each other; names with sentences."""

    old: Catalogue
    new: Catalogue
    only_old: list[str]
    only_new: list[str]
    changed: list[tuple[str, list[str]]]


def action_overview(*, name: str, servers: Iterable[Server]) -> Overview[ActionDescription] | None:
    """An action; None: no server of these has it."""
    links = _links(servers)
    rows = CatalogueAction.objects.filter(catalogue__in=links, name__iexact=name).select_related("catalogue")
    found = [(row.catalogue, row.description()) for row in rows]
    return _overview(found, links, actions_compare, action=name)


def event_overview(*, name: str, servers: Iterable[Server]) -> Overview[EventDescription] | None:
    """An event; None: no server of these describes it."""
    links = _links(servers)
    rows = CatalogueEvent.objects.filter(catalogue__in=links, name__iexact=name).select_related("catalogue")
    found = [(row.catalogue, row.description()) for row in rows]
    return _overview(found, links, events_compare)


def catalogues_compare(*, old: Catalogue, new: Catalogue) -> Comparison:
    """What the actions of two catalogues don't have in common."""
    before = {row.name: row.description() for row in _actions(old)}
    after = {row.name: row.description() for row in _actions(new)}
    changed = [
        (name, sentences)
        for name in before
        if name in after and (sentences := actions_compare(before[name], after[name]))
    ]
    return Comparison(
        old,
        new,
        [name for name in before if name not in after],
        [name for name in after if name not in before],
        changed,
    )


def _actions(catalogue: Catalogue) -> Iterable[CatalogueAction]:
    return sorted(
        catalogue.catalogueactions.select_related("catalogue"), key=lambda row: str(row.name).lower()
    )


def _links(servers: Iterable[Server]) -> dict[int, list[Server]]:
    """The servers by the catalogue that they have."""
    found: dict[int, list[Server]] = defaultdict(list)
    links = ServerCatalogue.objects.filter(server__in=list(servers), catalogue__isnull=False)
    for link in links.select_related("server").order_by("server__name"):
        assert link.catalogue_id is not None  # the filter says so
        found[link.catalogue_id].append(link.server)
    return found


def _overview(
    found: Sequence[tuple[Catalogue, Description]],
    links: dict[int, list[Server]],
    compare: Callable[[Description, Description], list[str]],
    action: str = "",
) -> Overview[Description] | None:
    if not found:
        return None
    found = sorted(found, key=lambda each: each[0].age_key, reverse=True)
    newest = found[0][1]
    homes = []
    for catalogue, description in found:
        servers = links[catalogue.pk]
        named = servers[:NAMED]
        homes.append(
            Home(
                catalogue,
                description,
                _may_run(named, action) if action else [(server, None) for server in named],
                len(servers) - len(named),
                compare(newest, description),
            )
        )
    with_it = {catalogue.pk for catalogue, _ in found}
    lacking = Catalogue.objects.filter(pk__in=links.keys() - with_it)
    return Overview(newest, homes, sorted(lacking, key=lambda each: each.age_key, reverse=True))


def _may_run(servers: Sequence[Server], action: str) -> list[tuple[Server, bool | None]]:
    abilities = ServerAbilities.objects.in_bulk([server.pk for server in servers])
    return [
        (server, abilities[server.pk].privileges(action) is not None if server.pk in abilities else None)
        for server in servers
    ]
