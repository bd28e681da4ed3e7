"""A hostile program with somebody's login at the other end of each WebSocket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from ami_integration.access import consumers
from ami_integration.access.consumers import CLOSE_INVALID, CLOSE_TOO_MUCH, MAX_MESSAGE, PageConsumer
from ami_integration.access.danger import Danger
from ami_integration.actions.models import ActionRun
from ami_integration.events.consumers import CLOSE_FORBIDDEN
from ami_integration.servers.models import Server
from amiweb.asgi import application
from tests.access.factories import grant
from tests.actions.factories import make_run
from tests.events.page import watcher
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
WAIT = 15.0  # seconds

RUBBISH = [
    "",
    "{",
    "null",
    "[]",
    "NaN",
    '"subscribe"',
    "[" * 100_000,
    '{"type": "subscribe"' + ", ".join(f'"x{n}": {n}' for n in range(9)),
    "1" * 5000,
    json.dumps({"type": "../../etc/passwd"}),
    json.dumps({"type": "chat.message", "text": "a handler's name"}),
    json.dumps({"type": "subscribe", "seq": "x", "filter": 5}),
    json.dumps({"type": "subscribe", "seq": 10**40, "server": 10**40, "since": {"1": "9" * 400}}),
    json.dumps({"type": "subscribe", "seq": 1, "server": "1; DROP TABLE auth_user", "since": []}),
    "\0\ud83d",
]


class Socket:
    """One end of a WebSocket that says what it likes."""

    def __init__(self, cookie: str, path: str = "/ws/live/") -> None:
        headers = [(b"host", b"127.0.0.1"), (b"origin", b"http://127.0.0.1"), (b"cookie", cookie.encode())]
        scope = {"type": "websocket", "path": path, "query_string": b"", "headers": headers}
        self._connection = ApplicationCommunicator(application, scope | {"subprotocols": []})

    async def opens(self) -> bool:
        await self._connection.send_input({"type": "websocket.connect"})
        return bool((await self._connection.receive_output(WAIT))["type"] == "websocket.accept")

    async def say(self, text: str | None = None, **more: Any) -> None:
        await self._connection.send_input({"type": "websocket.receive", "text": text, **more})

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message of this kind."""
        while True:
            message = await self._connection.receive_output(WAIT)
            assert message["type"] == "websocket.send", message
            data: dict[str, Any] = json.loads(message["text"])
            if data.get("type") == kind:
                return data

    async def closed(self) -> int:
        """The code with which it is closed, whatever comes before."""
        while True:
            message = await self._connection.receive_output(WAIT)
            if message["type"] == "websocket.close":
                return int(message["code"])

    async def leave(self) -> None:
        await self._connection.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._connection.wait(WAIT)


@pytest.fixture(autouse=True)
async def clean_layer() -> AsyncIterator[None]:
    yield
    await get_channel_layer().flush()


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever somebody sends is no mistake of ours."""
    with caplog.at_level(logging.WARNING):
        yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.fixture
def server() -> Server:
    return make_server(name="Berlin")


@pytest.fixture
def person(server: Server) -> User:
    return watcher("mallory", everywhere=False, is_superuser=False)


@pytest.fixture
def cookie(person: User) -> str:
    grant(person, Danger.READ)
    return cookie_of(person)


def cookie_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


@pytest.fixture
async def socket(cookie: str) -> AsyncIterator[Socket]:
    socket = Socket(cookie)
    assert await socket.opens()
    yield socket
    await socket.leave()


@pytest.mark.parametrize("text", RUBBISH)
async def test_rubbish_is_answered_in_words_or_ends_the_socket(socket: Socket, text: str) -> None:
    await socket.say(text)
    while True:
        message = await socket._connection.receive_output(WAIT)
        if message["type"] == "websocket.close":
            assert message["code"] == CLOSE_INVALID
            return
        told = json.loads(message["text"])
        assert told["type"] in ("servers", "flow", "error", "closed")
        if told["type"] == "error":
            assert told["message"].endswith(".")
            return


async def test_what_is_no_text_or_too_long_ends_the_socket(cookie: str) -> None:
    for message in ({"bytes": b"\0" * 10}, {"text": "x" * (MAX_MESSAGE + 1)}):
        socket = Socket(cookie)
        assert await socket.opens()
        await socket.say(**message)
        assert await socket.closed() == CLOSE_INVALID
        await socket.leave()


async def test_a_flood_ends_the_socket_and_is_logged_once(
    socket: Socket, caplog: pytest.LogCaptureFixture
) -> None:
    for seq in range(500):
        await socket.say(json.dumps({"type": "subscribe", "seq": seq}))
    assert await socket.closed() == CLOSE_TOO_MUCH
    (said,) = [record.getMessage() for record in caplog.records if record.name == consumers.__name__]
    assert said == "a socket of mallory was closed: it sent more messages than any page of ours"


async def test_a_person_who_types_fast_is_no_flood(socket: Socket) -> None:
    for seq in range(20):
        await socket.say(json.dumps({"type": "subscribe", "seq": seq}))
    while (await socket.hear("begin"))["seq"] != 19:
        pass


async def test_pages_that_only_listen_are_told_nothing(cookie: str, person: User, server: Server) -> None:
    await sync_to_async(person.user_permissions.add)(
        await sync_to_async(Permission.objects.get)(codename="view_actionrun")
    )
    run: ActionRun = await sync_to_async(make_run)(server=server)
    for path in ("/ws/runs/", f"/ws/runs/{run.pk}/"):
        socket = Socket(cookie, path)
        assert await socket.opens(), path
        await socket.say('{"type": "subscribe"}')
        assert await socket.closed() == CLOSE_INVALID, path
        await socket.leave()


@pytest.mark.parametrize(
    "path", ["/ws/runs/99999999999999999999999/", "/ws/fanouts/99999999999999999999999/"]
)
async def test_a_number_that_no_row_has_is_refused_like_any_other(cookie: str, path: str) -> None:
    assert not await Socket(cookie, path).opens()


async def test_the_server_of_others_is_as_absent_as_one_that_never_was(person: User, server: Server) -> None:
    mine = await sync_to_async(make_server)(name="Hamburg")
    await sync_to_async(grant)(person, Danger.READ, on=mine)
    socket = Socket(await sync_to_async(cookie_of)(person))
    assert await socket.opens()
    assert [one["name"] for one in (await socket.hear("servers"))["servers"]] == ["Hamburg"]
    said = set()
    for seq, pk in enumerate((server.pk, 987654)):
        await socket.say(json.dumps({"type": "subscribe", "seq": seq, "server": str(pk)}))
        said.add((await socket.hear("error"))["message"])
    assert len(said) == 1 and "Berlin" not in said.pop()
    await socket.leave()


async def test_one_login_has_no_more_sockets_than_many_tabs(
    cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MOST_SOCKETS", 3)
    sockets = [Socket(cookie) for _ in range(3)]
    for socket in sockets:
        assert await socket.opens()
    assert not await Socket(cookie).opens()
    await sockets[0].leave()
    again = Socket(cookie)
    assert await again.opens()
    for socket in (*sockets[1:], again):
        await socket.leave()
    assert PageConsumer._open == {}


async def test_the_socket_of_a_login_that_reached_its_limit_is_closed(socket: Socket) -> None:
    async with asyncio.timeout(WAIT):
        await sync_to_async(Session.objects.update)(expire_date=timezone.now())
        assert await socket.closed() == CLOSE_FORBIDDEN


async def test_the_socket_of_somebody_idle_goes_on_but_not_after_the_logout_of_a_click(
    socket: Socket, cookie: str
) -> None:
    name, _, value = cookie.partition("=")

    def idle_click() -> int:
        client = Client()
        client.cookies[name] = value
        session = client.session
        session["amiweb_seen"] = 0
        session.save()
        assert client.head("/admin/live/").status_code == 200
        return client.get("/admin/live/").status_code

    assert await sync_to_async(idle_click)() == 302
    assert await socket.closed() == CLOSE_FORBIDDEN
