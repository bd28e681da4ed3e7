"""`manage.py record`: stores the events of the stream and tells the pages, see
`ami_integration.events.recorder`.
"""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from ami_integration.events.recorder import Recorder
from ami_integration.events.stream import ASIDE
from ami_integration.heartbeats import Details, Heart, Kind

_WHY_LENGTH = 200  # characters
#: Seconds that one turn of the recorder may take.
STUCK = 60.0


class Command(BaseCommand):
    help = (
        "Store events from the stream. One recorder is active, further ones stand by. "
        "Not needed beside `listen`, unless that runs with --no-recorder."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        recorder = Recorder(url=settings.AMIWEB_REDIS_URL)
        try:
            with recorder_heart(recorder):
                recorder.run(stop)
        finally:
            recorder.close()


def recorder_heart(recorder: Recorder) -> Heart:
    """The heart of a recorder, wherever it runs: it says what operators should know."""
    return Heart(Kind.RECORDER, url=settings.AMIWEB_REDIS_URL, details=lambda: _details(recorder))


def _details(recorder: Recorder) -> Details:
    status = recorder.status()
    words = [f"{status['rate']:g} events/s" if status["active"] else "stands by"]
    if status["put_aside"]:
        why = status["put_aside_why"][:_WHY_LENGTH]
        words.append(
            f"{status['put_aside']} entries could not be stored and were put aside (the last: {why})"
        )
    if status["strays"]:
        words.append(f"{status['strays']} events of days that have no partition")
    faults = []
    if status["turn"] >= STUCK:
        faults.append(f"has been stuck for {status['turn']:.0f} s. Look into its log, and start it anew.")
    if status["active"] and status["put_aside_why"]:
        faults.append(
            f"could not store entries and put them aside, {status['put_aside']} so far (the last: "
            f"{status['put_aside_why'][:_WHY_LENGTH]}). They lie in Valkey; this ends when you have looked "
            f"at them and deleted the key {ASIDE}."
        )
    if status["active"] and status["strays"]:
        faults.append(
            f"has {status['strays']} events of days that have no partition: a clock was wrong, or days could "
            "not be made. Its log says which."
        )
    return Details(lag=status["lag"], depth=status["depth"], words=", ".join(words), faults=tuple(faults))
