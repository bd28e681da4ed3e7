"""Whether anything can come to live pages at all: Valkey answers, somebody listens, somebody records.

An open socket says nothing of that, and a page on which nothing moves looks as if nothing happened. Each web
process looks once for all its pages.
"""

import asyncio
import time
from typing import ClassVar
from weakref import WeakKeyDictionary

import redis
from channels.db import database_sync_to_async
from django.conf import settings

from ami_integration.heartbeats import Kind, connection, heartbeats_read

#: Seconds for which a look is good for every page.
MAX_AGE = 1.0
#: Seconds that it waits for Valkey.
_PATIENCE = 1.0

_VALKEY = "Valkey can't be reached: no events come until it is back."
_WITHOUT = {
    Kind.LISTENER: "No listener has given a sign of life for a while: no events come until one runs.",
    Kind.RECORDER: "No recorder has given a sign of life for a while: events wait until one runs.",
}


class Flow:
    """What stops the events, for the pages of an event loop; get it by `Flow.of_loop()`."""

    _of: ClassVar["WeakKeyDictionary[asyncio.AbstractEventLoop, Flow]"] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._looking = asyncio.Lock()
        self._until = 0.0
        self._says = ""

    @classmethod
    def of_loop(cls) -> "Flow":
        return cls._of.setdefault(asyncio.get_running_loop(), cls())

    async def stopped_by(self) -> str:
        """A sentence for a person; "" while events can come."""
        async with self._looking:
            if time.monotonic() >= self._until:
                self._says = await database_sync_to_async(_look, thread_sensitive=False)()
                self._until = time.monotonic() + MAX_AGE
            return self._says


def _look() -> str:
    valkey = connection(settings.AMIWEB_REDIS_URL, attempts=1, timeout=_PATIENCE)
    try:
        alive = {beat.kind for beat in heartbeats_read(valkey) if not beat.silent}
    except redis.RedisError:
        return _VALKEY
    finally:
        valkey.close()
    return " ".join(says for kind, says in _WITHOUT.items() if kind not in alive)
