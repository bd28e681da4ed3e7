"""Why planned times ended as they did, for pages: amiweb's own reason, and the sentences of their runs."""

from collections.abc import Iterable
from typing import Any

from ami_integration.access.services import AnyUser
from ami_integration.schedules.alerts.failures import failures_seen
from ami_integration.schedules.outcomes import reasons_shown


def whys_shown(user: AnyUser, rows: Iterable[Any]) -> dict[int, str]:
    """Sentences by the ids of planned times, as far as they are for this person; nothing to say: no key.

    Args:
        rows: with `pk`, `schedule_id`, `planned_at`, `reason`, `run_id` and `fanout_id`.
    """
    found = {row.pk: row for row in rows}
    reasons, failures = reasons_shown(user, found.values()), failures_seen(rows=found, user=user)
    told = {pk: " ".join([*failures[pk].sentences, *filter(None, [reasons.get(pk)])]) for pk in found}
    return {pk: text for pk, text in told.items() if text}
