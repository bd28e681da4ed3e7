"""How many runs of one server a process carries at once.

A run holds its worker's thread until the PBX answers, or until its time is over. Without a bound, one PBX
that doesn't answer would take all threads, and every other server would wait for it. What finds no lane
free stays queued; the next run of its server that ends rings for it, and the sweep does so if that fails.
"""

import threading
from dataclasses import dataclass, field

#: Runs of one server at once in one process; a worker has four times as many threads (`amiweb.processes`).
LANES = 8


@dataclass
class _Server:
    taken: int = 0
    # A dictionary for its order and its unique keys: the same run may be rung for again and again.
    waiting: dict[int, None] = field(default_factory=dict)


class Lanes:
    """The lanes of this process, by server; its threads share them.

    Args:
        count: lanes for each server.
    """

    def __init__(self, count: int = LANES) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._servers: dict[int | None, _Server] = {}

    def enter(self, server_id: int | None, run_id: int) -> bool:
        """Take a lane of this server for a run. False: none is free, and the run waits for `leave`."""
        with self._lock:
            server = self._servers.setdefault(server_id, _Server())
            if server.taken >= self._count:
                server.waiting[run_id] = None
                return False
            server.taken += 1
            server.waiting.pop(run_id, None)
            return True

    def leave(self, server_id: int | None) -> int | None:
        """Give a lane of this server back; returns the run that has waited longest, to be rung for."""
        with self._lock:
            server = self._servers[server_id]
            server.taken -= 1
            if server.waiting:
                run_id = next(iter(server.waiting))
                del server.waiting[run_id]
                return run_id
            if not server.taken:
                del self._servers[server_id]
            return None


lanes = Lanes()
