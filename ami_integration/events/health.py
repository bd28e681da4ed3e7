"""Writes what the listener sees of its servers into the database, without the listener waiting for it.

The latest word on a server counts, so while the database is away the words of the meantime are merged. Uses
of secrets are kept one by one up to a bound, and counted beyond it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import Error

from ami_integration.outage import Outage
from ami_integration.servers.services import server_health_set
from ami_integration.servers.uses import Use, uses_write

logger = logging.getLogger(__name__)

_INTERVAL = 0.5
#: Uses of secrets that wait for the database: some hours of a listener whose servers are in trouble.
USES_KEPT = 20_000
_AT_ONCE = 1_000


class HealthReporter:
    """Collects words on servers and writes them twice a second.

    Args:
        in_database_thread: runs a blocking function where the database may be used.
    """

    def __init__(self, in_database_thread: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self._in_database_thread = in_database_thread
        self._words: dict[int, dict[str, Any]] = {}
        self._uses: list[Use] = []
        self._untold = 0
        self._outage = Outage(
            logger, "the database is away; the health of servers is written when it is back"
        )

    def note(self, server_id: int, *, state: str, **values: Any) -> None:
        """Say something about a server: the arguments of `server_health_set`."""
        words = self._words.setdefault(server_id, {})
        words |= {"state": state} | {name: value for name, value in values.items() if value is not None}

    def used(self, use: Use | None) -> None:
        """Tell the audit of a use of secrets; None: nothing was used."""
        if use is None:
            return
        if len(self._uses) < USES_KEPT:
            self._uses.append(use)
        else:
            self._untold += 1

    def forget(self, server_id: int) -> None:
        """The server is gone."""
        self._words.pop(server_id, None)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self.flush()
            await asyncio.sleep(_INTERVAL)

    async def flush(self) -> None:
        """Write what there is; what can't be written now is kept unless something newer was said."""
        taken, self._words = self._words, {}
        uses, untold = self._uses[:_AT_ONCE], self._untold
        if not (taken or uses or untold):
            return
        try:
            await self._in_database_thread(lambda: _write(taken))
            if uses or untold:
                await self._in_database_thread(lambda: uses_write(uses, untold=untold))
                del self._uses[: len(uses)]
                self._untold -= untold
        except Error as error:
            self._outage.failed(error)
        else:
            self._outage.ended()
        for server_id, words in taken.items():  # what _write left there
            self._words[server_id] = words | self._words.get(server_id, {})


def _write(taken: dict[int, dict[str, Any]]) -> None:
    while taken:
        server_id, words = next(iter(taken.items()))
        server_health_set(server_id=server_id, **words)
        del taken[server_id]
