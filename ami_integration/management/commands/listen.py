"""`manage.py listen`: the listener, and beside it what must not live in the processes that it watches over.

The recorder runs in a thread unless it has a process of its own. The upkeep of the action log (ringing again
for runs that nobody took, closing those whose worker died) runs in another: in Celery it would be away just
when it is needed. It also has the catalogue read of servers that came online for the first time, looks for
what to alert about, since the clock can't tell that it is away itself, and has alerts sent that nobody sent.
"""

import asyncio
import logging
import signal
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connection

from ami_integration.actions.catalogue.services import catalogues_sweep
from ami_integration.actions.retention import log_prune
from ami_integration.actions.watch import runs_reap, runs_sweep
from ami_integration.events.leases import NoSlotFree
from ami_integration.events.listener import Listener
from ami_integration.events.recorder import Recorder
from ami_integration.heartbeats import Details, Heart, Kind, loop_lag
from ami_integration.management.commands.record import recorder_heart
from ami_integration.outage import Outage
from ami_integration.schedules.alerts.services import alerts_look_through, alerts_prune, alerts_sweep
from ami_integration.schedules.retention import planned_prune

logger = logging.getLogger(__name__)

UPKEEP_SECONDS = 5.0
#: Seconds between two looks for what to alert about.
ALERTS_SECONDS = 15.0
#: Seconds between two looks for what the action log no longer keeps.
PRUNE_SECONDS = 60.0
JOIN_SECONDS = 3.0
#: Seconds for which dropped events are a fault.
DROPPED_SECONDS = 60.0


class Command(BaseCommand):
    help = "Listen to the events of all enabled servers. Further listeners share them and take over."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--no-recorder",
            action="store_true",
            help="Don't store events here; `record` does it in its own process.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        threads = [threading.Thread(target=upkeep, args=(stop,), name="upkeep", daemon=True)]
        if not options["no_recorder"]:
            threads.append(threading.Thread(target=_record, args=(stop,), name="recorder", daemon=True))
        for thread in threads:
            thread.start()
        try:
            asyncio.run(_listen())
        except NoSlotFree as error:
            raise CommandError(str(error)) from error
        finally:
            # After the listener, so that its last words are stored.
            stop.set()
            for thread in threads:
                thread.join(JOIN_SECONDS)


async def _listen() -> None:
    listener = Listener(
        url=settings.AMIWEB_REDIS_URL,
        maxlen=settings.AMIWEB_STREAM_MAXLEN,
        max_bytes=settings.AMIWEB_STREAM_BYTES,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, listener.stop)
    tells = Tells(listener.status)
    heart = Heart(Kind.LISTENER, url=settings.AMIWEB_REDIS_URL, details=lambda: tells.details(loop))
    heart.start()
    try:
        await listener.run()
    finally:
        await asyncio.to_thread(heart.stop)


class Tells:
    """What operators see of the listener, at each beat of its heart.

    Args:
        status: as `Listener.status`.
    """

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status
        self._dropped = 0
        self._grew = float("-inf")  # monotonic

    def details(self, loop: asyncio.AbstractEventLoop) -> Details:
        """Raises TimeoutError if the listener's event loop stands still: then it falls silent."""
        behind = loop_lag(loop)
        status = self._status()
        words = (
            f"{status['online']} of {status['servers']} servers online, "
            f"{status['events_per_second']:g} events/s"
        )
        if status["listeners"] > 1:
            words += f", one of {status['listeners']} listeners"
        faults: tuple[str, ...] = ()
        if status["dropped"]:
            words += f", {status['dropped']} events dropped"
            if status["dropped"] > self._dropped:
                self._grew = time.monotonic()
            if time.monotonic() - self._grew < DROPPED_SECONDS:
                faults = (
                    f"drops events, {status['dropped']} so far: more come than can be written to Valkey. "
                    "The gaps say of which servers.",
                )
        self._dropped = status["dropped"]
        lag = max(behind, status["lag"])
        return Details(lag=lag, depth=status["waiting"], words=words, faults=faults)


def _record(stop: threading.Event) -> None:
    recorder = Recorder(url=settings.AMIWEB_REDIS_URL)
    try:
        with recorder_heart(recorder):
            recorder.run(stop)
    finally:
        recorder.close()


def upkeep(stop: threading.Event, *, interval: float = UPKEEP_SECONDS) -> None:
    """Look after the runs every few seconds until `stop`; what fails is logged and tried again."""
    sweeping = Outage(logger, "the sweep of the action log fails; it is tried again every few seconds")
    reaping = Outage(logger, "the reaper of the action log fails; it is tried again every few seconds")
    reading = Outage(logger, "having catalogues read fails; it is tried again every few seconds")
    pruning = Outage(logger, "the pruning of the action log fails; it is tried again every minute")
    alerting = Outage(logger, "the sweep of alerts fails; it is tried again every few seconds")
    looking = Outage(logger, "the look for alerts fails; it is tried again every few seconds")
    pruning_alerts = Outage(logger, "the pruning of alerts fails; it is tried again every minute")
    forgetting = Outage(
        logger, "the pruning of what became of schedules fails; it is tried again every minute"
    )
    reap_at = prune_at = alerts_at = time.monotonic()
    while True:
        if not _attempt(runs_sweep, sweeping) and not _database_answers():
            # The workers can't give a sign of life either. When it is back they get the time to do so, before
            # they count as dead.
            reap_at = time.monotonic() + settings.AMIWEB_HEARTBEAT_LOST
        elif time.monotonic() >= reap_at:
            _attempt(runs_reap, reaping)
        if time.monotonic() >= prune_at:
            prune_at = time.monotonic() + PRUNE_SECONDS
            _attempt(log_prune, pruning)
            _attempt(planned_prune, forgetting)
            _attempt(alerts_prune, pruning_alerts)
        _attempt(catalogues_sweep, reading)
        if time.monotonic() >= alerts_at and _attempt(alerts_look_through, looking):
            # The tick looks, too; but that the clock itself is away only somebody else can tell.
            alerts_at = time.monotonic() + ALERTS_SECONDS
        _attempt(alerts_sweep, alerting)
        if stop.wait(interval):
            return


def _attempt(call: Callable[[], object], outage: Outage) -> bool:
    """One of them, apart from the other; returns whether it succeeded."""
    try:
        call()
    except Exception as error:
        # Whatever it is: listening goes on, and so does the upkeep.
        outage.failed(error, trace=not isinstance(error, Error))
        return False
    else:
        outage.ended()
        return True
    finally:
        connection.close()


def _database_answers() -> bool:
    try:
        connection.ensure_connection()
        return connection.is_usable()
    except Error:
        return False
    finally:
        connection.close()
