"""How a fleet comes back: few logins at once, and nobody waits for those that are hopeless."""

from __future__ import annotations

import asyncio

from ami_integration.ami import ConnectRefused
from ami_integration.events.entrance import BACKOFF, Entrance


async def test_only_so_many_log_in_at_once() -> None:
    entrance = Entrance(logins=3, hopeless_logins=5)
    inside = most = 0

    async def log_in() -> None:
        nonlocal inside, most
        async with entrance.admit(0):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(log_in() for _ in range(50)))
    assert most == 3


async def test_servers_that_cannot_be_reached_hold_up_nobody_else() -> None:
    entrance = Entrance(logins=1, hopeless_logins=1)
    async with entrance.admit(7):
        async with asyncio.timeout(5):
            async with entrance.admit(0):
                pass


def test_after_a_cut_all_try_again_within_half_a_minute() -> None:
    error = ConnectRefused("nobody there")
    assert max(BACKOFF.delay(failures, error, 1.0) for failures in range(1, 100)) <= 15
    assert BACKOFF.delay(50, error, 0.0) < BACKOFF.delay(50, error, 0.9)  # not all in the same moment
