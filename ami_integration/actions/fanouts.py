"""The order of a fan-out: which of its runs may go, when it stops, and when it is over.

All runs of a fan-out are written before the first is sent, held back. Whenever one of them ends, and whenever
the sweep comes by, `fanout_release` looks at the rows and lets go what the mode allows; so a worker that
died, or a ring that was lost, delays a fan-out and never loses it. It decides under a lock on the parent's
row, and what it lets go it lets go by a compare-and-swap: two workers that end two runs at the same moment
don't release the same one twice, nor more than the limit.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from ami_integration.access.services import AnyUser
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.plans import Mode, Plan
from ami_integration.actions.rights import fanout_note, run_note
from ami_integration.audit.models import AuditEntry

Status = ActionRun.Status
#: What counts against `stop_after`, and keeps the rest back when the first one was to succeed. Not CANCELLED:
#: a person took that one back.
FAILURES = (Status.FAILED, Status.UNKNOWN, Status.EXPIRED, Status.ERRORED)
#: Let go and not over.
IN_PROGRESS = (Status.QUEUED, Status.RUNNING)


@dataclass(frozen=True)
class Tally:
    """How a fan-out stands, counted from its runs.

    Attributes:
        statuses: number of runs in each status; held ones count as queued.
        held: those that wait for their turn.
    """

    statuses: Counter[str]
    held: int

    @classmethod
    def of(cls, runs: Iterable[tuple[str, bool]]) -> Self:
        """Count runs that were read already: the status of each, and whether it is held back."""
        pairs = list(runs)
        return cls(Counter(status for status, _ in pairs), pairs.count((Status.QUEUED, True)))

    @property
    def total(self) -> int:
        return self.statuses.total()

    @property
    def failed(self) -> int:
        return sum(self.statuses[status] for status in FAILURES)

    @property
    def in_progress(self) -> int:
        return sum(self.statuses[status] for status in IN_PROGRESS) - self.held

    @property
    def ended(self) -> int:
        return self.total - sum(self.statuses[status] for status in IN_PROGRESS)


def fanout_tally(*, fanout: FanOut) -> Tally:
    """Count the runs of a fan-out."""
    statuses: Counter[str] = Counter()
    held = 0
    rows = fanout.runs.order_by().values_list("status", "held").annotate(number=Count("pk"))
    for status, is_held, number in rows:
        statuses[status] += number
        if is_held and status == Status.QUEUED:
            held += number
    return Tally(statuses, held)


@dataclass(frozen=True)
class Released:
    """What a look at a fan-out came to.

    Attributes:
        run_ids: let go now, and not meant for a later moment; ring for them after the commit.
        cancelled_ids: taken back, because the fan-out stopped.
    """

    run_ids: tuple[int, ...] = ()
    cancelled_ids: tuple[int, ...] = ()


def fanout_release(*, fanout_id: int) -> Released:
    """Let go what may go now, or stop, or end it. Harmless at any time, and as often as one likes."""
    with transaction.atomic():
        fanout = FanOut.objects.select_for_update().filter(pk=fanout_id, status=FanOut.Status.ACTIVE).first()
        if fanout is None:
            return Released()
        tally = fanout_tally(fanout=fanout)
        why = _why_stop(fanout, tally)
        if why and tally.statuses[Status.QUEUED]:
            cancelled = _cancel_queued(fanout, f"Not sent: {why}")
            _end(fanout, FanOut.Status.STOPPED, why)
            _note_end(fanout, "fanout.stop", AuditEntry.Outcome.FAILED, tally, taken_back=len(cancelled))
            return Released(cancelled_ids=tuple(cancelled))
        if tally.ended == tally.total:
            _end(fanout, FanOut.Status.FINISHED)
            done = AuditEntry.Outcome.FAILED if tally.failed else AuditEntry.Outcome.DONE
            _note_end(fanout, "fanout.finish", done, tally)
            return Released()
        return Released(run_ids=tuple(_let_go(fanout, _room(fanout, tally))))


def _why_stop(fanout: FanOut, tally: Tally) -> str:
    """Why nothing more may be sent, as a sentence; empty when it goes on."""
    if fanout.mode == Mode.FIRST_THEN_REST and not tally.statuses[Status.SUCCEEDED]:
        first = fanout.runs.order_by("pk").first()
        if first is not None and first.ended:
            return (
                # Not which one: the reason is for everybody who sees any of its runs.
                f"the first one ended {first.get_status_display().lower()}, so the rest was not tried."
            )
    if fanout.stop_after is not None and tally.failed >= fanout.stop_after:
        times = "1 failure" if tally.failed == 1 else f"{tally.failed} failures"
        return f"the fan-out stopped after {times}."
    if tally.statuses[Status.EXPIRED] >= _at_once(fanout, tally):
        # Nobody works, it seems. When somebody does again, it may be hours later, and nobody would expect it.
        return "as many runs as go at once expired before a worker took them. Start it anew when workers run."
    return ""


def _at_once(fanout: FanOut, tally: Tally) -> int:
    """How many may be in progress at a time."""
    first = fanout.mode == Mode.FIRST_THEN_REST and not tally.statuses[Status.SUCCEEDED]
    return 1 if first or fanout.mode == Mode.SERIAL else fanout.limit


def _room(fanout: FanOut, tally: Tally) -> int:
    """How many more may be in progress."""
    return max(0, _at_once(fanout, tally) - tally.in_progress)


def _let_go(fanout: FanOut, room: int) -> list[int]:
    waiting = fanout.runs.queued().filter(held=True).order_by("pk").values_list("pk", "start_at")[:room]
    now = timezone.now()
    expiry = timedelta(seconds=settings.AMIWEB_RUN_EXPIRY)
    released = []
    for pk, start_at in waiting:
        begins = max(now, start_at or now)
        held = ActionRun.objects.queued().filter(pk=pk, held=True)
        # Its time in the queue begins now: waiting for its turn must not make it expire.
        if held.update(held=False, expires_at=begins + expiry) and begins == now:
            released.append(pk)
    return released


def _cancel_queued(fanout: FanOut, reason: str) -> list[int]:
    cancelled = [
        run for run in fanout.runs.queued().order_by("pk") if ActionRun.objects.cancel(run.pk, reason)
    ]
    for run in cancelled:
        run_note(
            run=run,
            verb="run.cancel",
            outcome=AuditEntry.Outcome.DONE,
            reason=reason,
        )
    return [run.pk for run in cancelled]


def _note_end(fanout: FanOut, verb: str, outcome: str, tally: Tally, taken_back: int = 0) -> None:
    """The audit's entry of how it ended, when it did by itself; in the name of whoever began it."""
    fanout_note(
        fanout=fanout,
        verb=verb,
        outcome=outcome,
        actor=fanout.user,
        actor_name=fanout.username,
        reason=fanout.reason,
        succeeded=tally.statuses[Status.SUCCEEDED],
        failed=tally.failed,
        taken_back=taken_back,
    )


def _end(fanout: FanOut, status: str, reason: str = "", *, now: datetime | None = None) -> None:
    fanout.status = status
    fanout.reason = reason[:1].upper() + reason[1:]
    fanout.finished_at = now or timezone.now()
    fanout.save(update_fields=["status", "reason", "finished_at"])


def fanout_make(
    *,
    key: str,
    action: str,
    headers: Sequence[tuple[str, str]],
    hidden_by: int | None,
    tag: str,
    plan: Plan,
    origin: str,
    user: Any,
    retry_of: int | None = None,
) -> FanOut:
    """A fan-out that is not written yet.

    Args:
        key: chosen once for the request; the same one again can't be written.
        headers: pairs in order, as they are sent but for what is each run's own.
        hidden_by: the id of the person who wrote what is hidden of them; None: nobody knows.
        tag: by whose name the servers were chosen; "": they were named.
        retry_of: the id of the one that it repeats.
    """
    fanout = FanOut(
        key=key,
        action=action,
        target=tag,
        **asdict(plan),
        origin=origin,
        user=user,
        username=user.get_username(),
        retry_of_id=retry_of,
    )
    fanout.keep_headers(headers, hidden_by=hidden_by)
    return fanout


def fanout_note_submit(*, fanout: FanOut, address: str, servers: Sequence[str]) -> None:
    """The audit's entry of a fan-out that was submitted for these servers, by their names."""
    fanout_note(
        fanout=fanout,
        verb="fanout.submit",
        outcome=AuditEntry.Outcome.INTENT,
        actor=fanout.user,
        address=address,
        headers=fanout.headers_masked,
        servers=list(servers),
        tag=fanout.target,
        mode=fanout.mode,
        retry_of=fanout.retry_of_id,
    )


def fanout_end_cancelled(
    *,
    fanout: FanOut,
    reason: str,
    taken_back: int,
    actor: AnyUser = None,
    address: str = "",
    now: datetime | None = None,
) -> None:
    """End a fan-out of which so many runs were just taken back, under its lock."""
    _end(fanout, FanOut.Status.CANCELLED, reason, now=now)
    fanout_note(
        fanout=fanout,
        verb="fanout.cancel",
        outcome=AuditEntry.Outcome.DONE,
        actor=actor,
        address=address,
        taken_back=taken_back,
    )


def fanouts_active() -> list[int]:
    """The fan-outs that the sweep looks at: those that are not over, the oldest first."""
    active = FanOut.objects.filter(status=FanOut.Status.ACTIVE).order_by("pk")
    return list(active.values_list("pk", flat=True))
