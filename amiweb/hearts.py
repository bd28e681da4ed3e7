"""The signs of life of the processes that aren't ours to write: uvicorn, and Celery's worker and beat.

Those of listener and recorder are in their commands. What each says of itself comes from inside its work: a
web process whose event loop stands still, or a ticker that hangs in a tick, must not look alive.
"""

import asyncio
import atexit
import time
from collections.abc import Awaitable, Callable
from typing import Any

from celery import Celery, signals
from django.conf import settings

from ami_integration.heartbeats import Details, Heart, Kind, connection, loop_lag
from amiweb.processes import TICK_QUEUE

Scope = dict[str, Any]

#: Seconds after which a seal that could not be told has had its next chance more than once.
UNTOLD_SECONDS = 180.0


class Lifespan:
    """The ASGI lifespan of the web process: its heart beats from startup to shutdown."""

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Scope]],
        send: Callable[[Scope], Awaitable[None]],
    ) -> None:
        await receive()
        loop = asyncio.get_running_loop()
        heart = Heart(Kind.WEB, url=settings.AMIWEB_REDIS_URL, details=lambda: Details(lag=loop_lag(loop)))
        heart.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(heart.stop)
        await send({"type": "lifespan.shutdown.complete"})


def connect(app: Celery) -> None:
    """Have Celery's processes give signs of life."""
    # Celery keeps weak references to receivers that are functions within functions.
    signals.worker_ready.connect(_worker_ready, weak=False)
    signals.beat_init.connect(_beat_init, weak=False)


def _worker_ready(sender: Any, **_: Any) -> None:
    from ami_integration.audit.tasks import untold  # the apps weren't ready when this module was loaded

    queues = list(sender.app.amqp.queues.consume_from)
    kind = Kind.TICKER if queues == [TICK_QUEUE] else Kind.WORKER
    valkey = connection(settings.AMIWEB_REDIS_URL)  # the broker is the same Valkey
    last = time.monotonic()

    def done(**_: Any) -> None:
        nonlocal last
        last = time.monotonic()

    def details() -> Details:
        depth = sum(int(valkey.llen(queue)) for queue in queues)
        # Ticks come every second. The lag of runs is in the action log, where the console looks for it.
        late = time.monotonic() - last if kind is Kind.TICKER and depth else 0.0
        # Another worker may have the next seal, so an old failure of this one says nothing.
        why = untold.lately(UNTOLD_SECONDS)
        faults = (f"could not tell the audit's seals outside the database. {why}",) if why else ()
        return Details(
            lag=late if kind is Kind.TICKER else None, depth=depth, words=", ".join(queues), faults=faults
        )

    heart = Heart(kind, url=settings.AMIWEB_REDIS_URL, details=details)
    signals.task_postrun.connect(done, weak=False)
    signals.worker_shutdown.connect(lambda **_: heart.stop(), weak=False)
    heart.start()


def _beat_init(**_: Any) -> None:
    last = time.monotonic()

    def sent(**_: Any) -> None:
        nonlocal last
        last = time.monotonic()

    heart = Heart(
        Kind.BEAT,
        url=settings.AMIWEB_REDIS_URL,
        details=lambda: Details(lag=max(0.0, time.monotonic() - last - 1.0)),
    )
    signals.after_task_publish.connect(sent, weak=False)
    atexit.register(heart.stop)
    heart.start()
