"""From a planned time to its runs; and how they are taken back.

A planned time's ActionIDs, and the key of its fan-out, are made of the schedule, the planned time and the
server. So what was submitted once can't be submitted again, whoever tries: the database knows the ids.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.crypto import salted_hmac

from ami_integration.access.services import Decision
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.services import RunRefused, runs_ring
from ami_integration.actions.unattended import unattended_submit, unattended_take_back
from ami_integration.schedules.left_out import left_out_note
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server

Outcome = PlannedRun.Outcome


def planned_submit(
    *,
    schedule: Schedule,
    planned: PlannedRun,
    servers: Sequence[Server],
    user: Any,
    now: datetime,
    decisions: Mapping[int, Decision],
    start_at: Mapping[int, datetime] | None = None,
    address: str = "",
    to_ring: list[int] | None = None,
) -> PlannedRun:
    """Submit what a planned time runs, and store the planned time with it. To be called in a transaction.

    Args:
        schedule: what runs, and how.
        planned: a new one, or one that waited. What its `reason` says already stays in it.
        servers: enabled ones, as they are stored now; none: it is refused.
        user: with whose rights.
        now: the moment.
        decisions: by the servers' ids; each allows it.
        start_at: `planned_starts`; without it all begin at once, as the order says.
        address: the IP address that asks, where a person does.
        to_ring: gets the runs that the caller rings for after the commit; without it that is done here.

    Returns:
        the planned run: SUBMITTED, or REFUSED with its reason.
    """
    planned.outcome = Outcome.SUBMITTED if servers else Outcome.REFUSED
    if servers:
        try:
            submitted = unattended_submit(
                user=user,
                servers=servers,
                decisions=decisions,
                action=schedule.action,
                headers=schedule.headers_in_clear(),
                key=_derived(schedule, planned, "fan-out"),
                action_ids={server.pk: _derived(schedule, planned, str(server.pk)) for server in servers},
                origin=ActionRun.Origin.SCHEDULE,
                origin_detail=schedule.name,
                tag=schedule.tag.name if schedule.tag is not None else "",
                plan=schedule.plan,
                timeout=schedule.timeout,
                hidden_by=schedule.hidden_by_id,
                start_at=start_at,
                address=address,
                now=now,
            )
        except (RunRefused, SecretUnreadable) as error:
            planned.outcome = Outcome.REFUSED
            planned.reason = f"{planned.reason} {error}".strip()
        else:
            planned.run, planned.fanout = submitted.run, submitted.fanout
            if to_ring is not None:
                to_ring += submitted.to_ring
            elif submitted.to_ring:
                transaction.on_commit(lambda: _ring(submitted.to_ring))
    planned.save()
    return planned


def _ring(run_ids: Sequence[int]) -> None:
    runs_ring(run_ids=run_ids)


def planned_starts(*, schedule: Schedule, servers: Sequence[Server], since: datetime) -> dict[int, datetime]:
    """When each server begins, by their ids: each at its own moment of the spread, the same one each time.

    Args:
        since: the planned time; for one that runs late, the moment at which it does.
    """
    spread = float(schedule.jitter_seconds)
    if spread and schedule.ends_at is not None:
        # Nothing begins after "not after".
        spread = min(spread, max(0.0, (schedule.ends_at - since).total_seconds()))
    if spread < 1:
        return {}
    return {
        server.pk: since + timedelta(seconds=_offset(schedule.pk, server.pk, int(spread)))
        for server in servers
    }


def _offset(schedule_id: int, server_id: int, seconds: int) -> float:
    digest = hashlib.blake2b(f"{schedule_id}/{server_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) % (seconds * 1000)) / 1000


def _derived(schedule: Schedule, planned: PlannedRun, what: str) -> str:
    """An id that nobody else can guess, and that two installations on one PBX don't share."""
    named = json.dumps([schedule.pk, planned.planned_at.astimezone(UTC).isoformat(), what])
    return salted_hmac("schedules.planned", named, algorithm="sha256").hexdigest()[:32]


def planned_take_back(
    *, schedule: Schedule, reason: str, actor: Any = None, address: str = "", now: datetime | None = None
) -> int:
    """Take back what of a schedule is queued and not begun: spread, held back, or waiting.

    Args:
        schedule: a stored one.
        reason: a sentence for people.
        actor: who caused it; None: amiweb itself.

    Returns:
        how many runs and waiting planned times were taken back.
    """
    with transaction.atomic():
        # Whoever takes, submits or settles its planned times has this lock, too.
        Schedule.objects.select_for_update(of=("self",)).filter(pk=schedule.pk).first()
        planned = PlannedRun.objects.filter(schedule_id=schedule.pk).open()
        waiting = list(planned.filter(outcome=Outcome.WAITING).order_by("planned_at"))
        for row in waiting:
            row.outcome, row.reason = Outcome.SKIPPED, f"{row.reason} {reason}".strip()
        PlannedRun.objects.bulk_update(waiting, ("outcome", "reason"))
        left_out_note(schedule=schedule, left_out=waiting, actor=actor, address=address)
        submitted = list(
            planned.filter(
                Q(run__status=ActionRun.Status.QUEUED) | Q(fanout__status=FanOut.Status.ACTIVE)
            ).values_list("run_id", "fanout_id")
        )
        taken = 0
        if submitted:
            taken = unattended_take_back(
                run_ids=[run for run, _ in submitted if run is not None],
                fanout_ids=[fanout for _, fanout in submitted if fanout is not None],
                reason=reason,
                actor=actor,
                address=address,
                now=now,
            )
    return len(waiting) + taken
