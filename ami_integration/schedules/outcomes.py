"""What became of planned times, as pages show it: in four groups, in words, and with a way to the run.

Only the person's own view: a run is linked where they may see it, and a sentence that may name servers is
shown where they see every server of the schedule.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q, QuerySet
from django.urls import reverse

from ami_integration.access.services import AnyUser, servers_visible, user_sees_all_servers
from ami_integration.actions.models import ActionRun
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.states import PLANNED_LABELS
from ami_integration.servers.models import Server, server_label

_Outcome, _Result = PlannedRun.Outcome, PlannedRun.Result


class Group(models.TextChoices):
    """What people look for."""

    GOOD = "good", "Succeeded"
    BAD = "bad", "Went wrong"
    LEFT_OUT = "left_out", "Did not run"
    OPEN = "open", "In progress"


_STATES: dict[Group, tuple[str, ...]] = {
    Group.GOOD: (_Result.SUCCEEDED,),
    Group.BAD: (
        _Result.PARTLY,
        _Result.FAILED,
        _Result.UNKNOWN,
        _Result.EXPIRED,
        _Result.ERRORED,
        _Outcome.REFUSED,
    ),
    Group.LEFT_OUT: (
        _Outcome.SKIPPED,
        _Outcome.MISFIRED,
        _Outcome.BLACKOUT,
        _Outcome.PAUSED,
        _Result.CANCELLED,
    ),
    Group.OPEN: (_Outcome.WAITING, _Outcome.SUBMITTED),
}
_GROUP_OF = {str(state): group for group, states in _STATES.items() for state in states}
#: Columns of a planned run that an `Entry` is made of.
COLUMNS = ("pk", "schedule_id", "planned_at", "by_hand", "outcome", "result", "run_id", "fanout_id")


def group_of(state: str) -> Group:
    """The group of a `PlannedRun.state`."""
    return _GROUP_OF[state]


def group_is(group: Group) -> Q:
    """The planned runs of a group."""
    states = _STATES[group]
    return Q(result__in=states) | Q(result=_Result.NONE, outcome__in=states)


def state_words(state: str) -> str:
    """A `PlannedRun.state` for people."""
    return "In progress" if state == _Outcome.SUBMITTED else PLANNED_LABELS[state]


def counts_words(counts: Mapping[Group, int], planned: int = 0) -> str:
    """For example “209 succeeded, 3 went wrong, 12 planned”; "" for nothing."""
    parts = [f"{number:,} {group.label.lower()}" for group in Group if (number := counts.get(group, 0))]
    if planned:
        parts.append(f"{planned:,} planned")
    return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Entry:
    """One planned time on a page.

    Attributes:
        at: on the clocks of the page's time zone.
        state, words: `planned`, or a `PlannedRun.state`, and the same for people.
        url: of the run, the fan-out or the schedule.
        note: what else is to be told of it.
    """

    at: datetime
    name: str
    state: str
    words: str
    url: str
    note: str = ""


class Links:
    """Where planned times lead to, as far as a person may go there.

    Args:
        rows: what shall be linked, with `run_id` and `fanout_id`.
    """

    def __init__(self, user: AnyUser, rows: Iterable[Any]) -> None:
        runs = {row.run_id for row in rows if row.run_id}
        fanouts = {row.fanout_id for row in rows if row.fanout_id}
        visible = ActionRun.objects.visible_to(user).order_by()
        self._runs = set(visible.filter(pk__in=runs).values_list("pk", flat=True)) if runs else set()
        self._fanouts = (
            set(visible.filter(fanout__in=fanouts).values_list("fanout", flat=True)) if fanouts else set()
        )
        self._run_url = _pattern("admin:ami_integration_actionrun_change")
        self._fanout_url = _pattern("admin:ami_integration_fanout_change")
        self._schedule_url = _pattern("schedule_runs")

    def run(self, row: Any) -> str:
        """The page of its run or fan-out; "" if there is none, or none for this person."""
        if row.run_id in self._runs:
            return self._run_url % row.run_id
        return self._fanout_url % row.fanout_id if row.fanout_id in self._fanouts else ""

    def schedule(self, pk: int) -> str:
        """The history page of a schedule."""
        return self._schedule_url % pk


def _pattern(name: str) -> str:
    """An address with a place for the key: thousands of them are made at once."""
    return reverse(name, args=(0,)).replace("/0/", "/%s/")


def schedules_seen_whole(user: AnyUser, schedules: Iterable[int]) -> set[int]:
    """Of these schedules those of which the person sees every server."""
    pks = set(schedules)
    if user_sees_all_servers(user=user):
        return pks
    hidden = _servers_hidden(user)
    named = Schedule.servers.through.objects.filter(schedule_id__in=pks, server_id__in=hidden.values("pk"))
    tagged = Schedule.objects.filter(pk__in=pks, tag__servers__in=hidden.values("pk"))
    return pks - {*named.values_list("schedule_id", flat=True), *tagged.values_list("pk", flat=True)}


def reasons_shown(user: AnyUser, rows: Iterable[Any]) -> dict[int, str]:
    """The reasons of planned times, by their ids, as far as they are for this person.

    A reason may name servers, also such as have left the schedule since. So it is for whoever sees every
    server of its schedule, and not if it names one that they don't see.

    Args:
        rows: with `pk`, `schedule_id` and `reason`.
    """
    told = {row.pk: row for row in rows if row.reason}
    if not told or user_sees_all_servers(user=user):
        return {pk: row.reason for pk, row in told.items()}
    whole = schedules_seen_whole(user, {row.schedule_id for row in told.values()})
    names = list(_servers_hidden(user).values_list("name", flat=True))
    hidden = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names)) if names else None
    return {
        pk: row.reason
        for pk, row in told.items()
        if row.schedule_id in whole and not (hidden and hidden.search(row.reason))
    }


def _servers_hidden(user: AnyUser) -> QuerySet[Server]:
    return Server.objects.exclude(pk__in=servers_visible(user=user).values("pk"))


def where_words(names: Sequence[str], hidden: int) -> str:
    """The servers of a schedule in a few words.

    Args:
        names: of those that the person sees, in their order.
        hidden: how many others there are.
    """
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    if hidden:
        return f"{shown}, {hidden} that you don't see" if shown else f"{hidden} that you don't see"
    return shown or "no server any more"


def places_words(user: AnyUser, schedules: Iterable[int]) -> dict[int, str]:
    """Where these schedules run, as far as the person sees it: “tag queues”, or the servers' names."""
    pks = set(schedules)
    words = {
        pk: f"tag {tag}"
        for pk, tag in Schedule.objects.filter(pk__in=pks, tag__isnull=False).values_list("pk", "tag__name")
    }
    visible = servers_visible(user=user).values("pk")
    named = Schedule.servers.through.objects.filter(schedule_id__in=pks)
    unseen = Counter(named.exclude(server_id__in=visible).values_list("schedule_id", flat=True))
    names: dict[int, list[str]] = {}
    seen = named.filter(server_id__in=visible).order_by("server__name")
    for pk, name, simulated in seen.values_list("schedule_id", "server__name", "server__simulated"):
        names.setdefault(pk, []).append(server_label(name, simulated=simulated))
    return {pk: words.get(pk) or where_words(names.get(pk, ()), unseen[pk]) for pk in pks}
