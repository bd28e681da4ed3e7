"""What is wrong with schedules, and what isn't any more. Only reads; `services` makes alerts of it.

- **failing**: as many planned times in a row failed as the schedule says. Over with the next success, or when
  it says more than failed. The same failures open no second alert, however often it is disabled and resumed.
- **silent**: nothing has succeeded for as long as it says. Counted from the last success, and from no earlier
  than it can have run: its creation or its last edit (to enable it is one), the end of a pause of all
  schedules, its own beginning; without the time in which blackouts held it back whole. Not while all are
  paused, and not of one that has ended. Over with a success, when it says longer than nothing has succeeded,
  or when no planned time is left.
- **late**: a planned time began so long after its moment, or hasn't begun by then, or was missed because
  amiweb's own clock was. Where nobody takes it at all, the clock is away, so that the listener looks as well;
  while all are paused or a blackout holds, nothing is meant to begin. Where the servers are spread, the
  moment is the end of the spread. Over when a later planned time begins in time. What somebody runs by hand
  is neither.
- **stopped**: amiweb stopped it. Over when somebody takes it over or resumes it.

Where no planned time is left, none can begin in time: what was late is over when it ended, and what was
missed for good when somebody ran it by hand. That it failed, or never ran, is not mended by its being the
last time, so these stay open for somebody to see: until a success by hand, or until the history forgets them.

An alert about what nobody wants to know any more is over, and a schedule that is disabled or deleted has
none. Each look is bounded: 5,000 schedules may be wrong at once, and the tick of the clock has a second for
all that it does.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import DateTimeField, Exists, F, Max, Min, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Greatest

from ami_integration.actions.fanouts import FAILURES
from ami_integration.actions.models import ActionRun
from ami_integration.schedules.alerts.models import Alert
from ami_integration.schedules.alerts.quiet import Quiet, counted_silence
from ami_integration.schedules.durations import duration_text
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.rules import moment_words
from ami_integration.schedules.switch import SchedulesPause

#: For so long after its creation a planned run that has ended is looked at for having been late, and for
#: having been in time. Those that haven't ended are looked at in any case.
LOOK_BACK, LOOK_BACK_TIMELY = timedelta(minutes=10), timedelta(minutes=3)
#: Alerts of one kind that one look opens, and that it closes; the next one goes on. With 5,000 schedules such
#: a look takes a quarter of a second (tests/bench/bench_alerts.py).
MOST = 400
#: The shortest limit of silence that a schedule may have.
SHORTEST_SILENCE = timedelta(seconds=60)
NONE_LEFT = "It has ended: no planned time is left."
FORGOTTEN = f"{NONE_LEFT} The history has forgotten what this was about."

_Kind = Alert.Kind


@dataclass(frozen=True)
class Finding:
    """A schedule that has no open alert of this kind, and should have one."""

    schedule_id: int
    schedule_name: str
    kind: Alert.Kind
    text: str
    planned_at: datetime | None = None


@dataclass(frozen=True)
class Ending:
    """An open alert that is over, and why."""

    alert_id: int
    text: str


@dataclass(frozen=True)
class Punctuality:
    """Of one schedule the newest planned time that is late, when that one began, and the newest in time."""

    late: datetime | None = None
    late_begun: datetime | None = None
    timely: datetime | None = None


def findings(*, now: datetime, punctuality: dict[int, Punctuality]) -> Iterator[list[Finding]]:
    """What should be alerted about and isn't, by kind.

    Args:
        punctuality: as `punctuality_look` says.
    """
    yield list(_late(punctuality))  # first, since only this is forgotten after a while
    yield list(_stopped())
    yield list(_failing())
    pause = SchedulesPause.objects.order_by("pk").last()
    if pause is None or not pause.paused:
        yield list(_silent(now, resumed_at=pause.turned_at if pause else None))


def endings(*, now: datetime, punctuality: dict[int, Punctuality]) -> list[Ending]:
    """The open alerts that are over."""
    over = [
        *_over_with_schedule(),
        *_over_failing(),
        *_over_stopped(),
        *_over_silent(now),
        *_over_late_last(),
    ]
    return over[:MOST] + list(_over_late(punctuality))


def _without_alert(kind: Alert.Kind) -> QuerySet[Schedule]:
    alerts = Alert.objects.open().filter(schedule=OuterRef("pk"), kind=kind)
    return Schedule.objects.filter(~Exists(alerts), enabled=True).order_by("pk")


# Opening


def _stopped() -> Iterator[Finding]:
    found = _without_alert(_Kind.STOPPED).filter(stopped_at__isnull=False)
    for pk, name, at, why in found.values_list("pk", "name", "stopped_at", "stopped_why")[:MOST]:
        assert at is not None  # the filter says so
        text = f"amiweb stopped it at {moment_words(at)}. {why}".strip()
        yield Finding(pk, name, _Kind.STOPPED, text)


def _failing() -> Iterator[Finding]:
    told = Alert.objects.filter(schedule=OuterRef("pk"), kind=_Kind.FAILING).order_by("-opened_at")
    failed = PlannedRun.objects.filter(
        Q(outcome=PlannedRun.Outcome.REFUSED) | Q(result__in=(*FAILURES, PlannedRun.Result.PARTLY)),
        schedule=OuterRef("pk"),
    )
    found = (
        _without_alert(_Kind.FAILING)
        .filter(alert_failures__gt=0, failures__gte=F("alert_failures"))
        .annotate(
            told_at=Subquery(told.values("opened_at")[:1]),
            told_until=Subquery(told.values("closed_at")[:1]),
            failed_at=Subquery(failed.order_by("-planned_at").values("planned_at")[:1]),
        )
        # The last alert was about the same failures, unless something succeeded or failed since.
        .filter(
            Q(told_at=None)
            | Q(last_good_at__gt=F("told_at"))
            | Exists(failed.filter(planned_at__gt=OuterRef("told_until")))
        )
    )
    columns = ("pk", "name", "failures", "last_good_at", "failed_at")
    for pk, name, failures, good, failed_at in found.values_list(*columns)[:MOST]:
        times = "once" if failures == 1 else f"{failures} times in a row"
        last = f"The last success was at {moment_words(good)}." if good else "It has never succeeded."
        yield Finding(pk, name, _Kind.FAILING, f"It failed {times}. {last}", planned_at=failed_at)


def _silent(now: datetime, resumed_at: datetime | None) -> Iterator[Finding]:
    # Whoever has no next time and wasn't stopped has ended. What is stopped says so itself.
    watched = _without_alert(_Kind.SILENT).filter(
        alert_silent_seconds__gt=0, next_at__isnull=False, stopped_at=None
    )
    columns = ("alert_silent_seconds", "last_good_at", "created_at", "updated_at", "starts_at")
    candidates = []
    for pk, name, seconds, good, created, edited, starts in watched.values_list("pk", "name", *columns):
        since = max(moment for moment in (good, created, edited, starts, resumed_at) if moment is not None)
        if since + timedelta(seconds=seconds or 0) <= now:
            candidates.append((pk, name, seconds or 0, good, since))
    if not candidates:
        return
    quiet = Quiet(
        schedules=[pk for pk, *_ in candidates], since=min(since for *_, since in candidates), until=now
    )
    held = {pk: spans for pk, *_, since in candidates if (spans := quiet.spans(pk, since, now))}
    chances = _chances(held, resumed_at) if held else {}
    found = 0
    for pk, name, seconds, good, since in candidates:
        silence = counted_silence(since=since, now=now, spans=held.get(pk, []), first_chance=chances.get(pk))
        if silence < timedelta(seconds=seconds):
            continue
        last = f"since {moment_words(good)}" if good else "yet"
        text = f"Nothing has succeeded {last}. It should once in {duration_text(seconds)} at least."
        yield Finding(pk, name, _Kind.SILENT, text)
        found += 1
        if found == MOST:
            return


def _chances(schedules: Iterable[int], resumed_at: datetime | None) -> dict[int, datetime]:
    """Of each schedule the first planned time of its silence that neither a blackout nor a pause kept."""
    counted = Greatest(
        Coalesce("last_good_at", "created_at"),
        Coalesce("starts_at", "created_at"),
        "updated_at",
        Coalesce(Value(resumed_at, output_field=DateTimeField()), "created_at"),
    )
    kept = (PlannedRun.Outcome.BLACKOUT, PlannedRun.Outcome.PAUSED)
    rows = PlannedRun.objects.filter(
        schedule=OuterRef("pk"), by_hand="", planned_at__gt=OuterRef("counted_from")
    ).exclude(outcome__in=kept)
    found = Schedule.objects.filter(pk__in=schedules).annotate(counted_from=counted)
    chance = found.annotate(chance=Subquery(rows.order_by("planned_at").values("planned_at")[:1]))
    return {pk: at for pk, at in chance.order_by().values_list("pk", "chance") if at is not None}


def _late(punctuality: dict[int, Punctuality]) -> Iterator[Finding]:
    late = [pk for pk, one in punctuality.items() if one.late is not None]
    told = Alert.objects.filter(schedule=OuterRef("pk"), kind=_Kind.LATE).order_by()
    told_until = told.values("schedule").annotate(newest=Max("planned_at")).values("newest")
    found = _without_alert(_Kind.LATE).filter(pk__in=late).annotate(told_until=Subquery(told_until))
    rows = found.values_list("pk", "name", "alert_late_seconds", "updated_at", "told_until")[:MOST]
    for pk, name, seconds, edited, until in rows:
        one = punctuality[pk]
        # What was planned before an edit was planned under other rules.
        if one.late is None or one.late <= max(moment for moment in (edited, until) if moment is not None):
            continue
        if one.late_begun is None:
            what = "has not begun"
        else:
            what = f"began only at {moment_words(one.late_begun)}"
        text = (
            f"What was planned for {moment_words(one.late)} {what}. It alerts when it is more than "
            f"{duration_text(seconds or 0)} late."
        )
        yield Finding(pk, name, _Kind.LATE, text, planned_at=one.late)


# Closing


def _open(*kinds: Alert.Kind) -> QuerySet[Alert]:
    return Alert.objects.open().filter(kind__in=kinds or list(_Kind)).order_by("pk")


def _over_with_schedule() -> Iterator[Ending]:
    for pk in _open().filter(schedule=None).values_list("pk", flat=True)[:MOST]:
        yield Ending(pk, "The schedule was deleted.")
    for pk in _open().filter(schedule__enabled=False).values_list("pk", flat=True)[:MOST]:
        yield Ending(pk, "The schedule was disabled.")


def _over_failing() -> Iterator[Ending]:
    failing = _open(_Kind.FAILING).filter(schedule__enabled=True)
    over = failing.filter(
        Q(schedule__failures__lt=F("schedule__alert_failures")) | Q(schedule__alert_failures=None)
    )
    columns = (f"schedule__{name}" for name in ("failures", "alert_failures", "last_good_at"))
    for pk, opened, failures, wanted, good in over.values_list("pk", "opened_at", *columns)[:MOST]:
        if good is not None and (failures == 0 or good > opened):
            yield Ending(pk, f"It succeeded at {moment_words(good)}.")
        elif wanted is None:
            yield Ending(pk, "Nobody wants to know any more how often it fails.")
        else:
            times = "once" if failures == 1 else f"{failures} times"
            yield Ending(pk, f"It was edited: it failed {times} in a row, and alerts after {wanted}.")
    history = PlannedRun.objects.filter(schedule=OuterRef("schedule"))
    for pk in _ended(failing).exclude(Exists(history)).values_list("pk", flat=True)[:MOST]:
        yield Ending(pk, FORGOTTEN)


def _over_stopped() -> Iterator[Ending]:
    over = _open(_Kind.STOPPED).filter(schedule__enabled=True, schedule__stopped_at=None)
    rows = over.values_list("pk", "schedule__owner_name")[:MOST]
    for pk, owner in rows:
        yield Ending(pk, f"It runs again, with the rights of {owner or 'its owner'}.")


def _over_silent(now: datetime) -> Iterator[Ending]:
    columns = ("alert_silent_seconds", "last_good_at", "created_at", "next_at", "stopped_at")
    silent = _open(_Kind.SILENT).filter(schedule__enabled=True)
    for pk, opened, seconds, good, created, following, stopped in silent.values_list(
        "pk", "opened_at", *(f"schedule__{column}" for column in columns)
    ):
        if seconds is None:
            yield Ending(pk, "Nobody wants to know any more how long nothing ran.")
        elif (good or created) + timedelta(seconds=seconds) > now:
            # What succeeded longer ago was known when it opened; then it is the limit that changed.
            if good is not None and good > opened - SHORTEST_SILENCE:
                yield Ending(pk, f"It succeeded at {moment_words(good)}.")
            else:
                yield Ending(pk, f"It was edited: it should succeed once in {duration_text(seconds)}.")
        elif following is None and stopped is None:
            yield Ending(pk, NONE_LEFT)


def _over_late(punctuality: dict[int, Punctuality]) -> Iterator[Ending]:
    late = _open(_Kind.LATE).filter(schedule__enabled=True)
    for pk in late.filter(schedule__alert_late_seconds=None).values_list("pk", flat=True)[:MOST]:
        yield Ending(pk, "Nobody wants to know any more whether it is late.")
    timely = [pk for pk, one in punctuality.items() if one.timely is not None]
    rows = late.filter(schedule__in=timely, schedule__alert_late_seconds__isnull=False)
    for pk, schedule_id, planned_at in rows.values_list("pk", "schedule_id", "planned_at")[:MOST]:
        one = punctuality[schedule_id].timely
        if one is not None and (planned_at is None or one > planned_at):
            yield Ending(pk, f"What was planned for {moment_words(one)} began in time.")


def _over_late_last() -> Iterator[Ending]:
    """Of schedules that have ended, so that nothing of them can begin in time any more."""
    late = _ended(_open(_Kind.LATE)).filter(schedule__alert_late_seconds__isnull=False)
    about = PlannedRun.objects.filter(schedule=OuterRef("schedule"), planned_at=OuterRef("planned_at"))
    rows = late.exclude(Exists(about.open())).annotate(
        outcome=Subquery(about.values("outcome")), finished=Subquery(about.values("finished_at"))
    )
    mended = ~Q(outcome=PlannedRun.Outcome.MISFIRED) | Q(schedule__last_good_at__gt=F("opened_at"))
    columns = ("planned_at", "outcome", "finished", "schedule__last_good_at")
    for pk, at, outcome, finished, good in rows.filter(Q(outcome=None) | mended).values_list("pk", *columns)[
        :MOST
    ]:
        if outcome is None:
            yield Ending(pk, FORGOTTEN)
        elif outcome == PlannedRun.Outcome.MISFIRED:
            yield Ending(pk, f"It succeeded at {moment_words(good)}.")
        elif finished is not None:
            yield Ending(
                pk, f"What was planned for {moment_words(at)} has ended, and no planned time is left."
            )
        else:
            yield Ending(pk, NONE_LEFT)


def _ended(alerts: QuerySet[Alert]) -> QuerySet[Alert]:
    """Those of schedules that have no planned time left, and weren't turned off."""
    return alerts.filter(schedule__enabled=True, schedule__next_at=None, schedule__stopped_at=None)


# Who is late


def punctuality_look(*, now: datetime) -> dict[int, Punctuality]:
    """How the newest planned times began, of the schedules that alert about it.

    Who is in time is only looked up where an alert could be over by that.
    """
    least = Schedule.objects.filter(enabled=True, alert_late_seconds__gt=0).aggregate(
        least=Min("alert_late_seconds")
    )["least"]
    if least is None:
        return {}
    watched = PlannedRun.objects.filter(
        schedule__enabled=True, schedule__alert_late_seconds__gt=0, by_hand=""
    )
    of_fanout = (
        ActionRun.objects.filter(fanout=OuterRef("fanout"), started_at__isnull=False)
        .order_by("started_at")
        .values("started_at")[:1]
    )
    # What is settled knows when it began, and when it is over; of the others their runs do.
    is_open = watched.open().annotate(begun=Coalesce("run__started_at", Subquery(of_fanout)))
    settled = watched.filter(created_at__gte=now - LOOK_BACK).annotate(begun=F("started_at"))
    submitted = settled.filter(outcome=PlannedRun.Outcome.SUBMITTED).exclude(result=PlannedRun.Result.NONE)
    tolerated = timedelta(seconds=least)  # by whoever tolerates the least
    alerted = Alert.objects.open().filter(kind=_Kind.LATE, schedule__isnull=False).values("schedule")
    known: dict[int, Punctuality] = {}
    for rows in (
        is_open.filter(planned_at__lt=now - tolerated),
        settled.filter(outcome=PlannedRun.Outcome.MISFIRED),
        submitted.filter(Q(begun__gt=F("planned_at") + tolerated) | Q(begun=None)),
        is_open.filter(schedule__in=alerted),
        submitted.filter(schedule__in=alerted, created_at__gte=now - LOOK_BACK_TIMELY),
    ):
        columns = ("schedule_id", "planned_at", "outcome", "result", "begun", "created_at", "finished_at")
        limits = ("schedule__alert_late_seconds", "schedule__jitter_seconds")
        for pk, at, outcome, result, begun, created, finished, late, jitter in rows.order_by().values_list(
            *columns, *limits
        ):
            if outcome == PlannedRun.Outcome.MISFIRED:
                by, begun = created, None
            elif begun is None and result == PlannedRun.Result.CANCELLED:
                continue
            else:
                by = begun or finished or now
            one = known.get(pk, Punctuality())
            if by > at + timedelta(seconds=late + jitter):
                if one.late is None or at > one.late:
                    known[pk] = Punctuality(at, begun, one.timely)
            elif begun is not None and (one.timely is None or at > one.timely):
                known[pk] = Punctuality(one.late, one.late_begun, at)
    for pk, at in _untaken(now, tolerated):
        one = known.get(pk, Punctuality())
        if one.late is None or at > one.late:
            known[pk] = Punctuality(at, None, one.timely)
    return known


def _untaken(now: datetime, tolerated: timedelta) -> list[tuple[int, datetime]]:
    """The schedules whose planned time has passed for too long, and nobody has taken it."""
    switch = SchedulesPause.objects.order_by("pk").last()
    if switch is not None and switch.paused:
        return []
    due = Schedule.objects.filter(
        enabled=True, stopped_at=None, alert_late_seconds__gt=0, next_at__lt=now - tolerated
    )
    columns = ("pk", "next_at", "alert_late_seconds", "jitter_seconds")
    untaken = [
        (pk, at)
        for pk, at, late, jitter in due.order_by().values_list(*columns)
        if at is not None
        and now > at + timedelta(seconds=(late or 0) + jitter)
        and (switch is None or switch.at(at) is None)
    ]
    if not untaken:
        return []
    quiet = Quiet(schedules=[pk for pk, _ in untaken], since=min(at for _, at in untaken), until=now)
    return [
        (pk, at)
        for pk, at in untaken
        if not any(begins <= at < ends for begins, ends in quiet.spans(pk, at, now))
    ]
