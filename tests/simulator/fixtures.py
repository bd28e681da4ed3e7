"""The fixture ``simulator``: a running simulated PBX, for blocking and for asynchronous tests alike."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from ami_integration.simulator import (
    SECRET,
    USERNAME,
    Account,
    Event,
    Limits,
    Office,
    OfficeSettings,
    SimulatedPBX,
    open_office,
)
from ami_integration.simulator.wire import Header, classes_from_text

T = TypeVar("T")


class Simulator:
    """A simulated PBX in a thread with a loop of its own; its methods may be called from any other thread.

    The office is quiet unless ``calls_per_second`` says otherwise; chance plays its people, from ``seed``.
    """

    def __init__(
        self,
        *,
        calls_per_second: float = 0.0,
        seed: int = 1,
        accounts: list[Account] | None = None,
        limits: Limits | None = None,
        settings: OfficeSettings | None = None,
        clock: Callable[[], float] = time.time,
        **pbx: Any,
    ) -> None:
        self.username, self.secret = USERNAME, SECRET
        settings = settings or OfficeSettings(calls_per_second=calls_per_second)
        self.office: Office = open_office(seed=seed, start=clock(), settings=settings)
        self.pbx = SimulatedPBX(
            self.office,
            accounts or [Account(self.username, self.secret)],
            limits=limits or Limits(login_failed_pause=0.1),
            clock=clock,
            **pbx,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return self.pbx.host

    @property
    def port(self) -> int:
        """Stays the same over stop() and start()."""
        return self.pbx.port

    @property
    def sessions(self) -> int:
        """How many clients are connected now, logged in or not."""
        return self.call(lambda: len(self.pbx.sessions))

    @property
    def blocked_sessions(self) -> int:
        """How many sessions are inside an action: one that hangs, or an Originate that isn't asynchronous."""
        return self.call(lambda: sum(session.busy for session in self.pbx.sessions))

    def run(self, work: Coroutine[Any, Any, T], seconds: float = 10.0) -> T:
        """Run a coroutine in the simulator's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def call(self, work: Callable[[], T]) -> T:
        """Call a function in the simulator's thread and wait for its value."""

        async def wrapped() -> T:
            return work()

        return self.run(wrapped())

    def start(self) -> None:
        """Listen (again)."""
        self.run(self.pbx.start())

    def stop(self) -> None:
        """Close the port and all sessions, as a PBX that went away."""
        self.run(self.pbx.stop())

    def kick(self) -> None:
        """Close all sessions without a word; the port stays open."""
        self.call(self.pbx.kick)

    def hang(self, action: str) -> None:
        """Never answer this action again; the session that sends it waits with it, as on a real PBX."""
        self.call(lambda: self.pbx.hang(action))

    def unhang(self, action: str) -> None:
        """Answer it again."""
        self.call(lambda: self.pbx.unhang(action))

    def emit(
        self, name: str, headers: list[Header] | None = None, classes: str = "call", *, times: int = 1
    ) -> None:
        """Send an event to every session whose classes and mask let it pass."""
        event = Event(name, classes_from_text(classes), tuple(headers or ()))

        def publish() -> None:
            for _ in range(times):
                self.pbx.publish(event)

        self.call(publish)

    async def _accepted_are_gone(self) -> None:
        """Whoever connected just before the port was closed still is on the way to a session."""
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
            await asyncio.sleep(0)  # lets transports close their sockets

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self.run(self._accepted_are_gone())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def make_simulator() -> Iterator[Callable[..., Simulator]]:
    """Make simulators with the arguments of ``Simulator``; they run, and end with the test."""
    made: list[Simulator] = []

    def make(**options: Any) -> Simulator:
        simulator = Simulator(**options)
        made.append(simulator)
        simulator.start()
        return simulator

    yield make
    for simulator in made:
        simulator.close()


@pytest.fixture
def simulator(make_simulator: Callable[..., Simulator]) -> Simulator:
    """A running simulated PBX with a quiet office: what class Simulator offers."""
    return make_simulator()
