"""What a PBX is asked after a gap, on a simulated one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.utils import timezone

from ami_integration.ami import Event as Message
from ami_integration.ami import Reply, Response
from ami_integration.events import snapshots as snapshots_module
from ami_integration.events.background import Threads
from ami_integration.events.models import Gap, Snapshot
from ami_integration.events.snapshots import QUESTIONS, Answer, Snapshots, read_answer
from ami_integration.servers import slots
from ami_integration.servers.models import Server, ServerAbilities, ServerHealth
from ami_integration.simulator import Account, EventClass
from tests.events.listening import PBX, PROMISE, SECRET, Running
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = [question[0] for question in QUESTIONS]


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    threads = Threads()
    yield threads
    threads.shutdown()


async def add(pbx: PBX, **values: Any) -> Server:
    values = {"host": "127.0.0.1", "port": pbx.port, "secret": SECRET} | values
    return await sync_to_async(make_server)(**values)


async def ask(threads: Threads, server: Server, seconds: float = 3 * PROMISE) -> dict[str, Answer]:
    """The answers of a server that is asked now."""
    found: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
    snapshots = Snapshots(threads.database)
    snapshots.want(server.pk, found.set_result)
    try:
        return {answer.action: answer for answer in await asyncio.wait_for(found, seconds)}
    finally:
        await snapshots.stop()


async def test_after_a_gap_the_state_of_the_pbx_is_stored(running: Running, pbx: PBX) -> None:
    server = await add(pbx)
    running.start()
    await running.until(
        lambda: ServerHealth.objects.filter(server=server, state="online").exists(), what="it is online"
    )
    assert not await running.look(Snapshot.objects.exists)
    pbx.kick()
    await running.until(
        lambda: Snapshot.objects.filter(server=server).count() >= len(QUESTIONS), what="it was asked"
    )
    gap = await running.look(Gap.objects.get)
    found = await running.look(lambda: {one.action: one for one in Snapshot.objects.all()})
    assert set(found) == set(FIRST)
    assert {one.after_id for one in found.values()} == {gap.after_id}
    queues = [dict(item) for item in found["QueueStatus"].items]
    assert {item["Event"] for item in queues} >= {"QueueParams"}
    assert found["CoreShowChannels"].error == ""
    endpoints = [dict(item) for item in found["PJSIPShowEndpoints"].items]
    assert {item["Event"] for item in endpoints} == {"EndpointList"}
    await running.until(lambda: len(pbx.sessions) == 1, what="the action session was closed")


async def test_what_the_login_may_not_ask_is_noted(pbx: PBX, threads: Threads, url: str) -> None:
    pbx.accounts["poor"] = Account("poor", SECRET, write=EventClass(0))
    answers = await ask(threads, await add(pbx, username="poor"))
    assert answers["CoreShowChannels"] == Answer("CoreShowChannels", error="Permission denied")


async def test_what_the_login_is_known_not_to_be_allowed_is_not_even_asked(
    pbx: PBX, threads: Threads, url: str
) -> None:
    server = await add(pbx)
    allowed = {"QueueStatus": "", "SIPpeers": ""}
    await ServerAbilities.objects.acreate(server=server, actions=allowed, read_at=timezone.now())
    answers = await ask(threads, server)
    assert answers["QueueStatus"].items
    assert "may not ask" in answers["CoreShowChannels"].error
    assert set(answers) == {"CoreShowChannels", "QueueStatus", "PJSIPShowEndpoints", "ConfbridgeListRooms"}


async def test_the_second_account_asks_where_there_is_one(pbx: PBX, threads: Threads, url: str) -> None:
    pbx.accounts["acts"] = Account("acts", "other")
    server = await add(pbx, secret="wrong", action_username="acts", action_secret="other")
    assert (await ask(threads, server))["QueueStatus"].items


async def test_a_server_in_maintenance_is_left_alone(pbx: PBX, threads: Threads, url: str) -> None:
    answers = await ask(threads, await add(pbx, maintenance=True))
    assert list(answers) == FIRST
    assert {answer.error for answer in answers.values()} == {
        "The server is in maintenance: no action runs on it."
    }


async def test_it_counts_among_the_sessions_of_the_server(
    pbx: PBX, threads: Threads, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots_module, "_BUSY_PAUSE", 0.05)
    server = await add(pbx, max_sessions=1)

    def taken(**options: Any) -> bool:
        return slots.slot_take(server_id=server.pk, token="somebody", limit=1)

    assert await asyncio.to_thread(taken)
    answers = await ask(threads, server)
    assert "All 1 action sessions of Berlin were in use." in answers["QueueStatus"].error
    await asyncio.to_thread(lambda: slots.slot_release(server_id=server.pk, token="somebody"))
    assert (await ask(threads, server))["QueueStatus"].items
    assert await asyncio.to_thread(lambda: slots.slots_used(server_id=server.pk)) == 0


async def test_its_actions_count_for_the_rate(pbx: PBX, threads: Threads, url: str) -> None:
    answers = await ask(threads, await add(pbx, rate_per_minute=2))
    refused = [action for action, answer in answers.items() if "as many actions as it may" in answer.error]
    assert refused == FIRST[2:]
    assert answers["QueueStatus"].items


async def test_a_pbx_that_does_not_answer_is_told_and_holds_up_no_other(
    pbx: PBX, threads: Threads, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots_module, "_SECONDS", 0.5)
    pbx.hang("QueueStatus")
    answers = await ask(threads, await add(pbx))
    assert answers.pop("CoreShowChannels").error == ""
    assert {answer.error for answer in answers.values()} == {"The PBX didn't answer within 0.5 s."}


async def test_a_database_that_is_away_is_told(pbx: PBX, url: str) -> None:
    class Away(Threads):
        async def database(self, call: Callable[[], Any]) -> Any:
            raise OperationalError("the database is away")

    answers = await ask(Away(), await add(pbx))
    assert "The database is away" in answers["QueueStatus"].error


async def test_of_a_fleet_only_some_are_asked_at_once_and_each_is_asked(
    pbx: PBX, threads: Threads, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots_module, "_SPREAD", 0.0)
    servers = [await add(pbx, name=f"pbx {number}") for number in range(12)]
    snapshots = Snapshots(threads.database, at_once=3)
    asked: list[int] = []
    for server in servers:
        snapshots.want(server.pk, lambda answers, pk=server.pk: asked.append(pk))  # type: ignore[misc]
    most = 0
    deadline = time.monotonic() + 30
    while len(asked) < len(servers):
        assert time.monotonic() < deadline
        most = max(most, sum(session.account is not None for session in pbx.sessions))
        await asyncio.sleep(0)
    await snapshots.stop()
    assert sorted(asked) == [server.pk for server in servers]
    assert 1 <= most <= 3


def reply(response: str, *events: str) -> Reply:
    return Reply([Response.from_raw(response.encode())], [Message.from_raw(one.encode()) for one in events])


def test_a_list_that_asterisk_calls_an_error_since_it_is_empty_is_an_empty_list() -> None:
    refused = reply("Response: Error\r\nMessage: No active conferences.")
    assert read_answer("ConfbridgeListRooms", refused) == Answer("ConfbridgeListRooms")
    bare = reply("Response: Error\r\nMessage: No endpoints found\n")
    assert read_answer("PJSIPShowEndpoints", bare) == Answer("PJSIPShowEndpoints")
    denied = reply("Response: Error\r\nMessage: Permission denied")
    assert read_answer("QueueStatus", denied) == Answer("QueueStatus", error="Permission denied")


def test_a_list_that_is_too_long_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots_module, "MAX_ITEMS", 2)
    found = read_answer("X", reply("Response: Success", *["Event: A\r\nName: b"] * 3))
    assert found.items == [[("Event", "A"), ("Name", "b")]] * 2
    assert found.error == "Only the first 2 of 3 are kept."
    monkeypatch.setattr(snapshots_module, "MAX_CHARACTERS", 20)
    assert len(read_answer("X", reply("Response: Success", *["Event: A\r\nName: b"] * 3)).items) == 1
