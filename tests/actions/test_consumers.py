"""The WebSocket of a run's page, through the whole of ASGI and over the real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from ami_integration.access.danger import Danger
from ami_integration.actions import doorbell
from ami_integration.actions.consumers import CLOSE_FORBIDDEN, CLOSE_GONE, RunConsumer
from ami_integration.actions.models import ActionRun
from amiweb.asgi import application
from tests.access.factories import grant, make_person
from tests.actions.factories import make_operator, make_run, make_user
from tests.servers.factories import make_server
from tests.websocket import WebSocket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
WAIT = 15  # seconds: three times what the page promises


def cookie_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


def socket(run_id: int, cookie: str = "", **values: str) -> WebSocket:
    cookies = {settings.SESSION_COOKIE_NAME: cookie} if cookie else None
    return WebSocket(application, f"/ws/runs/{run_id}/", cookies=cookies, **values)  # type: ignore[arg-type]


@asynccontextmanager
async def watching(run: ActionRun, cookie: str) -> AsyncIterator[WebSocket]:
    page = socket(run.pk, cookie)
    assert await page.connect(WAIT)
    yield page
    await page.disconnect(WAIT)


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await sync_to_async(function)(*args, **kwargs)


@pytest.fixture
def run() -> ActionRun:
    return make_run(headers=[("Secret", "hunter2")])


async def test_the_first_message_is_the_run_as_it_is(run: ActionRun) -> None:
    async with watching(run, await in_thread(cookie_of, await in_thread(make_operator))) as page:
        snapshot = await page.receive(WAIT)
    assert (snapshot["id"], snapshot["status"]) == (str(run.pk), "queued")
    assert "hunter2" not in str(snapshot)


async def test_a_push_brings_what_changed(run: ActionRun) -> None:
    cookie = await in_thread(cookie_of, await in_thread(make_operator))
    async with watching(run, cookie) as page:
        await page.receive(WAIT)
        await in_thread(ActionRun.objects.claim, run.pk, "box:1")
        await in_thread(doorbell.push, run.pk)
        running = await page.receive(WAIT)
        await in_thread(run.refresh_from_db)
        await in_thread(run.finish, ActionRun.Status.SUCCEEDED, "Pong")
        await in_thread(doorbell.push, run.pk)
        done = await page.receive(WAIT)
    assert (running["status"], done["status"], done["reason"]) == ("running", "succeeded", "Pong")
    assert [step["name"] for step in done["steps"]] == ["Queued", "Running", "Succeeded"]


async def test_a_change_without_a_push_is_found_all_the_same(
    run: ActionRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunConsumer, "look_again", 0.05)
    async with watching(run, await in_thread(cookie_of, await in_thread(make_operator))) as page:
        await page.receive(WAIT)
        await in_thread(ActionRun.objects.cancel, run.pk, "Cancelled by bob.")
        assert (await page.receive(WAIT))["status"] == "cancelled"


async def test_a_page_that_knows_everything_is_told_nothing(run: ActionRun) -> None:
    async with watching(run, await in_thread(cookie_of, await in_thread(make_operator))) as page:
        await page.receive(WAIT)
        await in_thread(doorbell.push, run.pk)
        assert await page.hears_nothing(0.3)


async def test_a_stranger_is_refused(run: ActionRun) -> None:
    assert not await socket(run.pk).connect(WAIT)


@pytest.mark.parametrize(
    "person",
    [
        lambda: make_user("eve"),
        lambda: make_user("eve", "add_actionrun", "view_server"),
        lambda: make_user("eve", "view_actionrun", is_staff=False),
    ],
    ids=["without a right", "with other rights", "not of the staff"],
)
async def test_who_may_not_view_runs_is_refused(run: ActionRun, person: Callable[[], User]) -> None:
    cookie = await in_thread(cookie_of, await in_thread(person))
    assert not await socket(run.pk, cookie).connect(WAIT)


async def test_a_run_is_watched_by_who_may_read_its_server(run: ActionRun) -> None:
    def people() -> dict[str, str]:
        stranger, viewer, neighbour, agent = (
            make_person(name) for name in ("stranger", "viewer", "neighbour", "agent")
        )
        grant(viewer, Danger.READ, on=run.server)
        grant(neighbour, on=make_server(name="Oslo"))
        grant(agent, Danger.OPERATE, on=run.server)
        return {user.username: cookie_of(user) for user in (stranger, viewer, neighbour, agent)}

    cookies = await in_thread(people)
    for name in ("stranger", "neighbour", "agent"):
        assert not await socket(run.pk, cookies[name]).connect(WAIT), name
    async with watching(run, cookies["viewer"]) as page:
        assert (await page.receive(WAIT))["status"] == "queued"


async def test_a_page_of_another_origin_is_refused(run: ActionRun) -> None:
    cookie = await in_thread(cookie_of, await in_thread(make_operator))
    assert not await socket(run.pk, cookie, origin="https://evil.example").connect(WAIT)


def withdraw(user: User) -> None:
    user.user_permissions.clear()


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def log_out(user: User) -> None:
    Session.objects.all().delete()


def change_password(user: User) -> None:
    user.set_password("another word")
    user.save()


def lose_the_rule(user: User) -> None:
    user.groups.clear()


@pytest.mark.parametrize("lose", [withdraw, deactivate, log_out, change_password, lose_the_rule])
async def test_who_loses_the_right_loses_the_page(
    run: ActionRun, lose: Callable[[User], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunConsumer, "look_again", 0.05)
    ada = await in_thread(make_operator)
    async with watching(run, await in_thread(cookie_of, ada)) as page:
        await page.receive(WAIT)
        await in_thread(lose, ada)
        assert await page.close_code(WAIT) == CLOSE_FORBIDDEN


async def test_a_run_that_goes_closes_its_page(run: ActionRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunConsumer, "look_again", 0.05)
    cookie = await in_thread(cookie_of, await in_thread(make_operator))
    async with watching(run, cookie) as page:
        await page.receive(WAIT)
        await in_thread(run.delete)
        assert await page.close_code(WAIT) == CLOSE_GONE


async def test_a_run_that_never_was_is_refused_like_one_that_is_hidden(run: ActionRun) -> None:
    page = socket(run.pk + 1, await in_thread(cookie_of, await in_thread(make_operator)))
    assert not await page.connect(WAIT)
    hidden = socket(run.pk, await in_thread(cookie_of, await in_thread(make_person, "stranger")))
    assert not await hidden.connect(WAIT)


async def test_many_pages_of_one_run_all_hear_of_it(run: ActionRun) -> None:
    cookie = await in_thread(cookie_of, await in_thread(make_operator))
    async with watching(run, cookie) as one, watching(run, cookie) as two:
        for page in (one, two):
            await page.receive(WAIT)
        await in_thread(ActionRun.objects.cancel, run.pk, "")
        await in_thread(doorbell.push, run.pk)
        told = await asyncio.gather(*(page.receive(WAIT) for page in (one, two)))
    assert [snapshot["status"] for snapshot in told] == ["cancelled", "cancelled"]
