"""What would be sent, where, and what a person has to say before it is.

A preview names the exact servers and the exact bytes, ActionIDs included, and ends in a token. Whoever
submits hands the token back, and what it holds is what runs: not what a tag means by then, and not what a
form says by then. The token is encrypted with the keys of the stored secrets, since a payload may hold some,
so it can lie in a page for everybody to read; it is good for one person, for an hour, and once (its
ActionIDs and its key are unique in the database).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from django.conf import settings
from django.db.models import prefetch_related_objects
from django.utils import timezone

from ami_integration.access.danger import Assessment, Danger, request_assess
from ami_integration.access.masking import headers_mask, lines_visible
from ami_integration.access.services import Decision, decide_each
from ami_integration.actions.plans import Plan
from ami_integration.actions.services import RunRefused, action_check, headers_complete
from ami_integration.ami import Action, new_action_id
from ami_integration.secrets.encryption import Secret, SecretUnreadable
from ami_integration.servers.models import Server, server_label

#: Seconds for which a preview can be confirmed.
TOKEN_LIFE = 3600


class Confirm(StrEnum):
    """What a person has to do before a request runs."""

    NONE = "none"
    ONCE = "once"
    TYPE = "type"


@dataclass(frozen=True)
class Member:
    """One server of a request.

    Attributes:
        server: as it is now.
        action_id: under which the action goes there.
        decision: whether this person may, and by which rule.
        lacks: the PBX said what its login may run, and this isn't among it.
        retry_of: the run that this one repeats, or None.
    """

    server: Server
    action_id: str
    decision: Decision
    lacks: bool = False
    retry_of: int | None = None

    @property
    def label(self) -> str:
        return server_label(self.server.name, simulated=self.server.simulated)


@dataclass(frozen=True)
class Ticket:
    """What the token carries: all that the submission needs, as it was previewed."""

    user: int
    key: str
    issued: float
    action: str
    headers: list[list[str]]
    tag: str
    members: list[dict[str, Any]]  # id, name, address, action_id, retry_of
    confirm: str
    phrase: str
    plan: dict[str, Any] = field(default_factory=dict)
    retry_of: int | None = None
    template: int | None = None
    timeout: float | None = None
    hidden_by: int | None = None

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.headers]

    @property
    def repeated_ids(self) -> list[int]:
        """The runs that a retry repeats; empty for a request of its own."""
        return [member["retry_of"] for member in self.members if member["retry_of"] is not None]

    def pack(self) -> str:
        return Secret.from_plain(json.dumps(asdict(self))).token

    @classmethod
    def unpack(cls, token: str, *, user: Any) -> Self:
        """Read a token again.

        Raises:
            RunRefused: it isn't one, it is too old, or it is somebody else's.
        """
        again = "Look at the preview again, then confirm it."
        try:
            ticket = cls(**json.loads(Secret(token).reveal()))
        except (SecretUnreadable, ValueError, TypeError):
            raise RunRefused(f"This preview can't be read. {again}") from None
        if ticket.user != user.pk:
            raise RunRefused(f"This preview was made for somebody else. {again}")
        if timezone.now().timestamp() - ticket.issued > TOKEN_LIFE:
            raise RunRefused(f"This preview is older than {TOKEN_LIFE // 60} minutes. {again}")
        return ticket


@dataclass(frozen=True)
class Preview:
    """What would be sent where. `token` is what the submission takes."""

    action: str
    headers: list[tuple[str, str]]
    members: list[Member]
    tag: str
    plan: Plan
    danger: Danger
    why: str
    ticket: Ticket

    @property
    def token(self) -> str:
        return self.ticket.pack()

    @property
    def servers(self) -> list[Server]:
        return [member.server for member in self.members]

    @property
    def refused(self) -> list[Member]:
        """The servers on which this person may not run it. With one of them, nothing runs anywhere."""
        return [member for member in self.members if not member.decision.allowed]

    @property
    def lacking(self) -> list[Member]:
        return [member for member in self.members if member.lacks]

    @property
    def confirm(self) -> Confirm:
        return Confirm(self.ticket.confirm)

    @property
    def phrase(self) -> str:
        """What has to be typed, where something has."""
        return self.ticket.phrase

    @property
    def text(self) -> str:
        """The action as it goes over the wire to the first server, line by line, secrets hidden."""
        return request_text(self.action, self._first, self.members[0].action_id)

    @property
    def size(self) -> int:
        """Bytes that go to each server, the line ends included and secrets in clear."""
        return len(Action(self.action, self._first, action_id=self.members[0].action_id).encode())

    @property
    def _first(self) -> list[tuple[str, str]]:
        """The headers for the first server; an Originate's carry what is made of its ActionID."""
        return headers_complete(action=self.action, headers=self.headers, action_id=self.members[0].action_id)


def request_text(action: str, headers: Iterable[tuple[str, str]], action_id: str) -> str:
    """An action as lines for eyes: in the order of the wire, secrets hidden, what nobody sees written out."""
    return lines_visible([("Action", action), ("ActionID", action_id), *headers_mask(headers)])


def confirm_needed(*, danger: Danger, servers: int) -> Confirm:
    """What has to be confirmed for a request of this class on so many servers."""
    if danger >= Danger.CONFIG or (danger > Danger.READ and servers > settings.AMIWEB_CONFIRM_SERVERS):
        return Confirm.TYPE
    return Confirm.NONE if danger == Danger.READ else Confirm.ONCE


def confirm_phrase(*, servers: Sequence[Server], tag: str) -> str:
    """What is to be typed: the tag's name, the one server's, or how many servers were picked by hand."""
    if tag:
        return tag
    return servers[0].name if len(servers) == 1 else f"{len(servers)} servers"


def request_preview(
    *,
    user: Any,
    servers: Sequence[Server],
    action: str,
    headers: Iterable[tuple[str, str]],
    tag: str = "",
    plan: Plan | None = None,
    key: str | None = None,
    action_ids: Mapping[int, str] | None = None,
    repeats: Mapping[int, int] | None = None,
    retry_of: int | None = None,
    template: int | None = None,
    timeout: float | None = None,
    hidden_by: int | None = None,
) -> Preview:
    """Work out what would run, without writing or sending anything.

    Args:
        user: who asks; the decisions are about this person.
        servers: the exact ones, in the order in which they shall go. Those of the tag, if one was named.
        action, headers: the request; headers are pairs in order, without Action and ActionID.
        tag: by whose name the servers were chosen; it is asked again at the submission.
        plan: the order of a fan-out.
        key: becomes the fan-out's key, and a single run's ActionID. At random by default.
        action_ids: ActionIDs that were chosen before, by the servers' ids; the others get new ones.
        repeats: for a retry, which run is repeated on which server: their ids by the servers'.
        retry_of: for a retry, the fan-out's id.
        template: the id of the template that it was made from.
        timeout: seconds to wait for the answer; the default of its kind if none.
        hidden_by: the id of the person who wrote what is hidden of the headers; None: nobody knows, and
            nobody may take it elsewhere.

    Raises:
        RunRefused: no server, or something that can't be put on the wire.
    """
    if not servers:
        raise RunRefused(
            "Choose the server that is meant, several, or a tag; nothing runs without one.", field="servers"
        )
    pairs = headers_complete(action=action, headers=headers)
    action_check(action=action, headers=pairs)
    key = key or new_action_id()
    # What is asked of each server below: two queries, not two for each.
    prefetch_related_objects(servers, "health", "abilities")
    decisions = decide_each(user=user, servers=servers, action=action, headers=pairs)
    members = [
        Member(
            server=server,
            action_id=key if len(servers) == 1 else (action_ids or {}).get(server.pk) or new_action_id(),
            decision=decisions[server.pk],
            lacks=server_lacks(server=server, action=action),
            retry_of=(repeats or {}).get(server.pk),
        )
        for server in servers
    ]
    worst = request_worst(servers=servers, action=action, headers=pairs)
    confirm = confirm_needed(danger=worst.danger, servers=len(servers))
    plan = plan or Plan()
    ticket = Ticket(
        user=user.pk,
        key=key,
        issued=timezone.now().timestamp(),
        action=action,
        headers=[list(pair) for pair in pairs],
        tag=tag,
        members=[
            {
                "id": member.server.pk,
                "name": member.server.name,
                "address": member.server.address,
                "action_id": member.action_id,
                "retry_of": member.retry_of,
            }
            for member in members
        ],
        confirm=confirm.value,
        phrase=confirm_phrase(servers=servers, tag=tag) if confirm == Confirm.TYPE else "",
        plan=asdict(plan),
        retry_of=retry_of,
        template=template,
        timeout=timeout,
        hidden_by=hidden_by,
    )
    return Preview(
        action=action,
        headers=pairs,
        members=members,
        tag=tag,
        plan=plan,
        danger=worst.danger,
        why=worst.why,
        ticket=ticket,
    )


def request_worst(
    *, servers: Sequence[Server], action: str, headers: Sequence[tuple[str, str]]
) -> Assessment:
    """The class of a request on the server where it is the most dangerous. `servers` must not be empty."""
    return max(
        (request_assess(action, headers, server.action_privileges(action)) for server in servers),
        key=lambda assessment: assessment.danger.rank,
    )


def preview_again(*, user: Any, ticket: Ticket, servers: Sequence[Server]) -> Preview:
    """The preview of a ticket once more, with its ActionIDs: something was missing to confirm it."""
    return request_preview(
        user=user,
        servers=servers,
        action=ticket.action,
        headers=ticket.pairs,
        tag=ticket.tag,
        plan=Plan(**ticket.plan),
        key=ticket.key,
        action_ids={member["id"]: member["action_id"] for member in ticket.members},
        repeats={
            member["id"]: member["retry_of"] for member in ticket.members if member["retry_of"] is not None
        },
        retry_of=ticket.retry_of,
        template=ticket.template,
        timeout=ticket.timeout,
        hidden_by=ticket.hidden_by,
    )


def server_lacks(*, server: Server, action: str) -> bool:
    """Whether the PBX has said what this login may run, and the action isn't among it."""
    abilities = getattr(server, "abilities", None)
    return (
        abilities is not None
        and bool(abilities.actions)
        and action.strip().lower() not in {name.lower() for name in abilities.actions}
    )
