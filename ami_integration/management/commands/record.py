"""`manage.py record`: stores the events of the stream and tells the pages, see
`ami_integration.events.recorder`.
"""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from ami_integration.events.recorder import Recorder
from ami_integration.heartbeats import Details, Heart, Kind

_WHY_LENGTH = 200  # characters


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
    return Details(lag=status["lag"], depth=status["depth"], words=", ".join(words))
