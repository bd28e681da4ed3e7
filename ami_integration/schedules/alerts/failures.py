"""Why a schedule fails: of the failure that an alert is about the servers, the sentences and the page.

Read from the planned time and its runs when it is told, since these are the record: nothing of it is kept
with the alert. The sentences are those of the action log, in which secrets are masked when they are stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet, Window
from django.db.models.functions import RowNumber
from django.urls import reverse

from ami_integration.access.services import AnyUser
from ami_integration.actions.fanouts import FAILURES
from ami_integration.actions.models import ActionRun
from ami_integration.schedules.alerts.models import Alert
from ami_integration.schedules.outcomes import Links, reasons_shown
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.rules import moment_words

#: Of one fan-out the failures that are told with their servers; the others are counted.
LISTED = 20
#: Servers that are named before a sentence, and characters of a sentence.
NAMED, LONGEST = 5, 300


@dataclass(frozen=True)
class ServerFailure:
    """On one server: how it ended, an `ActionRun.Status`, and the log's sentence."""

    server: str
    status: str
    reason: str


@dataclass(frozen=True)
class Failure:
    """A planned time that failed.

    Attributes:
        note: what amiweb refused or left out, and why; "" for nothing.
        servers: the first `LISTED` on which it failed, in the order of their runs.
        count: on how many it failed.
        path: of the page of its run or fan-out; "" if nothing of it ran, or the log has forgotten it.
    """

    planned_at: datetime
    note: str
    servers: list[ServerFailure]
    count: int
    path: str

    @property
    def sentences(self) -> list[str]:
        """For people: each reason once, behind the servers that gave it."""
        gave: dict[str, list[str]] = {}
        for one in self.servers:
            reason = one.reason or f"It ended {ActionRun.Status(one.status).label.lower()}."
            gave.setdefault(reason, []).append(one.server)
        told = [f"{_named(names)}: {_cut(reason)}" for reason, names in gave.items()]
        if (more := self.count - len(self.servers)) > 0:
            told.append(f"And {more} more servers.")
        return [*told, _cut(self.note)] if self.note else told

    @property
    def title(self) -> str:
        """For people: which planned time, and on how many servers. Without a full stop."""
        where = f" on {'1 server' if self.count == 1 else f'{self.count} servers'}" if self.count else ""
        return f"What was planned for {moment_words(self.planned_at)} failed{where}"


def failures_told(*, alerts: Sequence[Alert]) -> dict[int, Failure]:
    """Of failing alerts what failed, by their ids, for whom the channels reach: with every server's name."""
    rows = _planned(alerts)
    paths = {pk: _path(row) for pk, row in rows.items()}
    return _failures(rows, ActionRun.objects.all(), {pk: row.reason for pk, row in rows.items()}, paths)


def failure_shown(*, alert: Alert, user: AnyUser) -> Failure | None:
    """Of a failing alert what failed, as far as this person may see it; None: nobody knows any more."""
    row = _planned([alert]).get(alert.pk)
    if row is None:
        return None
    note = reasons_shown(user, [row]).get(row.pk, "")
    path = Links(user, [row]).run(row)
    log = ActionRun.objects.visible_to(user)
    return _failures({alert.pk: row}, log, {alert.pk: note}, {alert.pk: path})[alert.pk]


def failures_seen(*, rows: Mapping[int, Any], user: AnyUser) -> dict[int, Failure]:
    """Of planned times by their ids what failed of their runs, as far as this person may see it.

    Args:
        rows: with `planned_at`, `run_id` and `fanout_id`.
    """
    return _failures(rows, ActionRun.objects.visible_to(user), {}, {})


def _planned(alerts: Sequence[Alert]) -> dict[int, PlannedRun]:
    """By the alerts' ids the planned times that they are about."""
    about = {
        alert.pk: (alert.schedule_id, alert.planned_at)
        for alert in alerts
        if alert.kind == Alert.Kind.FAILING and alert.planned_at is not None
    }
    schedules, moments = {pk for pk, _ in about.values()}, {at for _, at in about.values()}
    found = PlannedRun.objects.filter(schedule__in=schedules, planned_at__in=moments).order_by()
    rows = {(row.schedule_id, row.planned_at): row for row in found}
    return {pk: rows[key] for pk, key in about.items() if key in rows}


def _failures(
    rows: Mapping[int, Any],
    log: QuerySet[ActionRun],
    notes: Mapping[int, str],
    paths: Mapping[int, str],
) -> dict[int, Failure]:
    """All by the keys of `rows`; `log`: the runs that may be told of."""
    failed = log.filter(status__in=FAILURES)
    columns = ("pk", "fanout", "server_name", "status", "reason")
    runs = [row.run_id for row in rows.values() if row.run_id]
    fanouts = [row.fanout_id for row in rows.values() if row.fanout_id]
    alone = {run.pk: run for run in failed.filter(pk__in=runs).only(*columns).order_by()}
    of_fanouts = failed.filter(fanout__in=fanouts)
    counts = dict(of_fanouts.order_by().values_list("fanout").annotate(Count("pk")))
    place = Window(RowNumber(), partition_by="fanout", order_by="pk")
    together: dict[int | None, list[ActionRun]] = {}
    for run in of_fanouts.annotate(place=place).filter(place__lte=LISTED).only(*columns).order_by("pk"):
        together.setdefault(run.fanout_id, []).append(run)
    found = {}
    for pk, row in rows.items():
        told = [alone[row.run_id]] if row.run_id in alone else together.get(row.fanout_id, [])
        found[pk] = Failure(
            planned_at=row.planned_at,
            note=notes.get(pk, ""),
            servers=[ServerFailure(run.server_name, run.status, run.reason) for run in told],
            count=counts.get(row.fanout_id, len(told)),
            path=paths.get(pk, ""),
        )
    return found


def _path(row: PlannedRun) -> str:
    if row.fanout_id is not None:
        return reverse("admin:ami_integration_fanout_change", args=(row.fanout_id,))
    if row.run_id is not None:
        return reverse("admin:ami_integration_actionrun_change", args=(row.run_id,))
    return ""


def _named(servers: Sequence[str]) -> str:
    more = len(servers) - NAMED
    return f"{', '.join(servers[:NAMED])}{f' and {more} more' if more > 0 else ''}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
