"""Which server may have how many of a worker's threads.

A run holds its thread from connecting until the PBX answers, or until its time is over. Without a bound, a
few PBXs that don't answer would take all threads, and every other server would wait for them. So a server may
take another thread only while it has fewer than 0.3 times as many as are free: of 32 threads one server alone
gets 8, five that hang together leave 7 or more, and each always gets one. What finds no room stays queued;
the next run of its server that ends rings for it, and the sweep does so if that fails.
"""

import threading
from dataclasses import dataclass, field

from django.conf import settings

#: A server may have so many times as many threads as are free.
SHARE = 0.3


@dataclass
class _Server:
    taken: int = 0
    # A dictionary for its order and its unique keys: the same run may be rung for again and again.
    waiting: dict[int, None] = field(default_factory=dict)


class Lanes:
    """The lanes of this process, by server; its threads share them.

    Args:
        threads: that this process has for runs.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._taken = 0
        self._servers: dict[int | None, _Server] = {}

    def enter(self, server_id: int | None, run_id: int) -> bool:
        """Take a lane of this server for a run. False: none is free, and the run waits for `leave`."""
        with self._lock:
            server = self._servers.setdefault(server_id, _Server())
            if server.taken and server.taken >= SHARE * (self._threads - self._taken):
                server.waiting[run_id] = None
                return False
            server.taken += 1
            self._taken += 1
            server.waiting.pop(run_id, None)
            return True

    def leave(self, server_id: int | None) -> int | None:
        """Give a lane of this server back; returns the run that has waited longest, to be rung for."""
        with self._lock:
            server = self._servers[server_id]
            server.taken -= 1
            self._taken -= 1
            if server.waiting:
                run_id = next(iter(server.waiting))
                del server.waiting[run_id]
                return run_id
            if not server.taken:
                del self._servers[server_id]
            return None


lanes = Lanes(settings.AMIWEB_WORKER_THREADS)
