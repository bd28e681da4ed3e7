"""`manage.py record`: stores the events of the stream and tells the pages, see
`ami_integration.events.recorder`.
"""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from ami_integration.events.recorder import Recorder
from ami_integration.heartbeats import Heart, Kind


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
            with Heart(Kind.RECORDER, url=settings.AMIWEB_REDIS_URL):
                recorder.run(stop)
        finally:
            recorder.close()
