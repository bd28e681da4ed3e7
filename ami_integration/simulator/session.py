"""
One AMI session of the simulated PBX: its login, its mask, and its actions one after the other.

It keeps the habits of the real one that a client must survive: actions of a session run strictly in order;
no event is written while an action runs; a failed login waits a second and closes; and a session that
doesn't read is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import time
from typing import TYPE_CHECKING

from ami_integration.simulator.actions import ACTIONS, Action, SessionClosed
from ami_integration.simulator.requests import Request, RequestReader
from ami_integration.simulator.wire import Event, EventClass, Header, encode, mask_from_text, privilege_text

if TYPE_CHECKING:
    from ami_integration.simulator.server import Account, SimulatedPBX

logger = logging.getLogger(__name__)


class Session:
    """One connection: its login, its mask, and its actions one after the other."""

    def __init__(self, pbx: SimulatedPBX, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pbx = pbx
        self.account: Account | None = None
        self.mask = EventClass.NONE
        self.busy = False
        self.idle = asyncio.Event()
        self.idle.set()
        self.challenge = ""
        self.closed = False
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a session is made in the task that runs it")
        self.task = task
        self._reader = reader
        self._writer = writer
        self._transport = writer.transport
        self._requests = RequestReader()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._written = 0
        self._watch: asyncio.TimerHandle | None = None
        self._kick: asyncio.TimerHandle | None = None
        self._replaying: asyncio.Task[None] | None = None
        self._stalled: list[bytes] | None = None
        self._events_told = 0
        self.since = pbx.clock()
        self.number = next(pbx.numbers)
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
            if self._stalled is not None:
                self._go_on()
            self.closed = True
            self._transport.close()  # sends what still waits
            if self._kick is not None:
                self._kick.cancel()
            if self._replaying is not None:
                self._replaying.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._replaying

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
                self.idle.clear()
                await self._process(request)
                self.busy = False
                self.idle.set()
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
        if self.account is not None and self.pbx.replay is not None:
            recorded = self.pbx.replay.answer(request)
            if recorded is not None:
                self.answer(request, recorded)
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
        return self.may(action.classes)

    def may(self, classes: EventClass) -> bool:
        """Whether the account has one of these write classes; without any, everybody may."""
        if not classes:
            return True
        return self.account is not None and bool(self.account.write & classes)

    def may_read(self, classes: EventClass) -> bool:
        """Whether the account's read classes and the mask let an event of these classes pass."""
        return self.account is not None and classes & self.account.read & self.mask == classes

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

    def begin(self, request: Request) -> None:
        """The login was answered: what comes by itself begins."""
        if self.pbx.replay is None:
            self.send_fully_booted()
            self.tell_successful_auth(request)
        else:
            self._replaying = asyncio.create_task(self.pbx.replay.play(self))
        if self.pbx.faults.kick:
            self._kick = asyncio.get_running_loop().call_later(self.pbx.faults.kick, self.abort)

    def set_mask(self, text: str) -> bool:
        """Set the event mask; False (and no change) where Asterisk would refuse the text."""
        mask = mask_from_text(text)
        if mask is None:
            return False
        self.mask = mask
        return True

    # -- writing ----------------------------------------------------------------------------------

    def respond(
        self,
        request: Request,
        response: str,
        message: str = "",
        headers: list[Header] | None = None,
        *,
        line: str = "",
    ) -> None:
        """Write a response: Response, ActionID, Message, then its headers, and a ``line`` that is none."""
        head: list[Header] = [("Response", response)]
        if request.action_id:
            head.append(("ActionID", request.action_id))
        if message:
            head.append(("Message", message))
        told = encode([*head, *(headers or [])])
        if line:
            told = told.removesuffix(b"\r\n") + f"{line}\r\n\r\n".encode()
        self.answer(request, told)

    def answer(self, request: Request, data: bytes) -> None:
        """Write the whole answer of an action, with whatever fault is to befall it."""
        faults = self.pbx.faults
        if faults.half and faults.half.lower() == request.action.lower():
            self.write(data[: len(data) // 2])
            raise SessionClosed
        if faults.double_response:
            data += data[: data.index(b"\r\n\r\n") + 4]
        if not faults.stall or self._stalled is not None:
            self.write(data)
            return
        self.write(data[: len(data) // 2])
        self._stalled = [data[len(data) // 2 :]]
        asyncio.get_running_loop().call_later(faults.stall, self._go_on)

    def _go_on(self) -> None:
        waiting, self._stalled = self._stalled or [], None
        for data in waiting:
            self.write(data)

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
        more: tuple[Header, ...] = (),
    ) -> None:
        """Write a list: its start, an event for each item (without Privilege, as Asterisk's), and its end.

        ``action_id_last``: some lists have the ActionID at the end of their items instead of first. ``more``:
        headers of the list's end, besides the count.
        """
        action_id: list[Header] = [("ActionID", request.action_id)] if request.action_id else []
        first, last = ([], action_id) if action_id_last else (action_id, [])
        start = encode([("Response", "Success"), *action_id, ("EventList", "start"), ("Message", message)])
        told = [encode([("Event", name), *first, *headers, *last]) for name, headers in items]
        self.answer(request, self.pbx.faults.spoil_list(start, told, complete, action_id, list(more)))

    def send_event(self, event: Event) -> None:
        """Write an event, or hold it while an action runs; nothing if classes or mask don't let it pass."""
        if self.account is None or self.closed or not event.passes(self.account.read & self.mask):
            return
        if self.busy:
            self._held.append(self._told(event.encoded))
            self._held_bytes += len(event.encoded)
            if self._held_bytes > self.pbx.limits.buffer_bytes:
                self._cut_off()
        else:
            self.write(self._told(event.encoded))

    def _told(self, event: bytes) -> bytes:
        self._events_told += 1
        holes = self.pbx.faults.holes
        return event[: len(event) // 2] if holes and self._events_told % holes == 0 else event

    async def send_recorded(self, data: bytes) -> None:
        """Write events of a recording once no action runs; waits while much waits for the reader."""
        await self.idle.wait()
        self.write(data)
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()
        await asyncio.sleep(0)  # drain() lets nobody else run while there is room

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
        if self.pbx.faults.booting:
            return
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
        if self._stalled is not None:
            self._stalled.append(data)
            return
        segment = self.pbx.faults.segment or len(data) or 1
        for start in range(0, len(data), segment):
            self._transport.write(data[start : start + segment])
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


def _address(name: tuple[str, int] | None) -> str:
    return f"{name[0]}:{name[1]}" if name else "?:0"


def _event_time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}+0000"
