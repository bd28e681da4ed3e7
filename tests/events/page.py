"""A live page as tests play it: the WebSocket's messages, and the dropping of ids that it has."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import Permission, User
from django.test import Client

from ami_integration.access.danger import Danger
from amiweb.asgi import application
from tests.access.factories import grant


def watcher(name: str = "watcher", *, everywhere: bool = True, **values: Any) -> User:
    """A person who may watch events, unless `values` say otherwise.

    Args:
        everywhere: of every server; else of none, until a rule says more.
    """
    user = User.objects.create_user(name, **({"is_staff": True} | values))
    user.user_permissions.add(Permission.objects.get(codename="view_event"))
    if everywhere:
        grant(user, Danger.READ)
    return user


def cookie(user: User | None) -> bytes:
    """The cookie of a browser in which this person is logged in."""
    client = Client()
    if user is not None:
        client.force_login(user)
    return "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items()).encode()


class Page:
    """One page over its reconnects: `rows` by id, `twice` how many came again, and the last words."""

    def __init__(self, user: User | None, *, origin: str = "http://127.0.0.1:8765") -> None:
        self.user = user
        self.origin = origin
        self.rows: dict[str, dict[str, Any]] = {}
        self.twice = 0
        self.cursor: dict[str, str] = {}
        self.left_out = 0
        self.counts: Counter[str] = Counter()
        self.cut = False
        self.missed: dict[str, int] = {}
        self.seq = 0
        self.begun = 0
        self.servers: list[dict[str, Any]] = []
        self.error = ""
        self.flow = ""
        self.closed: int | None = None
        self._socket: ApplicationCommunicator | None = None

    async def connect(self) -> bool:
        headers = [
            (b"host", b"127.0.0.1:8765"),
            (b"origin", self.origin.encode()),
            (b"cookie", await sync_to_async(cookie)(self.user)),
        ]
        # Not channels.testing, which wants another web server installed.
        scope = {"type": "websocket", "path": "/ws/live/", "query_string": b"", "headers": headers}
        self._socket = ApplicationCommunicator(application, scope | {"subprotocols": []})
        await self._socket.send_input({"type": "websocket.connect"})
        output = await self._socket.receive_output(timeout=10)
        return bool(output["type"] == "websocket.accept")

    async def subscribe(self, **wish: Any) -> None:
        self.seq += 1
        await self.say(
            json.dumps({"type": "subscribe", "seq": self.seq, "server": None, "since": self.cursor} | wish)
        )
        await self.until(lambda: self.begun == self.seq, what="the subscription begins")

    async def say(self, text: str) -> None:
        assert self._socket is not None
        await self._socket.send_input({"type": "websocket.receive", "text": text})

    async def disconnect(self) -> None:
        assert self._socket is not None
        await self._socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._socket.wait(timeout=10)  # then it cancels, without a word
        assert not self._socket.future.cancelled(), "the socket ended with its page"

    async def until(self, condition: Callable[[], Any], *, what: str, seconds: float = 15) -> None:
        """Read messages until the condition is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:g} s: {what}")
            await self.read(0.1)

    async def read(self, seconds: float) -> None:
        """Take one message, or wait so long for none."""
        assert self._socket is not None
        try:
            # Not receive_output(timeout), which ends the whole consumer when nothing comes.
            output = await asyncio.wait_for(self._socket.output_queue.get(), seconds)
        except TimeoutError:
            return
        if output["type"] == "websocket.close":
            self.closed = output["code"]
            return
        self._take(json.loads(output["text"]))

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "servers":
                self.servers = message["servers"]
            case "error" | "closed":
                self.error = message["message"]
            case "flow":
                self.flow = message["message"]
            case "begin":
                self.begun = message["seq"]
                self.cut = message["cut"]
                self.missed = message["left_out"]
            case "items" if message["seq"] == self.seq:
                for item in message["items"]:
                    self.twice += item["id"] in self.rows and item["kind"] == "event"
                    self.rows[item["id"]] = item
                    if item["kind"] == "event":
                        self._advance(item["server"], item["id"])
                for server, newest in message.get("cursor", {}).items():
                    self.cursor[server] = newest
                self.left_out = message.get("left_out", {}).get("count", self.left_out)
                self.counts.update(message.get("counts", {}))

    def _advance(self, server: str, newest: str) -> None:
        self.cursor[server] = str(max(int(newest), int(self.cursor.get(server, "0"))))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [item for item in self.rows.values() if item["kind"] == "event"]

    @property
    def names(self) -> list[str]:
        return [item["name"] for item in sorted(self.events, key=lambda item: int(item["id"]))]

    @property
    def numbers(self) -> list[int]:
        return sorted(int(dict(item["headers"])["Number"]) for item in self.events)
