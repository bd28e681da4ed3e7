"""Since when a PBX runs, as the listener learns it from PBXs in other time zones and with few rights."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ami_integration.ami import AsyncAMIClient
from ami_integration.events.facts import NOT_ALLOWED, NOT_TOLD, facts_learn
from tests.ami.scripted import Peer, scripted

ZONE = ZoneInfo("America/St_Johns")  # half an hour off, with summer time


def a_pbx(
    wall: str, *, refuses: tuple[str, ...] = (), ahead: float = 0, zone: ZoneInfo = ZONE
) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.log_in()
        while (action := peer.hear()).name != "Logoff":
            if action.name in refuses:
                peer.answer(action, "Message: Permission denied", response="Error")
                continue
            match action.name:
                case "CoreSettings":
                    peer.answer(action, "AsteriskVersion: 22.10.0")
                case "CoreStatus":
                    date, _, clock = wall.partition(" ")
                    told = (f"Core{what}Date: {date}" for what in ("Startup", "Reload"))
                    times = (f"Core{what}Time: {clock}" for what in ("Startup", "Reload"))
                    peer.answer(action, *told, *times)
                case "Ping":
                    peer.answer(action, "Ping: Pong", f"Timestamp: {time.time() + ahead:.6f}")
                case "Getvar":
                    epoch = int(action.get("Variable", "").split("(")[1].split(",")[0])
                    offset = datetime.fromtimestamp(epoch, zone).strftime("%z")
                    peer.answer(action, f"Variable: {action.get('Variable')}", f"Value: {offset}")

    return script


async def learn(script: Callable[[Peer], None]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with scripted(script) as transport:
        async with AsyncAMIClient(transport, username="amiweb", secret="word") as session:
            async for facts in facts_learn(session, time.time):
                found |= facts
    return found


@pytest.mark.parametrize("wall", ["2026-01-15 12:00:30", "2026-07-15 12:00:30", "2026-03-08 03:10:00"])
async def test_a_wall_time_is_understood_in_the_pbxs_own_zone_in_winter_and_summer(wall: str) -> None:
    found = await learn(a_pbx(wall))
    expected = datetime.strptime(wall, "%Y-%m-%d %H:%M:%S").replace(tzinfo=ZONE)
    assert abs(found["booted_at"] - expected.astimezone(UTC)) < timedelta(seconds=5)
    assert abs(found["reloaded_at"] - expected.astimezone(UTC)) < timedelta(seconds=5)
    assert found["uptime_note"] == ""


async def test_what_is_told_by_a_clock_that_is_ahead_is_counted_on_ours() -> None:
    found = await learn(a_pbx("2026-01-15 12:05:00", ahead=300, zone=ZoneInfo("UTC")))
    assert abs(found["booted_at"] - datetime(2026, 1, 15, 12, 0, tzinfo=UTC)) < timedelta(seconds=5)


async def test_without_the_zone_the_wall_time_itself_is_told() -> None:
    found = await learn(a_pbx("2026-01-15 12:00:00", refuses=("Getvar",)))
    assert found["booted_at"].tzinfo is None
    assert abs(found["booted_at"] - datetime(2026, 1, 15, 12, 0)) < timedelta(seconds=5)  # noqa: DTZ001


async def test_a_login_that_may_not_ask_is_told_so_and_the_version_is_known_all_the_same() -> None:
    found = await learn(a_pbx("", refuses=("CoreStatus",)))
    assert found == {"asterisk_version": "22.10.0", "uptime_note": NOT_ALLOWED}


async def test_what_is_no_time_is_told_so() -> None:
    found = await learn(a_pbx("yesterday evening"))
    assert found == {"asterisk_version": "22.10.0", "uptime_note": NOT_TOLD}
