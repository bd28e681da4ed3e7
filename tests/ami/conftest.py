"""Both clients behind one face, so that one suite speaks to both."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from ami_integration.ami import TCP, AMIClient, AsyncAMIClient, Event, Reply, Timeouts
from ami_integration.ami.filters import EventFilter
from ami_integration.ami.originate import Originated, Outcome
from ami_integration.ami.subscriptions import EventQueue

#: Limits that a test can wait for; a real PBX gets the defaults.
QUICK = Timeouts(connect=2, tls=2, banner=0.5, login=2, action=2, keepalive=30)


class Driven:
    """An `AsyncAMIClient` driven step by step from a test that blocks."""

    def __init__(self, runner: asyncio.Runner, client: AsyncAMIClient) -> None:
        self._runner = runner
        self.client = client
        self._events: AsyncIterator[Event] | None = None

    def connect(self) -> None:
        # Subscribed before the login: events may come in the same segment as its answer.
        self._events = self.client.events()
        self._runner.run(self.client.connect())

    def action(self, *args: Any, **kwargs: Any) -> Reply:
        return self._runner.run(self.client.action(*args, **kwargs))

    def command(self, command: str) -> Reply:
        return self.action("Command", {"Command": command})

    def next_event(self) -> Event:
        assert self._events is not None
        return self._runner.run(asyncio.wait_for(anext(self._events), 5))

    def originate(self, *args: Any, **kwargs: Any) -> Originated:
        return self._runner.run(self.client.originate(*args, **kwargs))

    def originate_until(self, reached: threading.Event, *args: Any, **kwargs: Any) -> None:
        """Make a call, and cancel it once that is reached."""

        async def run() -> None:
            call = asyncio.create_task(self.client.originate(*args, **kwargs))
            await asyncio.to_thread(reached.wait, 10)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            assert call.cancelled()

        self._runner.run(run())

    def turn(self) -> None:
        """Let the event loop see what has come."""

        async def turns() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        self._runner.run(turns())

    def set_events_mask(self, mask: str) -> Reply:
        return self._runner.run(self.client.set_events_mask(mask))

    def add_filter(self, wanted: EventFilter) -> None:
        self._runner.run(self.client.add_filter(wanted))

    def subscribe(self, *args: Any, **kwargs: Any) -> EventQueue:
        return self.client.subscribe(*args, **kwargs)

    def close(self) -> None:
        self._runner.run(self.client.close())


class Blocking:
    def __init__(self, client: AMIClient) -> None:
        self.client = client
        self.connect = client.connect
        self.action = client.action
        self.command = client.command
        self.close = client.close
        self.originate = client.originate
        self.set_events_mask = client.set_events_mask
        self.add_filter = client.add_filter

    def originate_until(self, reached: threading.Event, *args: Any, **kwargs: Any) -> None:
        """Make a call, and cancel it once that is reached."""
        assert self.client.originate(*args, cancel=reached, **kwargs).outcome is Outcome.CANCELLED

    def subscribe(self, *args: Any, **kwargs: Any) -> EventQueue:
        return self.client.subscribe(*args, **kwargs)

    def turn(self) -> None:
        """Nothing: this client looks before it sends."""

    def next_event(self) -> Event:
        return next(self.client.events(timeout=5))


Either = Blocking | Driven
MakeClient = Callable[..., Either]


@pytest.fixture(params=["blocking", "asyncio"])
def make_client(request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    """A factory: ``make_client(transport, **options)`` gives a client that isn't connected yet."""
    made: list[Either] = []
    with asyncio.Runner() as runner:

        def make(transport: TCP, **options: Any) -> Either:
            options = {"username": "someone", "secret": "hunter2", "timeouts": QUICK, **options}
            if request.param == "blocking":
                made.append(Blocking(AMIClient(transport, **options)))
            else:
                made.append(Driven(runner, AsyncAMIClient(transport, **options)))
            return made[-1]

        yield make
        for client in made:
            client.close()
