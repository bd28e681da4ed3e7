"""After a gap a PBX is asked for its state, which the missed events would have told.

Four questions (channels, queues, endpoints, conferences) on an action session of their own, which counts
among the server's sessions and actions like any other; a server in maintenance is left alone. What this login
may not ask, or the PBX doesn't know, is noted and no error. Only a few servers are asked at once, each at a
moment of its own, so that a fleet that comes back together is no stampede.
"""

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import redis
from django.db import Error

from ami_integration.access.masking import headers_mask
from ami_integration.ami import AMIError, AsyncAMIClient, Event, Reply, Timeouts
from ami_integration.events.stream import Items
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers import slots
from ami_integration.servers.models import Server, ServerAbilities
from ami_integration.servers.rates import rate_take
from ami_integration.servers.uses import login_for_actions, uses_write
from ami_integration.servers.waiting import MustWait, SessionsBusy

logger = logging.getLogger(__name__)

#: Each question by the actions that ask it: of endpoints there are two kinds, and a PBX may have both.
QUESTIONS: tuple[tuple[str, ...], ...] = (
    ("CoreShowChannels",),
    ("QueueStatus",),
    ("PJSIPShowEndpoints", "SIPpeers"),
    ("ConfbridgeListRooms",),
)
#: Servers that one listener asks at once.
AT_ONCE = 8
#: What is kept of one answer.
MAX_ITEMS = 2_000
MAX_CHARACTERS = 1_000_000

_SPREAD = 1.0  # seconds over which those that come back together are spread
_INTERVAL = 5.0  # seconds between two rounds of questions to one server
# A lease of a session lasts 15 s and isn't renewed, so all is over before.
_TIMEOUTS = Timeouts(connect=3, tls=3, banner=3, login=5, action=8)
_SECONDS = 12.0
_BUSY_TRIES, _BUSY_PAUSE = 5, 2.0
_NOT_ALLOWED = "This login may not ask it, or the PBX doesn't know the question."


@dataclass(frozen=True)
class Answer:
    """What came back for one question. `error` says why there are no items, or not all of them."""

    action: str
    items: Items = ()
    error: str = ""


@dataclass(frozen=True)
class _Asked:
    """A server as it is asked. `allowed`: the actions that its login may run, or None if nobody knows."""

    server: Server
    allowed: frozenset[str] | None


Deliver = Callable[[list[Answer]], None]


class Snapshots:
    """Asks servers for their state, each for whoever wanted it last.

    Args:
        in_database_thread: runs a blocking function where the database may be used.
    """

    def __init__(
        self, in_database_thread: Callable[[Callable[[], Any]], Awaitable[Any]], *, at_once: int = AT_ONCE
    ) -> None:
        self._in_database_thread = in_database_thread
        self._places = asyncio.Semaphore(at_once)
        self._wanted: dict[int, Deliver] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def want(self, server_id: int, deliver: Deliver) -> None:
        """Have a server asked soon, and the answers delivered; a want that still waits is replaced."""
        self._wanted[server_id] = deliver
        if server_id not in self._tasks:
            task = asyncio.create_task(self._serve(server_id))
            self._tasks[server_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(server_id, None))

    async def stop(self) -> None:
        """Ask nobody any more."""
        self._wanted.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, server_id: int) -> None:
        while server_id in self._wanted:
            await asyncio.sleep(random.random() * _SPREAD)  # noqa: S311 - spreads load
            async with self._places:
                deliver = self._wanted.pop(server_id)
                try:
                    answers = await self._ask(server_id)
                except Exception:
                    logger.exception("server %d: a snapshot failed by a mistake of ours", server_id)
                    answers = _refused("amiweb made a mistake; its log tells which.")
            deliver(answers)
            await asyncio.sleep(_INTERVAL)

    async def _ask(self, server_id: int) -> list[Answer]:
        try:
            asked = await self._in_database_thread(lambda: _load(server_id))
        except Error as error:
            return _refused(f"The database is away, so nobody knows how to ask: {error}")
        if asked is None:
            return []
        if asked.server.maintenance:
            return _refused("The server is in maintenance: no action runs on it.")
        answers: list[list[Answer]] = []  # by question, as far as it gets
        try:
            await self._in_session(asked, answers)
            why = ""
        except (AMIError, SecretUnreadable, MustWait) as error:
            why = str(error)
        except Error as error:
            why = f"The database is away, so nothing can be audited: {error}"
        except redis.RedisError as error:
            why = f"Valkey is away, so nobody knows how many sessions and actions there were: {error}"
        except TimeoutError:
            why = f"The PBX didn't answer within {_SECONDS:g} s."
        return [answer for some in answers for answer in some] + _refused(why)[len(answers) :]

    async def _in_session(self, asked: _Asked, answers: list[list[Answer]]) -> None:
        server = asked.server
        username, secret = server.action_account
        client = AsyncAMIClient(
            server.ami_transport(), username=username, secret=secret.reveal(), timeouts=_TIMEOUTS
        )
        token = secrets.token_hex(12)
        await self._take_slot(server, token)
        try:
            async with asyncio.timeout(_SECONDS), AsyncExitStack() as stack:
                await self._log_in(stack, client, server)
                for question in QUESTIONS:
                    answers.append(await _ask(client, asked, question))
        finally:
            with contextlib.suppress(redis.RedisError):  # the lease ends by itself
                await asyncio.to_thread(slots.slot_release, server_id=server.pk, token=token)

    async def _log_in(self, stack: AsyncExitStack, client: AsyncAMIClient, server: Server) -> None:
        login = login_for_actions(server, "state after a gap", origin="listener")
        error: AMIError | None = None
        try:
            await stack.enter_async_context(client)
        except AMIError as caught:
            error = caught
        use = login.used(error)
        if use is not None:
            await self._in_database_thread(lambda: uses_write([use]))
        if error is not None:
            raise error

    async def _take_slot(self, server: Server, token: str) -> None:
        for _ in range(_BUSY_TRIES):
            if await asyncio.to_thread(
                slots.slot_take, server_id=server.pk, token=token, limit=server.max_sessions
            ):
                return
            await asyncio.sleep(_BUSY_PAUSE)
        raise SessionsBusy(f"All {server.max_sessions} action sessions of {server.name} were in use.")


async def _ask(client: AsyncAMIClient, asked: _Asked, question: Iterable[str]) -> list[Answer]:
    """The answers of those of a question's actions that the PBX knows; one says why there is none."""
    answers: list[Answer] = []
    refused: list[Answer] = []
    for action in question:
        if asked.allowed is not None and action.lower() not in asked.allowed:
            refused.append(Answer(action, error=_NOT_ALLOWED))
            continue
        await asyncio.to_thread(rate_take, asked.server)
        reply = await client.action(action)
        answer = read_answer(action, reply)
        (refused if answer.error and not answer.items else answers).append(answer)
    return answers or refused[:1]


def read_answer(action: str, reply: Reply) -> Answer:
    """What a reply says: items, none (which Asterisk calls an error for some lists), or a refusal."""
    if not reply.success:
        message = reply.message.strip()
        return Answer(action) if message.lower().startswith("no ") else Answer(action, error=message)
    kept = _bounded(reply.events)
    if len(kept) == len(reply.events):
        return Answer(action, kept)
    return Answer(action, kept, f"Only the first {len(kept)} of {len(reply.events)} are kept.")


def _bounded(events: Iterable[Event]) -> Items:
    kept: list[list[tuple[str, str]]] = []
    left = MAX_CHARACTERS
    for event in events:
        left -= len(event.text)
        if left < 0 or len(kept) >= MAX_ITEMS:
            break
        kept.append(headers_mask(event.items()))
    return kept


def _refused(why: str) -> list[Answer]:
    return [Answer(question[0], error=why) for question in QUESTIONS]


def _load(server_id: int) -> _Asked | None:
    server = Server.objects.enabled().filter(pk=server_id).first()
    if server is None:
        return None
    names = ServerAbilities.objects.filter(server_id=server_id).values_list("actions", flat=True).first()
    return _Asked(server, None if names is None else frozenset(name.lower() for name in names))
