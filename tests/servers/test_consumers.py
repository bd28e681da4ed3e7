"""The connection doctor of a server's form: what was typed is tested before it is saved, and stays here."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.test import Client

from ami_integration.access.logins import SEEN
from ami_integration.ami import Timeouts
from ami_integration.audit.models import AuditEntry
from ami_integration.servers import consumers, services
from ami_integration.servers.consumers import CLOSE_FORBIDDEN, DoctorConsumer
from ami_integration.servers.models import Server, ServerHealth
from amiweb.asgi import application
from tests.access.test_consumers import Browser
from tests.ami.scripted import BANNER, Peer, scripted
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import SECRET, healthy, make_server
from tests.websocket import WebSocket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
WAIT = 15  # seconds
TYPED = "a-word-that-was-typed"
FORM = {
    "name": "Lisbon",
    "host": "127.0.0.1",
    "transport": "tcp",
    "ssh_port": "22",
    "username": "amiweb",
    "secret": TYPED,
    "secret_source": "stored",
    "max_sessions": "8",
    "timezone": "UTC",
    "event_keeping": "default",
}


def make_keeper(*rights: str, **values: Any) -> str:
    """The cookie of a new person who may do this with servers."""
    user = User.objects.create(username="ada", is_staff=True, **values)
    names = [f"{right}_server" for right in rights]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return cookie_of(user)


def cookie_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


def superuser() -> str:
    return cookie_of(User.objects.create_superuser("ada"))


def socket(cookie: str = "", server: Server | None = None) -> WebSocket:
    cookies = {settings.SESSION_COOKIE_NAME: cookie} if cookie else None
    path = "/ws/doctor/" if server is None else f"/ws/doctor/{server.pk}/"
    return WebSocket(application, path, cookies=cookies)


@asynccontextmanager
async def form_of(cookie: str, server: Server | None = None) -> AsyncIterator[WebSocket]:
    page = socket(cookie, server)
    assert await page.connect(WAIT)
    yield page
    await page.disconnect(WAIT)


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await sync_to_async(function)(*args, **kwargs)


async def start(page: WebSocket, seq: int = 1, **fields: object) -> None:
    await page.send({"type": "start", "seq": seq, "form": urlencode(FORM | fields)})


async def answer(page: WebSocket) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a test ends with, and the messages before it."""
    before: list[dict[str, Any]] = []
    while (message := await page.receive(WAIT))["type"] == "steps":
        before.append(message)
    return message, before


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A doctor who waits a second for each step."""
    limits = Timeouts(connect=1, tls=1, banner=1, login=1, action=1)
    monkeypatch.setattr(services, "TEST_TIMEOUTS", limits)


def entries() -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(verb="server.test"))


async def test_a_new_server_is_tested_before_it_is_saved_and_each_step_is_told_as_it_begins_and_ends() -> (
    None
):
    with scripted(healthy("Ping", "Originate", "Command")) as transport:
        async with form_of(await in_thread(make_keeper, "add")) as page:
            await start(page, seq=7, port=transport.port)
            end, told = await answer(page)
    assert end == {"type": "done", "seq": 7, "ok": True, "message": "All of it works."}
    states = [[step["state"] for step in message["steps"]] for message in told]
    assert states[0] == ["running"] + ["waiting"] * 9
    assert states[1] == ["ok"] + ["waiting"] * 9
    assert states[-1] == ["ok"] * 10
    assert len(states) == 20
    assert TYPED not in repr(told)
    assert not await in_thread(Server.objects.exists)
    (entry,) = await in_thread(entries)
    assert (entry.actor_name, entry.object_name, entry.object_id) == ("ada", "Lisbon", "")
    assert entry.what["saved"] == "no"
    assert TYPED not in repr(entry.what)


async def test_a_wrong_secret_ends_at_the_login_with_the_line_of_manager_conf() -> None:
    def refuse(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Authentication failed", response="Error")

    with scripted(refuse) as transport:
        async with form_of(await in_thread(superuser)) as page:
            await start(page, port=transport.port)
            end, told = await answer(page)
    assert (end["ok"], end["message"]) == (False, "It ends at the step Login and ACL.")
    failed = next(step for step in told[-1]["steps"] if step["state"] == "failed")
    assert "Authentication failed" in failed["seen"]
    assert "section [amiweb]" in failed["mend"] and "its secret= line" in failed["mend"]


async def test_what_is_wrong_in_the_form_is_told_and_nothing_is_connected_to() -> None:
    async with form_of(await in_thread(superuser)) as page:
        await start(page, host="http://pbx", port=5038, secret="")
        end, told = await answer(page)
    assert (end["type"], told) == ("invalid", [])
    found = {one["field"]: (one["label"], one["message"]) for one in end["complaints"]}
    assert set(found) == {"host", "secret"}
    assert found["secret"] == ("Secret", "Enter the secret. AMI knows no account without one.")
    assert await in_thread(entries) == []


async def test_what_no_connection_asks_for_may_still_be_missing() -> None:
    with scripted(healthy("Ping", "Originate", "Command")) as transport:
        async with form_of(await in_thread(superuser)) as page:
            await start(page, port=transport.port, name="", max_sessions="", timezone="Atlantis")
            end, _ = await answer(page)
    assert end["ok"] is True


async def test_the_form_of_a_stored_server_tests_with_its_stored_secret_and_notes_what_it_finds() -> None:
    with scripted(healthy("Ping", "Originate", "Command")) as transport:
        server = await in_thread(make_server, transport)
        async with form_of(await in_thread(superuser), server) as page:
            await start(page, port=transport.port, name="Berlin", secret="")
            end, told = await answer(page)
    assert end["ok"] is True
    assert SECRET not in repr(told)
    health = await in_thread(ServerHealth.objects.get)
    assert health.asterisk_version == "22.10.0"
    (entry,) = await in_thread(entries)
    assert (entry.object_id, entry.what) == (
        str(server.pk),
        {"address": server.address, "transport": "tcp", "account": "amiweb"},
    )


@pytest.mark.parametrize(
    "change",
    [{"host": "127.0.0.2"}, {"port": 5039}, {"transport": "tls"}, {"tls_pin": "ab" * 32}],
    ids=lambda change: next(iter(change)),
)
async def test_a_stored_secret_is_sent_nowhere_but_where_it_was_stored_for(change: dict[str, object]) -> None:
    with scripted(healthy(), healthy()) as transport:
        server = await in_thread(make_server, transport)
        async with form_of(await in_thread(superuser), server) as page:
            await start(page, **({"port": transport.port, "name": "Berlin", "secret": ""} | change))
            end, told = await answer(page)
        assert told == []
        (complaint,) = end["complaints"]
        assert complaint["field"] == "secret"
        assert "Enter the secret again" in complaint["message"]
    assert await in_thread(entries) == []


async def test_what_is_found_with_unsaved_values_is_not_noted_of_the_server() -> None:
    with scripted(healthy("Ping", "Originate", "Command")) as transport:
        server = await in_thread(make_server)
        async with form_of(await in_thread(superuser), server) as page:
            await start(page, port=transport.port)
            end, _ = await answer(page)
    assert end["ok"] is True
    assert not await in_thread(ServerHealth.objects.exists)
    stored = await in_thread(Server.objects.get)
    assert (stored.host, stored.secret.reveal()) == (server.host, SECRET)
    (entry,) = await in_thread(entries)
    assert entry.what["not saved"] == "host, port, secret"


@pytest.mark.parametrize("rights", [(), ("view",), ("change",)])
async def test_who_may_not_add_servers_tests_no_new_one(rights: tuple[str, ...]) -> None:
    assert not await socket(await in_thread(make_keeper, *rights)).connect(WAIT)


async def test_a_stranger_is_refused() -> None:
    assert not await socket().connect(WAIT)


@pytest.mark.parametrize("rights", [("add", "view"), ("add", "change")])  # the last sees no server
async def test_who_may_not_change_a_server_tests_nothing_on_its_form(rights: tuple[str, ...]) -> None:
    server = await in_thread(make_server)
    assert not await socket(await in_thread(make_keeper, *rights), server).connect(WAIT)


async def test_a_right_that_is_withdrawn_closes_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DoctorConsumer, "look_again", 0.05)
    async with form_of(await in_thread(make_keeper, "add")) as page:
        await in_thread(lambda: User.objects.get().user_permissions.clear())
        assert await page.close_code(WAIT) == CLOSE_FORBIDDEN


async def test_a_start_is_asked_for_its_right_again() -> None:
    async with form_of(await in_thread(make_keeper, "add")) as page:
        await in_thread(Session.objects.all().delete)
        await start(page, port=5038)
        assert await page.close_code(WAIT) == CLOSE_FORBIDDEN
    assert await in_thread(entries) == []


async def test_somebody_who_was_idle_too_long_tests_nothing_and_a_test_is_activity() -> None:
    cookie = await in_thread(superuser)

    def seen(ago: int | None = None) -> int:
        session = SessionStore(cookie)
        if ago is not None:
            session[SEEN] -= ago
            session.save()
        return int(session[SEEN])

    now = await in_thread(seen)
    async with form_of(cookie) as page:
        await in_thread(seen, 120)
        await start(page, host="")
        assert (await answer(page))[0]["type"] == "invalid"
        assert await in_thread(seen) >= now
        await in_thread(seen, settings.AMIWEB_SESSION_IDLE + 10)
        await start(page, host="")
        end, _ = await answer(page)
    assert end["type"] == "refused"
    assert "logged out" in end["message"]


@pytest.mark.usefixtures("hasty")
async def test_one_page_tests_one_connection_at_a_time_and_a_process_so_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumers, "_walks", threading.BoundedSemaphore(1))
    go_on = threading.Event()

    def wait(peer: Peer) -> None:
        go_on.wait(WAIT)

    cookie = await in_thread(superuser)
    with scripted(wait) as transport:
        async with form_of(cookie) as first, form_of(cookie) as second:
            await start(first, port=transport.port)
            assert (await first.receive(WAIT))["type"] == "steps"
            await start(first, seq=2, port=transport.port)
            while (message := await first.receive(WAIT))["type"] == "steps":
                pass
            assert (message["seq"], message["type"]) == (2, "refused")
            await start(second, port=transport.port)
            refused, _ = await answer(second)
            assert "being tested just now" in refused["message"]
            go_on.set()
            end, _ = await answer(first)
            assert (end["seq"], end["type"]) == (1, "done")
            await start(second, seq=3, host="")
            assert (await answer(second))[0]["type"] == "invalid"  # there is room again


@pytest.mark.usefixtures("hasty")
async def test_the_end_of_the_page_ends_the_walk_with_the_step_that_is_under_way() -> None:
    gone = threading.Event()
    heard = threading.Event()

    def slow(peer: Peer) -> None:
        peer.say(BANNER)
        peer.hear()
        heard.set()
        try:
            while peer.hear().name != "Logoff":
                raise AssertionError("it went on")
        except EOFError:
            pass
        gone.set()

    with scripted(slow) as transport:
        async with form_of(await in_thread(superuser)) as page:
            await start(page, port=transport.port)
            assert await asyncio.to_thread(heard.wait, WAIT)
        assert await asyncio.to_thread(gone.wait, 3 * 10)
    await in_thread(
        wait_until,
        lambda: not any(one.name == "connection-doctor" for one in threading.enumerate()),
        seconds=WAIT,
        what="the thread ends",
    )


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        '{"type": "start"}',
        '{"type": "start", "seq": "1", "form": "host=x"}',
        '{"type": "start", "seq": 1, "form": {"host": "x"}}',
        '{"type": "start", "seq": 1, "form": "secret=\\ud800"}',
        '{"type": "start", "seq": 1, "form": "' + "a=1&" * 2000 + '"}',
        "[" * 100_000,
    ],
    ids=range(8),
)
async def test_what_no_page_of_ours_sends_closes_the_socket_without_a_word_of_it_in_the_log(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    page = socket(await in_thread(superuser))
    assert await page.connect(WAIT)
    await page._communicator.send_input({"type": "websocket.receive", "text": text})
    assert await page.close_code(WAIT) == consumers.CLOSE_INVALID
    await page.disconnect(WAIT)
    assert "Traceback" not in caplog.text
    assert text[:20] not in caplog.text


async def test_a_mistake_of_ours_in_the_middle_ends_the_socket_and_tells_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> Any:
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(consumers, "connection_walk", fail)
    caplog.set_level(logging.DEBUG)
    async with form_of(await in_thread(superuser)) as page:
        await start(page, port=5038)
        assert await page.close_code(WAIT) == 1011
    assert "ZeroDivisionError" in caplog.text
    assert TYPED not in caplog.text


async def test_a_server_that_was_deleted_meanwhile_is_tested_no_more() -> None:
    server = await in_thread(make_server)
    async with form_of(await in_thread(superuser), server) as page:
        await in_thread(server.delete)
        await start(page, port=5038)
        assert await page.close_code(WAIT) == CLOSE_FORBIDDEN


@pytest.mark.processes
async def test_at_the_most_talkative_log_level_no_message_of_a_page_is_written_down(stack: Stack) -> None:
    await asyncio.to_thread(stack.start, "web", "--log-level", "trace", env={"AMIWEB_LOG_LEVEL": "DEBUG"})
    page = await (await in_thread(Browser, stack)).open("/ws/doctor/")
    with scripted(healthy("Ping", "Originate", "Command")) as transport:
        # The secret first: of long messages a log shows but the beginning.
        form = urlencode({"secret": TYPED} | FORM | {"port": transport.port})
        await page.connection.send(json.dumps({"form": form, "type": "start", "seq": 1}))
        await page.until(type="done", ok=True)
    await page.connection.close()
    log = stack.log("web")
    assert "/ws/doctor/" in log
    assert TYPED not in log
