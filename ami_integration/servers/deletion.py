"""What becomes of the others when a server is deleted: told before, and noted when it happens.

Rooms above this one know servers, and this one knows nothing of them; so they bring along what they lose.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ami_integration.access.services import rules_naming
from ami_integration.servers.models import Server


class Loss(NamedTuple):
    """What one room loses with servers.

    Attributes:
        told: gets the person who asks and the servers that would be deleted; gives sentences for that person.
        noted: gets the person who deletes, the servers and the IP address; called in the transaction that
            deletes them, before it does.
    """

    told: Callable[[Any, Sequence[Server]], list[str]]
    noted: Callable[[Any, Sequence[Server], str], None]


def rules_told(user: Any, servers: Sequence[Server]) -> list[str]:
    """Which access rules name a server that would be deleted, for who may see them; for others how many."""
    told = []
    for server in servers:
        names = rules_naming(server=server)
        if names and user.has_perm("ami_integration.view_accessrule"):
            told += [f"Access rule {name}: stays, and no longer names {server.name}." for name in names]
        elif names:
            many = "1 access rule: stays, and no longer names"
            if len(names) > 1:
                many = f"{len(names):,} access rules: stay, and no longer name"
            told.append(f"{many} {server.name}.")
    return told


def relations_named() -> tuple[frozenset[str], frozenset[str]]:
    """What Django calls the rows that only join a server to something else: of one, and of several.

    They are no objects to anybody. What they mean is told in sentences.
    """
    related: list[Any] = [*(field.remote_field for field in Server._meta.many_to_many)]
    related += [relation for relation in Server._meta.related_objects if relation.many_to_many]
    throughs = [relation.through for relation in related]
    return (
        frozenset(str(through._meta.verbose_name) for through in throughs),
        frozenset(str(through._meta.verbose_name_plural) for through in throughs),
    )


def without_relations(tree: Sequence[Any], names: frozenset[str]) -> list[Any]:
    """Django's nested list of what is deleted, without such rows."""
    kept: list[Any] = []
    for item in tree:
        if isinstance(item, list):
            if below := without_relations(item, names):
                kept.append(below)
        elif str(item).split(":", 1)[0].lower() not in {name.lower() for name in names}:
            kept.append(item)
    return kept
