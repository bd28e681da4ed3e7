"""The listener against simulated PBXs, with the real stream, store and leases."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis
from asgiref.sync import sync_to_async
from cryptography.fernet import Fernet
from django.db import OperationalError

from ami_integration.events import session as session_module
from ami_integration.events import work as work_module
from ami_integration.events.listener import Listener
from ami_integration.events.models import Event, Gap
from ami_integration.events.session import Session
from ami_integration.events.stream import LEASES, WRITTEN
from ami_integration.servers.models import Server, ServerHealth
from tests.events.listening import PBX, PROMISE, SECRET, Running
from tests.processes import Valkey
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db(transaction=True)

State = ServerHealth.State


Make = Callable[..., Awaitable[Server]]


@pytest.fixture
def make() -> Make:
    """Store a server that points to a simulated PBX."""

    async def make(pbx: PBX, **values: Any) -> Server:
        values = {"host": "127.0.0.1", "port": pbx.port, "secret": SECRET, "simulated": True} | values
        return await sync_to_async(make_server)(**values)

    return make


def numbers(server: Server) -> list[int]:
    events = Event.objects.filter(server=server, name="Counted").order_by("id")
    return [int(dict(event.headers)["Number"]) for event in events]


def state(server: Server) -> str:
    health = ServerHealth.objects.filter(server=server).first()
    return health.state if health else ""


def sessions(listener: Listener) -> dict[int, Session]:
    return (
        {session.target.server_id: session for session in listener._work.sessions()} if listener._work else {}
    )


async def online(running: Running, server: Server) -> None:
    await running.until(lambda: state(server) == State.ONLINE, what=f"{server.name} is online")


async def test_events_are_stored_in_order_with_the_time_of_their_reading(
    running: Running, pbx: PBX, make: Make
) -> None:
    server = await make(pbx)
    running.start()
    await online(running, server)
    before = time.time()
    pbx.say(1200)
    await running.until(lambda: len(numbers(server)) == 1200, what="all events are stored")
    assert await running.look(lambda: numbers(server)) == list(range(1200))
    event = await running.look(lambda: Event.objects.filter(name="Counted").earliest("id"))
    assert before - 1 < event.at.timestamp() < time.time() + 1
    assert not await running.look(Gap.objects.exists)


async def test_health_tells_version_and_that_the_server_was_seen(
    running: Running, pbx: PBX, make: Make
) -> None:
    server = await make(pbx)
    running.start()
    await running.until(
        lambda: ServerHealth.objects.filter(server=server).exclude(asterisk_version="").exists(),
        what="the version is known",
    )
    health = await running.look(lambda: ServerHealth.objects.get(server=server))
    assert health.state == State.ONLINE
    assert health.ami_version == pbx.ami_version
    assert health.last_seen_at is not None


async def test_a_pbx_that_stops_and_starts_leaves_a_gap_and_events_flow_again(
    running: Running, pbx: PBX, make: Make
) -> None:
    server = await make(pbx)
    running.start()
    await online(running, server)
    pbx.say(10)
    await running.until(lambda: len(numbers(server)) == 10, what="the first events are stored")
    await pbx.stop()
    gap = await running.until(Gap.objects.open().first, what="the gap has begun")
    await running.until(lambda: state(server) == State.OFFLINE, what="the server is offline")
    assert gap.reason == Gap.Reason.DISCONNECTED
    assert gap.after_id == (await running.look(lambda: Event.objects.latest("id"))).pk
    await pbx.start()
    await running.until(
        lambda: Gap.objects.get().ended_at, what="the gap has ended", seconds=60
    )  # the client's backoff grows
    await online(running, server)
    pbx.say(10)
    await running.until(lambda: len(numbers(server)) == 20, what="events flow again")
    gap = await running.look(Gap.objects.get)
    first_after = await running.look(lambda: Event.objects.filter(id__gt=gap.after_id).earliest("id"))
    assert gap.after_id < gap.before_id <= first_after.pk
    assert gap.ended_at > gap.started_at


async def test_servers_added_changed_disabled_and_deleted_are_followed_without_a_restart(
    running: Running, pbx: PBX, make: Make
) -> None:
    other = PBX()
    await other.start()
    try:
        running.start()
        server = await make(pbx)
        await online(running, server)  # added
        assert len(pbx.sessions) == 1

        await running.look(lambda: Server.objects.filter(pk=server.pk).update(port=other.port))
        await running.until(lambda: other.sessions and not pbx.sessions, what="the other port is used")

        await running.look(lambda: Server.objects.filter(pk=server.pk).update(enabled=False))
        await running.until(lambda: not other.sessions, what="the session is closed")
        await running.until(lambda: state(server) == State.DISABLED, what="the state says so")
        gap = await running.until(lambda: Gap.objects.latest("id"), what="a gap has begun")
        assert gap.reason == Gap.Reason.DISABLED

        await running.look(lambda: Server.objects.filter(pk=server.pk).update(enabled=True))
        await running.until(lambda: other.sessions, what="the session is back")
        await running.until(lambda: not Gap.objects.open().exists(), what="the gaps have ended")
        reasons = await running.look(lambda: list(Gap.objects.values_list("reason", flat=True)))
        assert sorted(reasons) == [Gap.Reason.DISABLED, Gap.Reason.RECONFIGURED]

        await running.look(lambda: Server.objects.get(pk=server.pk).delete())
        await running.until(lambda: not other.sessions, what="nobody listens to what was deleted")
        assert not await running.look(Gap.objects.open().exists)
    finally:
        await other.stop()


async def test_a_new_name_does_not_cost_the_session(running: Running, pbx: PBX, make: Make) -> None:
    server = await make(pbx)
    listener = running.start()
    await online(running, server)
    [before] = pbx.sessions
    await running.look(lambda: Server.objects.filter(pk=server.pk).update(name="Renamed"))
    await running.until(
        lambda: sessions(listener)[server.pk].target.name == "Renamed", what="the listener knows"
    )
    assert pbx.sessions == {before}


async def test_a_wrong_secret_is_told_and_not_tried_again_soon_and_the_right_one_is_used_at_once(
    running: Running, pbx: PBX, make: Make
) -> None:
    server = await make(pbx, secret="wrong")
    running.start()
    await running.until(lambda: state(server) == State.LOGIN_FAILED, what="the state says so")
    health = await running.look(lambda: ServerHealth.objects.get(server=server))
    assert "Authentication failed" in health.last_error
    assert "wrong" not in health.last_error
    first = health.last_error_at
    await asyncio.sleep(work_module.LOOK_SECONDS + 0.5)  # looks of the listener, and no new attempt
    health = await running.look(lambda: ServerHealth.objects.get(server=server))
    assert health.last_error_at == first

    def mend() -> None:
        mended = Server.objects.get(pk=server.pk)
        mended.secret = SECRET
        mended.save()

    await running.look(mend)
    await online(running, server)


async def test_an_unreadable_secret_is_a_state_of_its_own(
    running: Running, pbx: PBX, make: Make, settings: Any
) -> None:
    server = await make(pbx)
    settings.AMIWEB_ENCRYPTION_KEYS = {"other": Fernet.generate_key().decode()}
    running.start()
    await running.until(lambda: state(server) == State.SECRET_UNREADABLE, what="the state says so")
    health = await running.look(lambda: ServerHealth.objects.get(server=server))
    assert "AMIWEB_ENCRYPTION_KEYS" in health.last_error
    assert not pbx.sessions


async def test_a_state_in_which_nothing_happens_is_repeated_so_that_it_stays_known(
    running: Running, pbx: PBX, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_SAY_AGAIN", 0.1)
    server = await make(pbx, secret="wrong")
    running.start()
    await running.until(lambda: state(server) == State.LOGIN_FAILED, what="the state says so")
    first = await running.look(lambda: ServerHealth.objects.get(server=server))
    again = await running.until(
        lambda: ServerHealth.objects.filter(server=server, noted_at__gt=first.noted_at).first(),
        what="it is said again",
    )
    assert (again.state, again.changed_at, again.last_error_at) == (
        State.LOGIN_FAILED,
        first.changed_at,
        first.last_error_at,
    )


async def test_a_server_in_trouble_holds_up_no_other(running: Running, pbx: PBX, make: Make) -> None:
    await make(pbx, name="nowhere", host="192.0.2.1", port=9)
    await make(pbx, name="wrong", secret="wrong")
    server = await make(pbx, name="good")
    running.start()
    await online(running, server)
    pbx.say(5)
    await running.until(lambda: len(numbers(server)) == 5, what="its events are stored")


async def test_the_sessions_go_on_while_the_database_is_away(
    running: Running, pbx: PBX, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server = await make(pbx)
    running.start()
    await online(running, server)

    def away() -> None:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(work_module, "load_targets", away)
        await running.until(lambda: "the database is away" in caplog.text, what="the outage is logged")
        pbx.say(5)
        await running.until(lambda: len(numbers(server)) == 5, what="events come")
    await running.until(lambda: "over after" in caplog.text, what="the recovery is logged")
    assert not await running.look(Gap.objects.exists)


async def test_the_sessions_go_on_while_valkey_is_away_and_nothing_is_lost(
    running: Running, pbx: PBX, make: Make, valkey: Valkey
) -> None:
    server = await make(pbx)
    running.start(lease_seconds=1.0)
    await online(running, server)
    [before] = pbx.sessions
    pbx.say(5)
    await running.until(lambda: len(numbers(server)) == 5, what="the first events are stored")
    valkey.kill()
    pbx.say(5)
    await asyncio.sleep(1.5)  # longer than the lease lasts
    valkey.start()  # in this thread: the kernel would end it with the thread that started it
    pbx.say(5)

    def stored() -> bool:
        return len(numbers(server)) == 15

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):  # the recorder's own retrying is tested with it
            if await running.look(stored):
                break
        await asyncio.sleep(0.1)
    assert await running.look(lambda: numbers(server)) == list(range(15))
    assert pbx.sessions == {before}
    assert not await running.look(Gap.objects.exists)


async def test_a_valkey_that_refuses_is_told_of_once_and_asked_again_after_a_pause(
    running: Running,
    pbx: PBX,
    make: Make,
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = await make(pbx)
    redis_client.set(WRITTEN, "not a hash")
    redis_client.config_resetstat()

    def refusals() -> int:
        found: dict[str, Any] = redis_client.info("commandstats")
        return int(found.get("cmdstat_hget", {}).get("failed_calls", 0))

    running.start()
    deadline = time.monotonic() + 3 * PROMISE
    while not (first := refusals()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    began = time.monotonic()
    while refusals() < first + 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert time.monotonic() - began > 0.8  # one pause at least lies wholly between the two
    redis_client.delete(WRITTEN)
    await online(running, server)
    told = [record.getMessage() for record in caplog.records if "waits for it" in record.getMessage()]
    assert len(told) == 2, told  # its beginning and its end
    assert "WRONGTYPE" in told[0]


async def test_a_graceful_stop_loses_nothing_and_opens_a_gap_that_the_next_start_closes(
    running: Running, pbx: PBX, make: Make
) -> None:
    server = await make(pbx)
    running.start()
    await online(running, server)
    pbx.say(50)
    await running.until(lambda: numbers(server), what="events arrive")
    pbx.say(50)
    await asyncio.sleep(0)
    began = time.monotonic()
    await running.stop()
    assert time.monotonic() - began < 3 * PROMISE
    stored = await running.look(lambda: numbers(server))
    assert stored == list(range(len(stored)))
    gap = await running.look(Gap.objects.get)
    assert (gap.reason, gap.ended_at) == (Gap.Reason.LISTENER_STOPPED, None)
    assert gap.after_id == (await running.look(lambda: Event.objects.latest("id"))).pk
    assert await running.look(lambda: state(server)) == State.UNKNOWN
    assert not pbx.sessions

    running.start()
    await online(running, server)
    await running.until(lambda: Gap.objects.get().ended_at, what="the gap has ended")


async def test_after_a_kill_the_gap_begins_at_the_last_event_and_ids_go_on(
    running: Running, pbx: PBX, make: Make
) -> None:
    server = await make(pbx)
    running.start(lease_seconds=1.0)
    await online(running, server)
    pbx.say(10)
    await running.until(lambda: len(numbers(server)) == 10, what="the events are stored")
    last = await running.look(lambda: Event.objects.latest("id").pk)
    await running.kill()
    pbx.say(5)  # nobody hears these
    running.start(lease_seconds=1.0, clock=lambda: time.time() - 5)  # and this machine's clock is behind
    await running.until(
        lambda: Gap.objects.filter(ended_at__isnull=False).exists(), what="a session is back", seconds=30
    )
    pbx.say(10)
    await running.until(lambda: len(numbers(server)) == 20, what="events flow again")
    assert await running.look(lambda: numbers(server)) == [*range(10), *range(15, 25)]
    gap = await running.look(Gap.objects.get)
    assert (gap.reason, gap.after_id) == (Gap.Reason.LISTENER_STOPPED, last)


async def test_two_listeners_share_the_servers_and_a_graceful_stop_hands_over(
    running: Running, pbx: PBX, make: Make
) -> None:
    servers = [await make(pbx, name=f"pbx {number}") for number in range(16)]
    all_of_them = frozenset(server.pk for server in servers)
    first = running.start()
    await running.until(lambda: first.owned == all_of_them and len(pbx.sessions) == 16, what="all are ours")
    second = running.start()
    await running.until(
        lambda: second.owned and first.owned | second.owned == all_of_them and len(pbx.sessions) == 16,
        what="the second one has its part",
    )
    assert not first.owned & second.owned
    assert len(first.owned) == len(second.owned) == 8
    assert first.status()["listeners"] == second.status()["listeners"] == 2
    await running.until(lambda: not Gap.objects.open().exists(), what="the gaps of the hand-over have ended")
    gaps = await running.look(lambda: list(Gap.objects.all()))
    assert {gap.get_reason_display() for gap in gaps} == {"Handed over to another listener"}  # both ran
    pbx.say(10)
    await running.until(
        lambda: all(len(numbers(server)) == 10 for server in servers), what="events of all are stored"
    )
    first.stop()
    await running.until(lambda: second.owned == all_of_them, what="the second one has all")
    await running.until(lambda: len(pbx.sessions) == 16, what="and listens to them")
    await running.until(lambda: not Gap.objects.open().exists(), what="the gaps have ended")
    pbx.say(10)
    await running.until(
        lambda: all(numbers(server)[-10:] == list(range(10, 20)) for server in servers),
        what="events of all are stored again",
    )


async def test_of_a_server_whose_lease_was_taken_nothing_more_is_stored(
    running: Running, pbx: PBX, make: Make, redis_client: redis.Redis
) -> None:
    server = await make(pbx)
    listener = running.start()
    await online(running, server)
    redis_client.hset(LEASES, str(server.pk), "99 99999999999999 another")
    pbx.say(5)
    await running.until(lambda: not listener.owned and not pbx.sessions, what="the session is closed")
    assert not await running.look(lambda: numbers(server))
    redis_client.hset(LEASES, str(server.pk), "99 0 ")
    await running.until(lambda: listener.owned and pbx.sessions, what="it listens again")
    pbx.say(5)
    await running.until(lambda: numbers(server) == list(range(5, 10)), what="events are stored again")


async def test_a_listener_that_lost_its_slot_begins_anew_with_another(
    running: Running, pbx: PBX, make: Make, redis_client: redis.Redis
) -> None:
    server = await make(pbx)
    listener = running.start()
    await online(running, server)
    lost = listener.status()["slot"]
    redis_client.set(f"amiweb:lease:slot:{lost}", "another")
    pbx.say(5)
    await running.until(lambda: listener.status()["slot"] not in (lost, None), what="it has another slot")
    await running.until(lambda: len(pbx.sessions) == 1 and listener.owned, what="it listens again")
    await running.until(lambda: Gap.objects.filter(ended_at__isnull=False).exists(), what="the gap has ended")
    pbx.say(5)
    await running.until(lambda: numbers(server)[-5:] == list(range(5, 10)), what="events are stored again")


async def test_the_status_tells_what_it_does(running: Running, pbx: PBX, make: Make) -> None:
    server = await make(pbx)
    listener = running.start()
    await online(running, server)
    pbx.say(1000)
    await running.until(lambda: listener.status()["events_per_second"] > 0, what="it counts events")
    status = listener.status()
    assert 0 <= status.pop("slot") < 512
    assert status.pop("events_per_second") > 50
    assert status.pop("lag") < 5
    assert status == {
        "servers": 1, "online": 1, "listeners": 1, "waiting": 0, "waiting_bytes": 0, "dropped": 0,
    }  # fmt: skip


@pytest.mark.parametrize("reserved_for", [60.0, 0.0], ids=["soon", "late"])
async def test_the_end_of_a_gap_is_the_first_event_behind_it_however_late_that_comes(
    reserved_for: float, running: Running, pbx: PBX, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_RESERVED_FOR", reserved_for)
    server = await make(pbx)
    running.start()
    await online(running, server)
    pbx.say(3)
    await running.until(lambda: len(numbers(server)) == 3, what="the first events are stored")
    pbx.kick()
    gap = await running.until(Gap.objects.filter(ended_at__isnull=False).first, what="the gap has ended")
    await running.until(lambda: Event.objects.filter(id__gt=gap.after_id).exists(), what="events come again")
    ended_at = gap.ended_at
    gap = await running.look(Gap.objects.get)
    assert gap.ended_at == ended_at
    around = await running.look(
        lambda: (
            Event.objects.filter(id__lte=gap.after_id).latest("id").pk,
            Event.objects.filter(id__gt=gap.after_id).earliest("id").pk,
        )
    )
    assert around == (gap.after_id, gap.before_id)
    assert gap.after_id < gap.pk < gap.before_id
