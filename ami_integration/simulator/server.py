"""
The simulated PBX: listens, logs sessions in, runs their actions, and carries the office's events to them.

It keeps the habits of the real one that a client must survive: actions of a session run strictly in order;
no event is written while an action runs; a failed login waits a second and closes; and a session that
doesn't read is cut off. The office never waits for a session: every write goes to the transport's buffer,
which is bounded in bytes and in time.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from ami_integration.simulator.actions import ACTIONS, Action, SessionClosed
from ami_integration.simulator.office import Office
from ami_integration.simulator.requests import Request, RequestReader
from ami_integration.simulator.version import AMI_VERSION
from ami_integration.simulator.wire import Event, EventClass, Header, encode, mask_from_text, privilege_text

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
    ) -> None:
        """Port 0 takes any free one, kept over stop() and start(). ``rng`` makes the login challenges.

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
        self.hung: set[str] = set()
        self.sessions: set[Session] = set()
        self.slow_sessions = 0
        self._server: asyncio.Server | None = None
        self._office_task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Listen and let the office run. Raises OSError if the port can't be had."""
        self._server = await asyncio.start_server(self._connected, self.host, self.port)
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
        if waiting >= self.limits.auth_sessions:
            writer.transport.abort()
            return
        session = Session(self, reader, writer)
        self.sessions.add(session)
        try:
            await session.run()
        finally:
            self.sessions.discard(session)


class Session:
    """One connection: its login, its mask, and its actions one after the other."""

    def __init__(self, pbx: SimulatedPBX, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pbx = pbx
        self.account: Account | None = None
        self.mask = EventClass.NONE
        self.busy = False
        self.challenge = ""
        self.closed = False
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a session is made in the task that runs it")
        self.task = task
        self._reader = reader
        self._transport = writer.transport
        self._requests = RequestReader()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._written = 0
        self._watch: asyncio.TimerHandle | None = None
        self.peer = _address(writer.get_extra_info("peername"))
        self.local = _address(writer.get_extra_info("sockname"))

    async def run(self) -> None:
        """Serve the connection until either side ends it."""
        try:
            self.write(f"Asterisk Call Manager/{self.pbx.ami_version}\r\n".encode())
            await self._serve()
        except (SessionClosed, ConnectionError):
            pass
        except asyncio.CancelledError:
            if not self.closed:
                raise
        finally:
            self.closed = True
            self._transport.close()  # sends what still waits

    async def _serve(self) -> None:
        deadline = asyncio.get_running_loop().time() + self.pbx.limits.auth_timeout
        while True:
            try:
                async with asyncio.timeout_at(deadline if self.account is None else None):
                    data = await self._reader.read(65536)
            except TimeoutError:
                return
            if not data:
                return
            for request in self._requests.feed(data):
                self.busy = True
                await self._process(request)
                self.busy = False
                self._flush_held()

    async def _process(self, request: Request) -> None:
        if request.error:
            self.respond_error(request, request.error)
            return
        name = request.action
        if not name:
            self.respond_error(request, "Missing action in request")
            return
        self.pbx.bring_office_up_to_date()
        if name.lower() in self.pbx.hung:
            await asyncio.Event().wait()
        if self.account is None and name.lower() not in {"login", "logoff", "challenge"}:
            self.respond_error(request, "Permission denied")
            return
        action = ACTIONS.get(name.lower())
        if action is None:
            self.respond_error(
                request,
                f"Invalid/unknown command: {name}. Use Action: ListCommands to show available commands.",
            )
        elif not self.may_run(action):
            self.respond_error(request, "Permission denied")
        else:
            await action.run(self, request)

    def may_run(self, action: Action) -> bool:
        """Whether the account's write classes allow the action. Any one of its classes is enough."""
        if not action.classes:
            return True
        return self.account is not None and bool(self.account.write & action.classes)

    # -- login ------------------------------------------------------------------------------------

    def make_challenge(self) -> str:
        """The session's challenge: made once, then the same."""
        if not self.challenge:
            self.challenge = str(self.pbx.rng.randrange(100_000_000, 1_000_000_000))
        return self.challenge

    def log_in(self, request: Request) -> bool:
        """Check a Login's credentials, MD5 or plain; on success take the account and the mask asked for."""
        account = self.pbx.accounts.get(request.get("Username"))
        if account is None:
            return False
        if request.get("AuthType").lower() == "md5":
            key = request.get("Key")
            digest = hashlib.md5(
                f"{self.challenge}{account.secret}".encode(), usedforsecurity=False
            ).hexdigest()
            good = (
                bool(self.challenge)
                and bool(key)
                and hmac.compare_digest(digest, key.encode().decode("latin-1"))
            )
        else:
            given = request.get("Secret").encode("utf-8", "surrogateescape")
            good = hmac.compare_digest(account.secret.encode(), given)
        if good:
            self.account = account
            self.mask = EventClass.ALL
            self.set_mask(request.get("Events"))
        return good

    def set_mask(self, text: str) -> bool:
        """Set the event mask; False (and no change) where Asterisk would refuse the text."""
        mask = mask_from_text(text)
        if mask is None:
            return False
        self.mask = mask
        return True

    # -- writing ----------------------------------------------------------------------------------

    def respond(
        self, request: Request, response: str, message: str = "", headers: list[Header] | None = None
    ) -> None:
        """Write a response: Response, ActionID, Message, then its own headers."""
        head: list[Header] = [("Response", response)]
        if request.action_id:
            head.append(("ActionID", request.action_id))
        if message:
            head.append(("Message", message))
        self.write(encode([*head, *(headers or [])]))

    def respond_error(self, request: Request, message: str) -> None:
        """Write ``Response: Error`` with its sentence."""
        self.respond(request, "Error", message)

    def respond_list(
        self,
        request: Request,
        message: str,
        items: list[tuple[str, list[Header]]],
        complete: str,
        *,
        action_id_last: bool = False,
    ) -> None:
        """Write a list: its start, an event for each item (without Privilege, as Asterisk's), and its end.

        ``action_id_last``: some lists have the ActionID at the end of their items instead of first.
        """
        action_id: list[Header] = [("ActionID", request.action_id)] if request.action_id else []
        first, last = ([], action_id) if action_id_last else (action_id, [])
        parts = [encode([("Response", "Success"), *action_id, ("EventList", "start"), ("Message", message)])]
        parts += [encode([("Event", name), *first, *headers, *last]) for name, headers in items]
        end: list[Header] = [("EventList", "Complete"), ("ListItems", str(len(items)))]
        parts.append(encode([("Event", complete), *action_id, *end]))
        self.write(b"".join(parts))

    def send_event(self, event: Event) -> None:
        """Write an event, or hold it while an action runs; nothing if classes or mask don't let it pass."""
        if self.account is None or self.closed or not event.passes(self.account.read & self.mask):
            return
        if self.busy:
            self._held.append(event.encoded)
            self._held_bytes += len(event.encoded)
            if self._held_bytes > self.pbx.limits.buffer_bytes:
                self._cut_off()
        else:
            self.write(event.encoded)

    def tell_successful_auth(self, request: Request) -> None:
        """SuccessfulAuth, to every session that reads class ``security``."""
        now = _event_time(self.pbx.clock())
        self.pbx.publish(
            Event(
                "SuccessfulAuth",
                EventClass.SECURITY,
                (
                    ("EventTV", now),
                    ("Severity", "Informational"),
                    ("Service", "AMI"),
                    ("EventVersion", "1"),
                    ("AccountID", request.get("Username")),
                    ("SessionID", f"{id(self):#x}"),
                    ("LocalAddress", f"IPV4/TCP/{self.local.replace(':', '/')}"),
                    ("RemoteAddress", f"IPV4/TCP/{self.peer.replace(':', '/')}"),
                    ("UsingPassword", "0"),
                    ("SessionTV", now),
                ),
            )
        )

    def send_fully_booted(self) -> None:
        """Write FullyBooted to this session alone, if its classes and mask have ``system``."""
        if self.account is None or not EventClass.SYSTEM & self.account.read & self.mask:
            return
        uptime = str(self.pbx.office.uptime)
        self.write(
            encode(
                [
                    ("Event", "FullyBooted"),
                    ("Privilege", privilege_text(EventClass.SYSTEM)),
                    ("Uptime", uptime),
                    ("LastReload", uptime),
                    ("Status", "Fully Booted"),
                ]
            )
        )

    def write(self, data: bytes) -> None:
        """Give bytes to the transport without waiting; a session that lets too much wait is cut off."""
        if self.closed or self._transport.is_closing():
            return
        self._transport.write(data)
        self._written += len(data)
        waiting = self._transport.get_write_buffer_size()
        if waiting > self.pbx.limits.buffer_bytes:
            self._cut_off()
        elif waiting and self._watch is None:
            self._watch_progress()

    def _watch_progress(self) -> None:
        taken = self._written - self._transport.get_write_buffer_size()
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(self.pbx.limits.write_timeout, self._check_progress, taken)

    def _check_progress(self, before: int) -> None:
        self._watch = None
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            return
        if self._written - waiting == before:
            self._cut_off()
        else:
            self._watch_progress()

    def _flush_held(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        for data in held:
            self.write(data)

    def _cut_off(self) -> None:
        if self.closed:
            self._transport.abort()  # its last words will not be read either
            return
        self.pbx.slow_sessions += 1
        logger.warning("session %s reads too slowly and is closed", self.peer)
        self.abort()

    def abort(self) -> None:
        """Close at once, what waits to be written is lost; a blocked action ends with it."""
        if self.closed:
            return
        self.closed = True
        self._transport.abort()
        self.task.cancel()


def _tell_if_it_failed(task: asyncio.Task[None]) -> None:
    """Without it an office that broke would just fall silent."""
    if not task.cancelled() and task.exception() is not None:
        logger.critical("the simulated office has stopped", exc_info=task.exception())


def _address(name: tuple[str, int] | None) -> str:
    return f"{name[0]}:{name[1]}" if name else "?:0"


def _event_time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}+0000"
