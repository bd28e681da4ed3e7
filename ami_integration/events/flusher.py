"""The one clock by which all sessions of a listener write what they have.

A timer for each session would wake the process thousands of times a second for a fleet, and the stream would
see as many calls; so the first event of any session starts one, and when it rings, all write.
"""

import asyncio
from collections.abc import Callable

#: What delay is added at most, the call to Valkey aside.
BATCH_SECONDS = 0.05


class Flusher:
    """Calls what was asked for within `BATCH_SECONDS`."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def soon(self, flush: Callable[[], None]) -> None:
        """Have this called once. What it is to write may also be written before; it finds nothing then."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(BATCH_SECONDS, self._ring)
        self._waiting.append(flush)

    def _ring(self) -> None:
        waiting, self._waiting = self._waiting, []
        for flush in waiting:
            flush()
