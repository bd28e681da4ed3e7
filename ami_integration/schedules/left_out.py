"""The audit's entry for planned times that don't run: one for all of them, however many there are."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ami_integration.audit.models import AuditEntry
from ami_integration.audit.services import entry_write
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.rules import times_words

Outcome = PlannedRun.Outcome


def left_out_note(
    *, schedule: Schedule, left_out: Sequence[PlannedRun], actor: Any = None, address: str = ""
) -> None:
    """Tell the audit which planned times didn't run, in the transaction that records them; none: nothing.

    Args:
        actor: who caused it; None: amiweb itself.
        address: the IP address that asks, where a person does.
    """
    if not left_out:
        return
    refused = any(planned.outcome == Outcome.REFUSED for planned in left_out)
    entry_write(
        actor=actor,
        origin="schedule" if actor is None else "admin",
        address=address,
        verb="schedule.leave_out",
        what={
            "number": len(left_out),
            "outcomes": dict(Counter(str(planned.outcome) for planned in left_out)),
            "planned": times_words([planned.planned_at for planned in left_out]),
            "reason": left_out[-1].reason[:1000],
            "owner": schedule.owner_name,
        },
        object_type="schedule",
        object_id=schedule.pk,
        object_name=schedule.name,
        outcome=AuditEntry.Outcome.REFUSED if refused else AuditEntry.Outcome.FAILED,
    )
