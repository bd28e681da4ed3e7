"""From a confirmed preview to runs; and how a fan-out is stopped.

What runs is what was previewed. Between the preview and its confirmation the world may have moved: a server
joined the tag, another was disabled or given a new address, a right was withdrawn. Then nothing runs at all,
and the refusal says what is different. Leaving out what no longer fits would be easy, and it would let a
person confirm one thing and get another.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction

from ami_integration.access.services import servers_visible, user_may_run
from ami_integration.actions import services
from ami_integration.actions.fanouts import fanout_end_cancelled, fanout_make, fanout_note_submit
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.plans import Plan
from ami_integration.actions.preview import Confirm, Ticket, confirm_needed, request_preview
from ami_integration.actions.rights import run_ask, run_may_be_stopped
from ami_integration.actions.services import AlreadySubmitted, RunRefused, headers_complete
from ami_integration.servers.models import Server


class RequestChanged(RunRefused):
    """Something is not as it was previewed. Attributes: `differences`, a sentence each."""

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__("Nothing was sent, because it is not what you looked at. " + " ".join(differences))
        self.differences = list(differences)


class NotConfirmed(RunRefused):
    """A confirmation is missing, or what was typed is not what was asked for."""


class FanOutExists(RunRefused):
    """This preview was confirmed before. Attributes: `fanout`, what it became."""

    def __init__(self, fanout: FanOut) -> None:
        super().__init__(f"This was sent before: it is fan-out {fanout.pk}.")
        self.fanout = fanout


@dataclass(frozen=True)
class Submitted:
    """What a request became: one run, or a fan-out of several. Exactly one of them is set."""

    run: ActionRun | None = None
    fanout: FanOut | None = None


def servers_tagged(*, user: Any, tag: str) -> list[Server]:
    """The enabled servers with this tag that a person sees, in the order of their names."""
    return list(servers_choosable(user=user).filter(tags__name=tag).order_by("name"))


def servers_choosable(*, user: Any) -> Any:
    """The servers that a person may pick, as a QuerySet: enabled ones on which he has any right."""
    return servers_visible(user=user).filter(enabled=True)


def request_submit(
    *,
    user: Any,
    token: str,
    confirmed: bool = False,
    typed: str = "",
    origin: str = ActionRun.Origin.ADMIN,
    address: str = "",
    action: str | None = None,
    headers: Iterable[tuple[str, str]] | None = None,
) -> Submitted:
    """Run what was previewed, and nothing else.

    Args:
        user: whose preview it is.
        token: `Preview.token`.
        confirmed: whether the person said yes.
        typed: what the person typed, where the preview asked for it.
        origin, address: where it comes from, for the log.
        action, headers: what the caller believes to submit, if it says so; a difference is refused.

    Raises:
        RequestChanged: the servers or the payload are not those of the preview.
        NotConfirmed: something has to be confirmed, or typed, and was not.
        AlreadySubmitted, FanOutExists: it was submitted before.
        RunRefused: as `services.run_submit`; then nothing runs on any server.
    """
    ticket = Ticket.unpack(token, user=user)
    if (known := FanOut.objects.filter(key=ticket.key).first()) is not None:
        raise FanOutExists(known)
    if (run := ActionRun.objects.filter(action_id=ticket.members[0]["action_id"]).first()) is not None:
        raise AlreadySubmitted(run)
    try:
        servers = _servers_unchanged(ticket, user, action, headers)
    except RequestChanged:
        _note_withdrawn(ticket, user, origin, address)
        raise
    _check_confirmed(ticket, confirmed, typed)
    _check_rights(ticket, user, servers, origin, address)
    with transaction.atomic():
        repeated = _runs_to_repeat(ticket)
        fanout = _fanout_write(ticket, user, origin) if len(servers) > 1 else None
        for server, member in zip(servers, ticket.members, strict=True):
            run = services.run_submit(
                user=user,
                server=server,
                action=ticket.action,
                headers=ticket.pairs,
                origin=origin,
                address=address,
                timeout=ticket.timeout,
                action_id=member["action_id"],
                retry_of=repeated.get(member["retry_of"]),
                fanout=fanout,
                hidden_by=ticket.hidden_by,
            )
        if fanout is None:
            return Submitted(run=run)
        fanout_note_submit(
            fanout=fanout, address=address, servers=[member["name"] for member in ticket.members]
        )
        transaction.on_commit(functools.partial(services.fanout_advance, fanout_id=fanout.pk))
    return Submitted(fanout=fanout)


def _servers_unchanged(
    ticket: Ticket, user: Any, action: str | None, headers: Iterable[tuple[str, str]] | None
) -> list[Server]:
    """The servers of the ticket in its order, if everything is as it was. Raises RequestChanged."""
    differences = []
    if action is not None and action.strip() != ticket.action:
        differences.append(f"The action was {ticket.action} and is now {action}.")
    if headers is not None:
        pairs = headers_complete(action=ticket.action, headers=headers)
        if pairs != ticket.pairs:
            names = {name for name, _ in {*pairs} ^ {*ticket.pairs}}
            differences.append(f"Headers changed: {', '.join(sorted(names)) or 'their order'}.")
    ids = [member["id"] for member in ticket.members]
    now = {server.pk: server for server in servers_choosable(user=user).filter(pk__in=ids)}
    for member in ticket.members:
        server = now.get(member["id"])
        if server is None:
            differences.append(f"{member['name']} is disabled, gone, or no longer yours to use.")
        elif server.name != member["name"]:
            differences.append(f"{member['name']} is called {server.name} now.")
        elif server.address != member["address"]:
            differences.append(f"{member['name']} was at {member['address']} and is at {server.address} now.")
    if ticket.tag:
        tagged = servers_tagged(user=user, tag=ticket.tag)
        joined = [server.name for server in tagged if server.pk not in ids]
        left = [
            member["name"]
            for member in ticket.members
            if member["id"] in now and member["id"] not in {server.pk for server in tagged}
        ]
        if joined:
            differences.append(f"Since then, {', '.join(joined)} got the tag {ticket.tag}.")
        if left:
            differences.append(f"Since then, {', '.join(left)} lost the tag {ticket.tag}.")
    if differences:
        raise RequestChanged(differences)
    return [now[pk] for pk in ids]


def _note_withdrawn(ticket: Ticket, user: Any, origin: str, address: str) -> None:
    """Tell the audit of servers on which the person has lost every right since the preview."""
    ids = {member["id"] for member in ticket.members}
    visible = servers_visible(user=user).filter(pk__in=ids).values("pk")
    for server in Server.objects.enabled().filter(pk__in=ids).exclude(pk__in=visible):
        run_ask(
            user=user,
            server=server,
            action=ticket.action,
            headers=ticket.pairs,
            origin=origin,
            address=address,
        )


def _check_confirmed(ticket: Ticket, confirmed: bool, typed: str) -> None:
    if (
        ticket.confirm == Confirm.TYPE
        and " ".join(typed.split()).casefold() != " ".join(ticket.phrase.split()).casefold()
    ):
        raise NotConfirmed(
            f"Nothing was sent. Type “{ticket.phrase}” to confirm that this is meant.", field="typed"
        )
    if ticket.confirm == Confirm.ONCE and not confirmed:
        raise NotConfirmed("Nothing was sent: confirm it first.")


def _check_rights(ticket: Ticket, user: Any, servers: Sequence[Server], origin: str, address: str) -> None:
    """Whether the person may, on every one of them; and whether what was confirmed is still as harmless.

    `run_submit` decides again. It is asked here first because what it writes into the audit about a refusal
    would be undone together with the runs on the other servers.
    """
    preview = request_preview(user=user, servers=servers, action=ticket.action, headers=ticket.pairs)
    for member in preview.refused:
        run_ask(
            user=user,
            server=member.server,
            action=ticket.action,
            headers=ticket.pairs,
            origin=origin,
            address=address,
        )
    if preview.refused:
        raise RunRefused(" ".join(member.decision.reason for member in preview.refused))
    order = list(Confirm)
    needed = confirm_needed(danger=preview.danger, servers=len(servers))
    if order.index(needed) > order.index(Confirm(ticket.confirm)):
        raise RequestChanged([f"Its danger class is {preview.danger.label.lower()} now."])


def _runs_to_repeat(ticket: Ticket) -> dict[int, ActionRun]:
    """The runs that a retry names, by their ids, if they may still be repeated. Raises RequestChanged."""
    ids = ticket.repeated_ids
    if not ids:
        return {}
    # Under a lock: of two who retry the same at the same moment, the second sees the first one's runs.
    locked = ActionRun.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk")
    runs = {run.pk: run for run in locked}
    again = set(ActionRun.objects.filter(retry_of__in=ids).values_list("retry_of", flat=True))
    differences = [
        f"{runs[pk].server_name} was repeated meanwhile." for pk in ids if pk in runs and pk in again
    ]
    if differences:
        raise RequestChanged(differences)
    return runs


def _fanout_write(ticket: Ticket, user: Any, origin: str) -> FanOut:
    fanout = fanout_make(
        key=ticket.key,
        action=ticket.action,
        headers=ticket.pairs,
        hidden_by=ticket.hidden_by,
        tag=ticket.tag,
        plan=Plan(**ticket.plan),
        origin=origin,
        user=user,
        retry_of=ticket.retry_of,
    )
    try:
        with transaction.atomic():
            fanout.save(force_insert=True)
    except IntegrityError:
        known = FanOut.objects.filter(key=ticket.key).first()
        if known is None:
            raise
        raise FanOutExists(known) from None
    return fanout


# -- afterwards


def fanout_cancel(*, user: Any, fanout: FanOut, address: str = "") -> int:
    """Take back what no worker has begun, and let nothing more go. Returns how many were taken back.

    Raises:
        RunRefused: this person may not.
    """
    if not user_may_run(user=user):
        raise RunRefused("You may not cancel runs: that needs the permission to run actions.")
    # Before the transaction, with which the audit's entry about a refusal would be undone.
    for run in fanout.runs.queued().select_related("server").order_by("-pk"):
        if not run_may_be_stopped(user=user, run=run):
            services.run_cancel(user=user, run=run, address=address)
    with transaction.atomic():
        locked = FanOut.objects.select_for_update().get(pk=fanout.pk)
        runs = list(locked.runs.queued().order_by("-pk"))
        # The last ones first, while nobody lets the next one go: the row is locked.
        taken = sum(services.run_cancel(user=user, run=run, address=address) for run in runs)
        if locked.status == FanOut.Status.ACTIVE and taken:
            fanout_end_cancelled(
                fanout=locked,
                reason=f"Cancelled by {user.get_username()}; what had begun went on.",
                taken_back=taken,
                actor=user,
                address=address,
            )
    return taken
