"""A simulated PBX that says what a test wants, and a listener at work on it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from django.db import connection

from ami_integration.events.background import cancel
from ami_integration.events.listener import Listener
from ami_integration.events.recorder import Recorder
from ami_integration.simulator import Account, EventClass, Limits, Office, OfficeSettings, SimulatedPBX
from ami_integration.simulator import Event as Said

SECRET = "s3cret"
PROMISE = 5.0  # seconds: "within seconds", "within 5 s"


class PBX(SimulatedPBX):
    """A simulated PBX whose office is silent; it says what the test wants."""

    def __init__(self) -> None:
        super().__init__(
            Office(start=time.time(), settings=OfficeSettings(calls_per_second=0)),
            [Account("amiweb", SECRET)],
            limits=Limits(login_failed_pause=0.05),
        )
        self.number = 0

    def say(self, count: int = 1) -> None:
        """So many events, numbered on over the life of the PBX."""
        for _ in range(count):
            self.publish(Said("Counted", EventClass.USER, (("Number", str(self.number)),)))
            self.number += 1


class Running:
    """A listener at work, and a recorder that takes its steps when the test looks."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.recorder = Recorder(url=url)
        self.listeners: list[tuple[Listener, asyncio.Task[None]]] = []

    def start(self, **options: Any) -> Listener:
        listener = Listener(url=self.url, maxlen=1000, **options)
        self.listeners.append((listener, asyncio.create_task(listener.run())))
        return listener

    async def stop(self) -> None:
        for listener, task in self.listeners:
            listener.stop()
            await asyncio.wait_for(task, 3 * PROMISE)
        self.listeners.clear()

    async def kill(self) -> None:
        """End without a last word, as kill -9 does: nothing is flushed, no lease is released."""
        for listener, task in self.listeners:
            work = listener._work
            assert work is not None
            work._end = self._nothing  # type: ignore[method-assign]
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            work.outbox._writer.write = self._nowhere  # type: ignore[method-assign]
            await cancel([session for _, session in work._sessions.values()])
        self.listeners.clear()

    @staticmethod
    async def _nothing(*_: Any) -> None:
        pass

    @staticmethod
    def _nowhere(*_: Any) -> None:
        pass

    async def look(self, found: Callable[[], Any]) -> Any:
        """Record what the stream has, then ask the database."""
        return await asyncio.to_thread(self._look, found)

    def _look(self, found: Callable[[], Any]) -> Any:
        try:
            while self.recorder.step():
                pass
            return found()
        finally:
            connection.close()

    async def until(self, found: Callable[[], Any], *, what: str, seconds: float = 3 * PROMISE) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := await self.look(found)):
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
            await asyncio.sleep(0.05)
        return value
