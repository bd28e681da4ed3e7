"""A listener's session that writes to nothing: ``python -m tests.bench.listening PORT EVENTS``.

All that the listener does with an event is done: it is read, cut out, numbered, batched, packed and handed to
the outbox's thread, which drops it there instead of writing it to the stream. Prints a line of JSON with the
events and the CPU seconds of the process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence

import django

from tests.bench.readers import LOST

SERVER_ID = 1


async def listen(port: int, wanted: int) -> None:
    from ami_integration.ami import TCP
    from ami_integration.events.background import Threads, cancel
    from ami_integration.events.entrance import Entrance
    from ami_integration.events.flusher import Flusher
    from ami_integration.events.health import HealthReporter
    from ami_integration.events.ids import IdSource
    from ami_integration.events.outbox import Outbox
    from ami_integration.events.session import Means, Session, Target
    from ami_integration.events.snapshots import Snapshots
    from ami_integration.events.writer import Packed, StreamWriter
    from ami_integration.secrets.encryption import Secret

    loop = asyncio.get_running_loop()
    all_came = asyncio.Event()

    class Nowhere(StreamWriter):
        """Takes entries, and tells when the last event was numbered."""

        def __init__(self) -> None:
            self.events = 0

        def write(self, packed: Sequence[Packed]) -> None:
            self.events += sum(one.events for one in packed)
            if packed[-1].mark.numbered >= wanted:
                loop.call_soon_threadsafe(all_came.set)

    writer, threads = Nowhere(), Threads()
    outbox = Outbox(writer, on_lease_lost=lambda lost: None)
    means = Means(
        IdSource(1), outbox, Flusher(), HealthReporter(threads.database), Entrance(),
        Snapshots(threads.questions),
    )  # fmt: skip
    target = Target(SERVER_ID, "full", TCP("127.0.0.1", port), "full", Secret.from_plain("secret"))
    session = Session(target, means, epoch=1)
    outbox.start()
    began = time.process_time()
    listening = asyncio.create_task(session.run())
    try:
        async with asyncio.timeout(LOST):
            await all_came.wait()
        took = time.process_time() - began
    finally:
        await cancel([listening])
        outbox.stop(seconds=1.0)
        threads.shutdown()
    dropped = session.dropped + outbox.waiting().dropped
    print(json.dumps({"events": writer.events, "dropped": dropped, "seconds": took}))


if __name__ == "__main__":
    django.setup()
    asyncio.run(listen(int(sys.argv[1]), int(sys.argv[2])))
