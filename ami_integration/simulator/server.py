"""
The simulated PBX: listens, and carries the office's events to its sessions (session.py).

The office never waits for a session: every write goes to the transport's buffer, which is bounded in bytes
and in time. Faults (faults.py) and a recording to replay (replay.py) may be set and changed while it runs.
"""

import asyncio
import contextlib
import itertools
import logging
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from ami_integration.simulator.faults import Faults
from ami_integration.simulator.office import Office
from ami_integration.simulator.replay import Replay
from ami_integration.simulator.session import Session
from ami_integration.simulator.version import AMI_VERSION
from ami_integration.simulator.wire import Event, EventClass

logger = logging.getLogger(__name__)

REAL_AMI_PORT = 5038


class PortRefused(ValueError):
    """Port 5038 was asked for: a client that means a real PBX must never meet a simulated one there."""


@dataclass(frozen=True)
class Account:
    """A user of manager.conf: its name, secret and classes."""

    username: str
    secret: str
    read: EventClass = EventClass.ALL
    write: EventClass = EventClass.ALL

    def __repr__(self) -> str:
        return f"Account({self.username!r})"


@dataclass(frozen=True)
class Limits:
    """Times in seconds and sizes in bytes, with Asterisk's defaults where it has them.

    auth_timeout: time to log in. login_failed_pause: wait before a failed login is answered. write_timeout:
    how long a session may read nothing while something waits for it. buffer_bytes: the most that may wait for
    one session (Asterisk has no such bound and grows). auth_sessions: sessions that may be open without a
    login; one more is closed before its banner.
    """

    auth_timeout: float = 30.0
    login_failed_pause: float = 1.0
    write_timeout: float = 0.1
    buffer_bytes: int = 1 << 20
    auth_sessions: int = 50


class SimulatedPBX:
    """An AMI server on one port with an office behind it. Belongs to the event loop that starts it."""

    def __init__(
        self,
        office: Office,
        accounts: list[Account],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ami_version: str = AMI_VERSION,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        tls: ssl.SSLContext | None = None,
        faults: Faults | None = None,
        replay: Replay | None = None,
    ) -> None:
        """Port 0 takes any free one, kept over stop() and start(). ``rng`` makes the login challenges. With
        ``tls`` it speaks TLS and nothing else. ``replay``: what sessions are told besides the office's news.

        Raises PortRefused for port 5038.
        """
        if port == REAL_AMI_PORT:
            raise PortRefused(
                f"the simulator never listens on {REAL_AMI_PORT}, the port of real PBXs: choose another port"
            )
        self.office = office
        self.accounts = {account.username: account for account in accounts}
        self.host = host
        self.port = port
        self.ami_version = ami_version
        self.limits = limits or Limits()
        self.clock = clock
        self.rng = rng or random.Random()  # noqa: S311 - a simulated PBX protects nothing
        self.tls = tls
        self.faults = faults or Faults()
        self.replay = replay
        self.hung: set[str] = set()
        self.sessions: set[Session] = set()
        self.numbers = itertools.count(20)
        """What the sessions are numbered by, as file descriptors of a real PBX would."""
        self.slow_sessions = 0
        self._server: asyncio.Server | None = None
        self._office_task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Listen and let the office run. Raises OSError if the port can't be had."""
        self._server = await asyncio.start_server(self._connected, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.office.publish = self.publish
        self.office.on_planned = self._wake.set
        self._office_task = asyncio.create_task(self._run_office())
        self._office_task.add_done_callback(_tell_if_it_failed)

    async def stop(self) -> None:
        """Close the port and every session, as a PBX that went away. start() opens the same port again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.kick()
        if self._office_task is not None:
            self._office_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._office_task
            self._office_task = None
        await asyncio.gather(*(session.task for session in self.sessions), return_exceptions=True)

    def kick(self) -> None:
        """Close every session without a word, as ``manager kick session`` does."""
        for session in list(self.sessions):
            session.abort()

    def hang(self, action: str) -> None:
        """From now on this action is never answered, and its session waits with it, as on a real PBX."""
        self.hung.add(action.lower())

    def unhang(self, action: str) -> None:
        """Answer the action again; sessions that already wait for it stay so until they are closed."""
        self.hung.discard(action.lower())

    def publish(self, event: Event) -> None:
        """Give an event to every session whose classes and mask let it pass."""
        for session in list(self.sessions):
            session.send_event(event)

    def bring_office_up_to_date(self) -> None:
        """Play what is due, so that an action meets the office as it is now."""
        self.office.advance(self.clock())

    async def _run_office(self) -> None:
        while True:
            finished = self.office.advance(self.clock(), most=200)
            if not finished:
                await asyncio.sleep(0)  # a long burst must not keep sessions waiting
                continue
            self._wake.clear()
            due = self.office.next_at
            delay = None if due is None else max(0.0, due - self.clock())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting = sum(1 for session in self.sessions if session.account is None)
        # Without a server: accepted a moment before the port was closed.
        if self._server is None or waiting >= self.limits.auth_sessions:
            writer.transport.abort()
            return
        session = Session(self, reader, writer)
        self.sessions.add(session)
        try:
            await session.run()
        finally:
            self.sessions.discard(session)


def _tell_if_it_failed(task: asyncio.Task[None]) -> None:
    """Without it an office that broke would just fall silent."""
    if not task.cancelled() and task.exception() is not None:
        logger.critical("the simulated office has stopped", exc_info=task.exception())
