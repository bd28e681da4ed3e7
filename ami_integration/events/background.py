"""What the listener does beside its event loop: blocking calls in threads, and tasks that are to end."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import close_old_connections

T = TypeVar("T")


class Threads:
    """Where blocking things are done, one at a time each: the database's, and Valkey's.

    What is asked of the database for snapshots has a thread of its own: after a network cut the health of a
    whole fleet is written, which may take seconds.
    """

    def __init__(self) -> None:
        self._database = ThreadPoolExecutor(1, thread_name_prefix="listener-database")
        self._questions = ThreadPoolExecutor(1, thread_name_prefix="listener-questions")
        self._valkey = ThreadPoolExecutor(1, thread_name_prefix="listener-leases")

    async def database(self, call: Callable[[], T]) -> T:
        """Run what uses the database."""
        # Not asgiref's wrapper: that one waits for the thread even when it is cancelled, and a database that
        # hangs must not keep the listener from stopping.
        return await asyncio.get_running_loop().run_in_executor(self._database, _with_database, call)

    async def questions(self, call: Callable[[], T]) -> T:
        """Look something up in the database for a snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._questions, _with_database, call)

    async def valkey(self, call: Callable[[], T]) -> T:
        """Run what talks to Valkey."""
        return await asyncio.get_running_loop().run_in_executor(self._valkey, call)

    def shutdown(self) -> None:
        self._database.shutdown(wait=False, cancel_futures=True)
        self._questions.shutdown(wait=False, cancel_futures=True)
        self._valkey.shutdown(wait=False, cancel_futures=True)


def _with_database(call: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()


async def wait(stop: asyncio.Event, seconds: float) -> None:
    """Sleep so many seconds, but not beyond `stop`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


async def cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel and wait; how they end is of no interest any more."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # else asyncio complains that nobody looked
