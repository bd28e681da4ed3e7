"""Which pages may open a WebSocket: those of the very origin that it is asked of, and trusted ones."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from pytest_django import Settings

from ami_integration.routing import websocket_urlpatterns
from amiweb.asgi import application, websocket_application
from amiweb.origins import SameOrigin

WAIT = 10.0  # seconds


async def accepting(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def opens(
    *origins: str, host: str = "127.0.0.1:8000", scheme: str = "ws", app: Any = None, **headers: str
) -> bool:
    """Whether a page of this origin gets a socket of that host."""
    given = [(b"host", host.encode()), *((b"origin", one.encode("latin-1")) for one in origins)]
    given += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "websocket", "path": "/ws/live/", "query_string": b"", "headers": given}
    socket = ApplicationCommunicator(
        app or SameOrigin(accepting), scope | {"scheme": scheme, "subprotocols": []}
    )
    await socket.send_input({"type": "websocket.connect"})
    answer = await socket.receive_output(WAIT)
    await socket.wait(WAIT)
    return bool(answer["type"] == "websocket.accept")


@pytest.fixture(autouse=True)
def hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["127.0.0.1", "[::1]", "pbx.example.com"]


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:9999",
        "http://127.0.0.1",
        "https://127.0.0.1:8000",
        "ws://127.0.0.1:8000",
        "http://localhost:8000",
        "http://127.0.0.1:8000.evil.example",
        "http://127.0.0.1.evil.example:8000",
        "http://evil.example",
        "http://127.0.0.1:8000@evil.example",
        "http://127.0.0.1:80:8000",
        "http://[",
        "null",
        "\xff",
        "",
    ],
)
async def test_a_page_of_another_origin_gets_no_socket(origin: str) -> None:
    assert not await opens(origin)


async def test_a_page_that_names_no_origin_or_two_gets_no_socket() -> None:
    assert not await opens()
    assert not await opens("http://127.0.0.1:8000", "http://evil.example")


async def test_a_page_of_a_host_that_is_not_ours_gets_no_socket() -> None:
    assert not await opens("http://evil.example", host="evil.example")


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", "ws"),
        ("http://[::1]:8000", "[::1]:8000", "ws"),
        ("http://[::1]", "[::1]:80", "ws"),
        ("http://pbx.example.com", "pbx.example.com", "ws"),
        ("http://pbx.example.com:80", "pbx.example.com", "ws"),
        ("https://pbx.example.com", "pbx.example.com:443", "wss"),
        ("https://pbx.example.com", "PBX.example.com", "wss"),
    ],
)
async def test_a_page_of_the_same_origin_gets_its_socket(origin: str, host: str, scheme: str) -> None:
    assert await opens(origin, host=host, scheme=scheme)


async def test_a_default_port_is_that_of_its_own_scheme() -> None:
    assert not await opens("https://pbx.example.com:80", host="pbx.example.com", scheme="wss")
    assert not await opens("http://pbx.example.com:443", host="pbx.example.com")


@pytest.mark.parametrize("said", ["https", "wss"])
async def test_behind_a_proxy_the_scheme_is_what_the_proxy_says(settings: Settings, said: str) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert await opens("https://pbx.example.com", host="pbx.example.com", x_forwarded_proto=said)
    assert not await opens("http://pbx.example.com", host="pbx.example.com", x_forwarded_proto=said)
    assert not await opens("https://pbx.example.com", host="pbx.example.com", x_forwarded_proto="http")


async def test_without_a_proxy_nobody_else_says_the_scheme() -> None:
    assert not await opens("https://pbx.example.com", host="pbx.example.com", x_forwarded_proto="https")


async def test_trusted_origins_are_those_of_forms(settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://desk.example.org", "https://*.example.net"]
    for origin in ("https://desk.example.org", "https://a.example.net"):
        assert await opens(origin), origin
    for origin in (
        "http://desk.example.org",
        "https://desk.example.org:8443",
        "https://evildesk.example.org",
        "http://a.example.net",
        "https://aexample.net",
    ):
        assert not await opens(origin), origin


async def test_the_log_says_what_a_proxy_must_pass(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await opens("https://pbx.example.com", host="pbx.example.com")
    (record,) = [one for one in caplog.records if one.name == "amiweb.origins"]
    assert "of http://pbx.example.com by a page of https://pbx.example.com" in record.getMessage()
    assert "X-Forwarded-Proto" in record.getMessage()


async def test_every_socket_is_behind_the_check() -> None:
    assert websocket_urlpatterns
    assert isinstance(websocket_application, SameOrigin)
    assert not await opens("http://127.0.0.1:9999", app=application)
