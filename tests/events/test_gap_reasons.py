"""Why a session ended, and what that cost: told apart on simulated PBXs."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from asgiref.sync import sync_to_async

from ami_integration.ami import TCP
from ami_integration.events.models import Event, Gap
from ami_integration.servers.models import Server, ServerHealth
from tests.events.listening import Running
from tests.servers.factories import make_server
from tests.simulator.fixtures import Simulator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def server(running: Running, simulator: Simulator) -> Server:
    """A server that is listened to."""
    server = await sync_to_async(make_server)(
        TCP(simulator.host, simulator.port), username=simulator.username, secret=simulator.secret
    )
    running.start()
    await running.until(
        lambda: ServerHealth.objects.filter(server=server, state="online").exists(), what="it is online"
    )
    return server


async def ended(running: Running) -> Gap:
    found: Gap = await running.until(
        Gap.objects.filter(ended_at__isnull=False).first, what="the gap has ended", seconds=45
    )
    return found


async def test_a_session_that_is_kicked_is_a_lost_connection(
    running: Running, server: Server, simulator: Simulator
) -> None:
    await asyncio.to_thread(simulator.kick)
    gap = await ended(running)
    assert gap.reason == Gap.Reason.DISCONNECTED
    assert (gap.lost, gap.lost_kind) == (None, "unknown")  # too early to say how much it sends


async def test_a_pbx_that_is_shut_down_says_so(
    running: Running, server: Server, simulator: Simulator
) -> None:
    def shut_down() -> None:
        simulator.emit("Shutdown", [("Shutdown", "Cleanly"), ("Restart", "False")], "system")
        simulator.stop()
        simulator.start()

    await asyncio.to_thread(shut_down)
    gap = await ended(running)
    assert gap.reason == Gap.Reason.DISCONNECTED
    assert gap.detail.startswith("Asterisk was shut down. ")


async def test_a_session_that_was_cut_while_the_listener_was_behind_is_told_apart(
    running: Running, server: Server, simulator: Simulator
) -> None:
    flood = threading.Thread(
        target=simulator.emit, args=("UserEvent", [("Body", "x" * 10_000)], "user"), kwargs={"times": 3_000}
    )
    flood.start()
    time.sleep(3.0)  # noqa: ASYNC251 - the fault itself: the listener's loop stands still
    await asyncio.to_thread(flood.join)
    gap = await ended(running)
    assert gap.reason == Gap.Reason.CUT, gap.detail
    assert "writetimeout" in gap.detail
    stored = await running.look(lambda: Event.objects.filter(id__lte=gap.after_id).count())
    assert stored > 100  # what the kernel held was read to the end


async def test_what_a_gap_cost_is_estimated_from_the_rate_before_it(
    running: Running, server: Server, simulator: Simulator
) -> None:
    stop = threading.Event()

    def talk() -> None:
        while not stop.wait(0.02):
            simulator.emit("UserEvent", [("Body", "x")], "user")

    talking = threading.Thread(target=talk)
    talking.start()
    try:
        await running.until(lambda: known(running), what="the rate is known", seconds=30)
        await asyncio.to_thread(simulator.kick)
        gap = await ended(running)
    finally:
        stop.set()
        await asyncio.to_thread(talking.join)
    assert gap.lost_kind == "estimated"
    assert 0 <= gap.lost <= 50 * gap.lasts(now=gap.ended_at) + 1


def known(running: Running) -> bool:
    [(listener, _)] = running.listeners
    assert listener._work is not None
    return all(session._rate.per_second is not None for session in listener._work.sessions())
