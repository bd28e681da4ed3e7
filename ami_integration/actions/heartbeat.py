"""The sign of life of a process that executes runs.

Celery's threads pool ends with its process and can't say that it did, so the process itself stamps its
running rows every few seconds, from a thread of its own that no slow PBX can hold up. A row whose stamp
grows old belongs to a process that is gone, and the reaper says so (`watch.runs_reap`, called from a
process that is not Celery's).
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.utils import timezone

from ami_integration.actions.models import ActionRun

logger = logging.getLogger(__name__)


def worker_name() -> str:
    """The name of this process in the action log: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"[:150]


class Heartbeat:
    """Stamps the rows that this process executes, as long as there are any.

    The thread is started with the first run and ends after the last: a process forked meanwhile starts its
    own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: set[int] = set()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    @contextlib.contextmanager
    def beating(self, run_id: int) -> Iterator[None]:
        """Stamp this run until the block ends."""
        with self._lock:
            self._runs.add(run_id)
            if self._thread is None or not self._thread.is_alive():
                self._wake.clear()
                self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._runs.discard(run_id)
                if not self._runs:
                    self._wake.set()

    def beat(self) -> int:
        """Stamp now; returns how many rows still run here. A database that is away is logged once."""
        with self._lock:
            runs = list(self._runs)
        try:
            stamped = (
                ActionRun.objects.running()
                .filter(pk__in=runs, worker=worker_name())
                .update(heartbeat_at=timezone.now())
            )
        except (DatabaseError, InterfaceError) as error:
            if not self._failing:
                logger.error("The heartbeat can't reach the database; runs may be given up: %s", error)
            self._failing = True
            return 0
        if self._failing:
            logger.warning("The heartbeat reaches the database again.")
            self._failing = False
        return stamped

    def _work(self) -> None:
        try:
            while True:
                self._wake.wait(settings.AMIWEB_HEARTBEAT_INTERVAL)
                with self._lock:
                    if not self._runs:
                        # Under the lock, so that a run which begins now sees that it must start a new thread.
                        self._thread = None
                        return
                    self._wake.clear()
                close_old_connections()
                self.beat()
        finally:
            connection.close()


heartbeat = Heartbeat()
