"""Whether amiweb is well: its processes, what waits for them, and what they stand on.

The status page, the header of every page and `manage.py status` show the same, from here.
"""

import threading
import time
from dataclasses import asdict, dataclass

import redis
from django.conf import settings
from django.db import Error
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.audit.seals import sealing_problem
from ami_integration.console.secrets import unreadable
from ami_integration.heartbeats import SILENT, Heartbeat, Kind, connection, heartbeat_forget, heartbeats_read
from ami_integration.schedules.alerts.services import mail_problem

#: What each kind is for, and so what doesn't happen without it, with how to start one.
WITHOUT: dict[Kind, str] = {
    Kind.WEB: "No page is served. Start it: uvicorn amiweb.asgi:application --lifespan on",
    Kind.LISTENER: "No events are heard. Start it: manage.py listen",
    Kind.RECORDER: "Events wait on the stream, and no page shows them. Start it: manage.py record",
    Kind.WORKER: "No action runs. Start it: celery --app amiweb worker --pool threads",
    Kind.TICKER: "No schedule starts. Start it: celery --app amiweb worker --queues amiweb.ticks",
    Kind.BEAT: "No schedule starts. Start it: celery --app amiweb beat",
}
#: Seconds behind its work from which a process counts as late.
LATE = 10.0
#: From which that is a fault.
LATE_FAULT = 60.0
#: Seconds that a page waits for Valkey.
_PATIENCE = 0.5
#: Seconds for which the header's look at Valkey is good for every page of a process.
GLANCE_SECONDS = 2.0
#: Seconds behind the moment in which one falls silent.
_AFTER = 0.05


@dataclass(frozen=True)
class Row:
    """One process, or a kind that has none.

    Args:
        state: ok, late, silent or missing; the last two are faults, and late is one from `LATE_FAULT` on.
        age: seconds since the last sign of life.
        lag: seconds behind its work, None if unknown.
        depth: how much waits for it, None if that isn't a thing of this kind.
        says: what it adds, or what its absence means.
        faults: what it says is wrong, without its name.
    """

    kind: str
    state: str
    says: str = ""
    host: str = ""
    pid: int | None = None
    version: str = ""
    uptime: float | None = None
    age: float | None = None
    lag: float | None = None
    depth: int | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Status:
    """All of it. `faults` are sentences; while there is one, amiweb isn't well."""

    rows: list[Row]
    faults: list[str]

    def as_json(self) -> dict[str, object]:
        return {"rows": [asdict(row) for row in self.rows], "faults": self.faults}


def status_read() -> Status:
    """How amiweb is now, whatever of it is away."""
    try:
        rows = process_rows()
    except redis.RedisError as error:
        return Status([], [_valkey_away(error), *_database_faults()])
    return Status(rows, [*_faults(rows), *_database_faults()])


def process_rows() -> list[Row]:
    """The processes and the kinds that have none, in the order of `Kind`. Raises redis.RedisError.

    How far workers are behind stands in the action log, not in their signs of life.
    """
    valkey = _valkey()
    try:
        beats = heartbeats_read(valkey)
    finally:
        valkey.close()
    waited = _oldest_waiting_run()
    rows = [_row(beat, lag=waited if beat.kind is Kind.WORKER else beat.details.lag) for beat in beats]
    rows += [
        Row(kind=kind, state="missing", says=says)
        for kind, says in WITHOUT.items()
        if all(beat.kind is not kind for beat in beats)
    ]
    order = list(Kind)
    return sorted(rows, key=lambda row: order.index(Kind(row.kind)))


def process_forget(*, kind: str, host: str, pid: int) -> bool:
    """Take a silent process off the list; False if there is none such. Raises redis.RedisError."""
    valkey = _valkey()
    try:
        return heartbeat_forget(valkey, kind=kind, host=host, pid=pid)
    finally:
        valkey.close()


def _valkey() -> "redis.Redis":
    return connection(settings.AMIWEB_REDIS_URL, attempts=1, timeout=_PATIENCE)


def _row(beat: Heartbeat, *, lag: float | None) -> Row:
    if beat.silent:
        state = "silent"
    elif lag is not None and lag >= LATE:
        state = "late"
    else:
        state = "ok"
    return Row(
        kind=beat.kind,
        state=state,
        says=beat.details.words,
        host=beat.host,
        pid=beat.pid,
        version=beat.version,
        uptime=beat.uptime + beat.age,
        age=beat.age,
        lag=lag,
        depth=beat.details.depth,
        faults=beat.details.faults,
    )


def _oldest_waiting_run() -> float | None:
    """Seconds that the oldest run has waited for a worker, and for nothing else; None if nobody can know."""
    try:
        turned = (
            ActionRun.objects.startable(timezone.now())
            .filter(waiting_for="")
            .annotate(turned=Greatest("created_at", Coalesce("start_at", "created_at")))
            .order_by("turned")
            .values_list("turned", flat=True)
            .first()
        )
    except Error:
        return None
    return 0.0 if turned is None else (timezone.now() - turned).total_seconds()


def _faults(rows: list[Row]) -> list[str]:
    faults = []
    for row in rows:
        if row.state == "missing":
            faults.append(f"There is no {row.kind}. {row.says}")
        elif row.state == "silent":
            faults.append(
                f"The {row.kind} {row.pid} on {row.host} has been silent for {row.age:.0f} s: it was killed, "
                "hangs, or can't reach Valkey. Look into its log."
            )
        else:
            name = f"The {row.kind} {row.pid} on {row.host}"
            if row.lag is not None and row.lag >= LATE_FAULT:
                faults.append(f"{name} is {row.lag:.0f} s behind its work. Look into its log.")
            faults += [f"{name} {fault}" for fault in row.faults]
    return faults


def _database_faults() -> list[str]:
    try:
        ActionRun.objects.exists()
        mail = mail_problem()
        closed = [*unreadable.faults(), *_sealing_faults()]
    except Error as error:
        return [f"The database can't be reached: {str(error).strip().splitlines()[0]}"]
    return [*closed, *([f"Alerts of schedules wait. {mail}"] if mail else [])]


def _sealing_faults() -> list[str]:
    """Raises django.db.Error."""
    return [said] if (said := sealing_problem()) else []


def _valkey_away(error: redis.RedisError) -> str:
    return (
        f"Valkey can't be reached ({error}): actions wait, events aren't stored, pages aren't told of news. "
        "Start it, or mend AMIWEB_REDIS_URL."
    )


class Glance:
    """What the header of every page shows: faults of the processes and of sealing, looked up now and then.

    A page that has a header has reached the database, so that isn't tried once more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._faults: list[str] = []

    def faults(self) -> list[str]:
        """The faults of the processes, at most `GLANCE_SECONDS` old. While one page looks, and Valkey lets it
        wait, the others get what was known before.
        """
        if time.monotonic() >= self._until and self._lock.acquire(blocking=False):
            try:
                good_for = GLANCE_SECONDS
                rows = process_rows()
                self._faults, good_for = [*_faults(rows), *_sealing_faults()], _good_for(rows)
            except redis.RedisError as error:
                self._faults = [_valkey_away(error)]
            finally:
                self._until = time.monotonic() + good_for
                self._lock.release()
        return self._faults


def _good_for(rows: list[Row]) -> float:
    """Seconds for which this look will do: one may fall silent meanwhile, and headers tell at once."""
    silent_in = [SILENT - row.age for row in rows if row.age is not None and row.age < SILENT]
    return min(GLANCE_SECONDS, *silent_in) + _AFTER if silent_in else GLANCE_SECONDS


glance = Glance()
