"""How much a browser may send: a stranger must not fill the disk."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

from amiweb.asgi import application
from amiweb.bodies import MOST

WAIT = 10.0  # seconds
PART = 64 * 1024


def request(*headers: tuple[bytes, bytes]) -> ApplicationCommunicator:
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/admin/login/", "scheme": "http"}
    scope |= {"http_version": "1.1", "query_string": b"", "headers": [(b"host", b"127.0.0.1"), *headers]}
    return ApplicationCommunicator(application, scope)


async def refused(connection: ApplicationCommunicator) -> str:
    """The words of the refusal, after which nothing else comes."""
    start = await connection.receive_output(WAIT)
    body = await connection.receive_output(WAIT)
    assert start["status"] == 413
    assert b"content-security-policy" in dict(start["headers"])
    await connection.wait(WAIT)
    assert await connection.receive_nothing()
    return str(body["body"].decode())


@pytest.mark.parametrize("said", [str(MOST + 1), "9" * 400])
async def test_a_request_that_says_it_is_too_large_is_not_even_read(said: str) -> None:
    assert "larger than amiweb takes" in await refused(request((b"content-length", said.encode())))


async def test_a_request_that_turns_out_too_large_is_refused_on_the_way() -> None:
    connection = request()
    for _ in range(MOST // PART + 1):
        await connection.send_input({"type": "http.request", "body": PART * b"x", "more_body": True})
    assert "Send less" in await refused(connection)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("said", [b"", b"-1", b"ten"])
async def test_others_are_answered(said: bytes) -> None:
    connection = request((b"content-length", said))
    await connection.send_input({"type": "http.request", "body": PART * b"x", "more_body": False})
    start = await connection.receive_output(WAIT)
    assert start["status"] == 403  # it has no CSRF token
    await connection.receive_output(WAIT)
    await connection.send_input({"type": "http.disconnect"})
    await connection.wait(WAIT)
