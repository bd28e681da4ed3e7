"""Runs that nobody looks at while they are submitted: what a schedule starts, on one server or on hundreds.

Nobody confirms a preview here, so nothing has to be compared with one; and somebody's clock waits, so the
rows are written by a few statements however many servers there are. What decides on rights has been asked by
the caller, in the same transaction, and is asked again by the worker before anything is sent.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from ami_integration.access.services import Decision
from ami_integration.actions.fanouts import fanout_end_cancelled, fanout_make, fanout_note_submit
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.plans import Mode, Plan
from ami_integration.actions.rights import run_entry, run_entry_submit
from ami_integration.actions.services import (
    action_check,
    fanout_advance,
    headers_complete,
    run_make,
    run_tell,
)
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.services import entries_write
from ami_integration.servers.models import Server


@dataclass(frozen=True)
class Submitted:
    """What became of it: a run on one server, a fan-out on several.

    Attributes:
        to_ring: the runs that workers may begin now; ring for them after the commit.
    """

    run: ActionRun | None
    fanout: FanOut | None
    to_ring: list[int]


def unattended_submit(
    *,
    user: Any,
    servers: Sequence[Server],
    decisions: Mapping[int, Decision],
    action: str,
    headers: Sequence[tuple[str, str]],
    key: str,
    action_ids: Mapping[int, str],
    origin: str,
    origin_detail: str,
    tag: str = "",
    plan: Plan | None = None,
    timeout: float | None = None,
    hidden_by: int | None = None,
    start_at: Mapping[int, datetime] | None = None,
    address: str = "",
    now: datetime | None = None,
) -> Submitted:
    """Put one action for one or several servers into the queue. To be called in a transaction.

    Args:
        user: with whose rights.
        servers: enabled ones, at least one, as they are stored now.
        decisions: by the servers' ids; each has to allow it.
        headers: pairs in order, without Action and ActionID.
        key: becomes the fan-out's.
        action_ids: by the servers' ids.
        tag: by whose name the servers were chosen.
        plan: the order on several servers.
        start_at: by the servers' ids, the moments before which nobody begins; a server that isn't in it
            begins at once. Only for a parallel order.
        now: the moment; the clock's if not given.
        origin, origin_detail, timeout, hidden_by, address: as of `run_submit`.

    Raises:
        RunRefused: something that can't be put on the wire.
        django.db.IntegrityError: it was submitted before: the key or an ActionID is known.
    """
    assert servers
    assert all(decisions[server.pk].allowed for server in servers)
    now = now or timezone.now()
    moments = start_at or {}
    base = headers_complete(action=action, headers=headers)
    action_check(action=action, headers=base)
    plan = plan or Plan()
    fanout = None
    if len(servers) > 1:
        fanout = fanout_make(
            key=key,
            action=action,
            headers=base,
            hidden_by=hidden_by,
            tag=tag,
            plan=plan,
            origin=origin,
            user=user,
        )
        fanout.save(force_insert=True)
    # Who starts first comes first in the queue of its fan-out, or those who start later would take its place.
    ordered = sorted(servers, key=lambda server: moments.get(server.pk, now))
    at_once = plan.limit if plan.mode == Mode.PARALLEL else 1
    runs = [
        run_make(
            now=now,
            user=user,
            server=server,
            action=action,
            pairs=headers_complete(action=action, headers=headers, action_id=action_ids[server.pk]),
            origin=origin,
            origin_detail=origin_detail,
            timeout=timeout,
            action_id=action_ids[server.pk],
            address=address,
            fanout=fanout,
            # As many as `fanouts.fanout_release` would let go at once.
            held=fanout is not None and number >= at_once,
            hidden_by=hidden_by,
            start_at=moments.get(server.pk),
        )
        for number, server in enumerate(ordered)
    ]
    ActionRun.objects.bulk_create(runs)
    entries_write(
        run_entry_submit(run=run, decision=decisions[server.pk])
        for run, server in zip(runs, ordered, strict=True)
    )
    if fanout is not None:
        fanout_note_submit(fanout=fanout, address=address, servers=[server.name for server in servers])
    to_ring = [run.pk for run in runs if not run.held and (run.start_at is None or run.start_at <= now)]
    return Submitted(None if fanout else runs[0], fanout, to_ring)


def unattended_take_back(
    *,
    run_ids: Sequence[int],
    fanout_ids: Sequence[int],
    reason: str,
    actor: Any = None,
    address: str = "",
    now: datetime | None = None,
) -> int:
    """Take back what no worker has begun, of these runs and of these fan-outs. To be called in a transaction.

    Args:
        run_ids: of a fan-out that isn't named, too: it goes on with its others.
        fanout_ids: of which everything is taken back; they end.
        reason: a sentence for people.
        actor: who caused it; None: amiweb itself.

    Returns:
        how many runs were taken back.
    """
    now = now or timezone.now()
    # Under the locks of the fan-outs, so that none lets go of the next run meanwhile.
    of_runs = ActionRun.objects.filter(pk__in=run_ids, fanout__isnull=False).order_by().values("fanout")
    locked = list(
        FanOut.objects.select_for_update()
        .filter(Q(pk__in=fanout_ids) | Q(pk__in=of_runs), status=FanOut.Status.ACTIVE)
        .order_by("pk")
    )
    fanouts = [fanout for fanout in locked if fanout.pk in set(fanout_ids)]
    queued = ActionRun.objects.queued().filter(
        Q(pk__in=run_ids) | Q(fanout__in=[fanout.pk for fanout in fanouts])
    )
    # The last ones first: a worker takes the first.
    runs = list(queued.defer("payload", "headers_masked").order_by("-pk"))
    taken = [run for run in runs if ActionRun.objects.cancel(run.pk, reason, now=now)]
    entries_write(
        run_entry(
            run=run,
            verb="run.cancel",
            outcome=AuditEntry.Outcome.DONE,
            actor=actor,
            address=address,
            reason=reason,
        )
        for run in taken
    )
    for fanout in fanouts:
        mine = sum(run.fanout_id == fanout.pk for run in taken)
        if not mine:
            continue
        fanout_end_cancelled(
            fanout=fanout,
            reason=f"{reason} What had begun went on.",
            taken_back=mine,
            actor=actor,
            address=address,
            now=now,
        )
        transaction.on_commit(functools.partial(fanout_advance, fanout_id=fanout.pk))
    ended = {fanout.pk for fanout in fanouts}
    for fanout_id in sorted({run.fanout_id for run in taken if run.fanout_id is not None} - ended):
        transaction.on_commit(functools.partial(fanout_advance, fanout_id=fanout_id))
    for run in taken:
        if run.fanout_id is None:
            transaction.on_commit(functools.partial(run_tell, run_id=run.pk))
    return len(taken)
