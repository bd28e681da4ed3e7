"""The WebSocket of a server's form: the connection doctor, live, on what stands in the form.

The page sends the whole form by one message, secrets included, and that is as far as they go: into this
process, which judges them and goes the way to the PBX itself, in a thread. They touch no channel layer, no
task queue, no log. What comes back is what the doctor sees, step by step, as it proceeds.

The page's end ends the walk with the step that is under way.
"""

import asyncio
import contextlib
import json
import threading
from dataclasses import asdict, dataclass
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.exceptions import TooManyFieldsSent
from django.http import QueryDict

from ami_integration.access.consumers import CLOSE_INVALID, PageConsumer
from ami_integration.access.logins import session_act
from ami_integration.access.services import session_user
from ami_integration.servers.candidates import Candidate, candidate_judge, user_may_examine
from ami_integration.servers.doctor import ConnectionTest, Step
from ami_integration.servers.forms import PINS
from ami_integration.servers.models import Server
from ami_integration.servers.services import connection_test_note, connection_walk

#: Seconds between two looks at the person's rights.
LOOK_AGAIN = 3.0
#: Walks at once in this process: each has a thread, and a session with a PBX.
MOST_WALKS = 8
#: Our own: the page tells the person, and doesn't connect again.
CLOSE_FORBIDDEN = 4403
CLOSE_GONE = 4404

_IDLE = (
    "You were logged out, since nothing was done here for a while. Nothing was tested: load the page again."
)
_GONE = "Somebody has deleted this server. Nothing was tested."
_BUSY = "As many connections as amiweb takes on are being tested just now. Try again in some seconds."
_TWICE = "A test is under way on this page. Wait for its end."

_walks = threading.BoundedSemaphore(MOST_WALKS)


class DoctorConsumer(PageConsumer, AsyncJsonWebsocketConsumer):
    """`/ws/doctor/<id>/` of a server's form, and `/ws/doctor/` of a new one's.

    Takes `{"type": "start", "seq": n, "form": "host=…&…"}`. Answers, with the same `seq`, by `invalid` (what
    is wrong in the form), `refused` (a sentence), or by `steps` whenever one has begun or ended and `done`.
    """

    look_again = LOOK_AGAIN

    async def connect(self) -> None:
        self.server_id: int | None = self.scope["url_route"]["kwargs"].get("server_id")
        self._walking = False
        if not await self._may():
            await self.close(CLOSE_FORBIDDEN)  # before accept: the handshake is refused with 403
            return
        await self.accept()
        self.start(self._watch())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        wish = _wish_of(text_data or "")
        if wish is None:
            await self._refuse(CLOSE_INVALID, "it sent what isn't a form to be tested")
        elif self._walking:
            await self._tell(wish.seq, "refused", message=_TWICE)
        else:
            self._walking = True
            self.start(self._examine(wish))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.look_again)
            if not await self._may():
                await self.close(CLOSE_FORBIDDEN)
                return

    async def _may(self) -> bool:
        allowed: bool = await database_sync_to_async(_may)(self.scope["session"].session_key, self.server_id)
        return allowed

    async def _examine(self, wish: "_Wish") -> None:
        try:
            if not await self._may():
                await self.close(CLOSE_FORBIDDEN)
                return
            if not _walks.acquire(blocking=False):
                await self._tell(wish.seq, "refused", message=_BUSY)
                return
            walk = _Walk(_walks)
            try:
                candidate = await self._judge(wish)
                if candidate is not None and candidate.server is not None:
                    await self._follow(wish.seq, walk, candidate.server)
                    if candidate.stored:
                        await database_sync_to_async(connection_test_note)(test=walk.test)
                    await self._tell(wish.seq, "done", ok=walk.test.ok, message=_summary(walk.test))
            finally:
                walk.end()
        finally:
            self._walking = False

    async def _judge(self, wish: "_Wish") -> Candidate | None:
        """None, if it isn't a question of the form: the page has been told."""
        address = (self.scope.get("client") or ("",))[0]
        try:
            candidate: Candidate | None = await database_sync_to_async(_judge)(
                self.scope["session"].session_key, self.server_id, wish.form, address
            )
        except Server.DoesNotExist:
            await self._tell(wish.seq, "refused", message=_GONE)
            return None
        if candidate is None:
            await self._tell(wish.seq, "refused", message=_IDLE)
        elif candidate.server is None:
            await self._tell(wish.seq, "invalid", complaints=[asdict(one) for one in candidate.complaints])
        return candidate

    async def _follow(self, seq: int, walk: "_Walk", server: Server) -> None:
        walk.begin(server)
        while (steps := await walk.news()) is not None:
            await self._tell(seq, "steps", steps=steps)

    async def _tell(self, seq: int, kind: str, **values: Any) -> None:
        await self.send_json({"type": kind, "seq": seq, **values})


@dataclass(frozen=True, repr=False)
class _Wish:
    seq: int
    form: QueryDict


class _Walk:
    """The doctor's walk in a thread of its own, told to the event loop.

    Args:
        bound: holds a place for it, taken by the caller; given back when the thread has ended.
    """

    test: ConnectionTest

    def __init__(self, bound: threading.BoundedSemaphore) -> None:
        self._bound = bound
        self._begun = False
        self._stop = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[list[dict[str, Any]] | Exception | None] = asyncio.Queue()

    def begin(self, server: Server) -> None:
        self.test = ConnectionTest(server)
        # A daemon: a web process that ends doesn't wait for a PBX.
        thread = threading.Thread(target=self._go, name="connection-doctor", daemon=True)
        thread.start()
        self._begun = True

    async def news(self) -> list[dict[str, Any]] | None:
        """The steps when they have changed; None at the end. Raises what stopped the doctor: our mistake."""
        news = await self._news.get()
        if isinstance(news, Exception):
            raise news
        return news

    def end(self) -> None:
        """Nobody looks any more. A step that is under way ends by its own time limit."""
        self._stop.set()
        if not self._begun:
            self._bound.release()

    def _go(self) -> None:
        last: Exception | None = None
        try:
            with contextlib.closing(connection_walk(test=self.test)) as changes:
                for _ in changes:
                    if self._stop.is_set():
                        break
                    self._say([_step_item(step) for step in self.test.steps])
        except Exception as error:  # it is told where the page's socket ends, with its traceback
            last = error
        finally:
            self._bound.release()
            self._say(last)

    def _say(self, news: list[dict[str, Any]] | Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the web process ends
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)


def _wish_of(text: str) -> _Wish | None:
    """What a page asks for; None if no page of ours asks so."""
    try:
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("type") != "start":
            return None
        seq, form = data.get("seq"), data.get("form")
        if type(seq) is not int or not isinstance(form, str):
            return None
        form.encode()  # half a character can't be
        return _Wish(seq, QueryDict(form))
    except (ValueError, RecursionError, TooManyFieldsSent):
        return None


def _may(session_key: str | None, server_id: int | None) -> bool:
    return user_may_examine(user=session_user(session_key=session_key), server_id=server_id)


def _judge(session_key: str | None, server_id: int | None, form: QueryDict, address: str) -> Candidate | None:
    if not session_act(session_key=session_key):
        return None
    user = session_user(session_key=session_key)
    return candidate_judge(user=user, server_id=server_id, typed=form, address=address)


def _step_item(step: Step) -> dict[str, Any]:
    """A step as the page draws it."""
    trust = step.trust if step.trust and step.trust.field in PINS else None
    return {
        "name": step.name,
        "state": step.state,
        "seconds": step.seconds,
        "seen": step.seen,
        "mend": step.mend,
        "shown": step.shown,
        "trust": None if trust is None else asdict(trust),
    }


def _summary(test: ConnectionTest) -> str:
    if test.failed:
        return f"It ends at the step {test.failed.name}."
    notes = sum(bool(step.mend) for step in test.steps)
    return f"It works, with {notes} note{'s' if notes > 1 else ''} above." if notes else "All of it works."
