"""What browsers are told of every answer: pages of every room, files, errors, refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, get_resolver, path

from amiweb.asgi import application
from amiweb.headers import policies
from amiweb.urls import urlpatterns as real_urlpatterns

WAIT = 10.0  # seconds
STATIC = "/static/ami_integration/amiweb.css"


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("a mistake of ours")


urlpatterns = [path("broken/", broken), *real_urlpatterns]


def addresses(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    """Every address of amiweb, with 1 wherever one names something."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield "/" + re.sub(r"\(\?P<\w+>[^)]*\)|<[^>]*>", "1", route).replace("^", "").replace("$", "")


def is_strict(headers: Any) -> None:
    for name, value in policies().items():
        # The directives of the Content-Security-Policy have no order.
        assert sorted(headers[name].split("; ")) == sorted(value.split("; ")), name


def test_the_policy_lets_no_inline_code_run_and_nobody_else_in() -> None:
    policy = policies()["Content-Security-Policy"]
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy
    for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
        assert part in policy
    for part in ("base-uri 'none'", "form-action 'self'", "object-src 'none'"):
        assert part in policy
    others = policies()
    assert others["X-Frame-Options"] == "DENY"
    assert others["Referrer-Policy"] == "same-origin"
    assert "camera=()" in others["Permissions-Policy"] and "microphone=()" in others["Permissions-Policy"]


@pytest.mark.django_db
@pytest.mark.usefixtures("valkey")
def test_every_address_answers_strictly_to_an_administrator_and_to_a_stranger(admin_client: Client) -> None:
    known = sorted(set(addresses()))
    assert len(known) > 80 and "/admin/live/" in known
    admin_client.raise_request_exception = False
    for address in known:
        if "logout" in address:
            continue
        for client in (Client(), admin_client):
            answer = client.get(address)
            assert answer.status_code < 500, address
            is_strict(answer.headers)


@pytest.mark.django_db
def test_errors_answer_strictly(client: Client, admin_client: Client) -> None:
    client.raise_request_exception = False
    with override_settings(ROOT_URLCONF=__name__):
        answers = {500: client.get("/broken/")}
    answers |= {
        400: client.get("/admin/login/", headers={"Host": "evil.example"}),
        404: admin_client.get("/nothing-here/"),
        405: admin_client.post("/admin/status/data/"),
        403: Client(enforce_csrf_checks=True).post("/admin/login/"),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        is_strict(answer.headers)
    nul = client.get("/admin/login/?next=%00")
    assert nul.status_code == 400
    is_strict(nul.headers)


def test_files_answer_strictly(client: Client) -> None:
    answer = client.get(STATIC)
    assert answer.status_code == 200
    is_strict(answer.headers)
    missing = client.get("/static/nothing.css")
    assert missing.status_code == 404
    is_strict(missing.headers)


async def first_answer(scope: dict[str, Any], *events: dict[str, Any]) -> tuple[int, dict[str, str]]:
    headers = [(b"host", b"127.0.0.1"), *scope.pop("headers", ())]
    common = {
        "headers": headers,
        "query_string": b"",
        "client": ("127.0.0.1", 9),
        "server": ("127.0.0.1", 80),
    }
    connection = ApplicationCommunicator(application, common | scope)
    for event in events:
        await connection.send_input(event)
    answer = await connection.receive_output(WAIT)
    assert answer["type"].endswith("http.response.start")
    await connection.receive_output(WAIT)  # the body
    await connection.send_input({"type": scope["type"] + ".disconnect", "code": 1006})
    await connection.wait(WAIT)
    found = {name.decode().title(): value.decode() for name, value in answer["headers"]}
    return int(answer["status"]), {name.replace("Xss", "XSS"): value for name, value in found.items()}


@pytest.mark.parametrize("origin", [b"http://evil.example", b"http://127.0.0.1"])
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("valkey")
async def test_a_refused_websocket_answers_strictly(origin: bytes) -> None:
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    scope = {"type": "websocket", "path": "/ws/live/", "headers": [(b"origin", origin)]}
    scope |= {"extensions": extensions, "subprotocols": []}
    status, headers = await first_answer(scope, {"type": "websocket.connect"})
    assert status == 403
    is_strict(headers)


async def test_what_can_not_even_be_read_is_answered_strictly() -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/admin/login/",
        "scheme": "http",
        "http_version": "1.1",
    }
    status, headers = await first_answer(scope | {"query_string": b"\xff"}, {"type": "http.request"})
    assert status == 400
    is_strict(headers)


@pytest.mark.django_db
def test_cookies_are_for_the_browser_alone_and_no_message_lies_in_one(client: Client) -> None:
    User.objects.create_superuser("eve", password="word")
    client.get("/admin/login/")
    client.post("/admin/login/", {"username": "eve", "password": "word", "next": "/admin/"})
    assert len(client.cookies) == 2
    for cookie in client.cookies.values():
        assert cookie["httponly"] and cookie["samesite"] == "Lax" and cookie["path"] == "/"
        assert not cookie["domain"]
