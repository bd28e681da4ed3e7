"""Since when a real Asterisk runs, as the listener learns it: whatever its time zone and clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ami_integration.ami import TCP, TLS, AsyncAMIClient
from ami_integration.events.facts import NOT_ALLOWED, facts_learn
from tests.pbx.asterisk import Asterisk

pytestmark = pytest.mark.pbx


async def learn(asterisk: Asterisk, username: str = "admin", *, ahead: float = 0) -> dict[str, Any]:
    found: dict[str, Any] = {}
    way = TCP(asterisk.host, asterisk.port)
    async with AsyncAMIClient(way, username=username, secret=asterisk.users[username][1]) as session:
        async for facts in facts_learn(session, lambda: time.time() + ahead):
            found |= facts
        found["status"] = (await session.action("CoreStatus")).response
    return found


async def test_a_real_asterisk_tells_its_version_start_and_reload_to_the_minute(asterisk: Asterisk) -> None:
    found = await learn(asterisk)
    assert found["asterisk_version"].startswith(asterisk.version)
    assert found["uptime_note"] == ""
    now = datetime.now(UTC)
    for name in ("booted_at", "reloaded_at"):
        # The tests' own Asterisk was started a short while ago.
        assert now - timedelta(hours=1) < found[name] <= now + timedelta(seconds=1)
    told = found["status"]
    wall = f"{told.get('CoreStartupDate')} {told.get('CoreStartupTime')}"
    local = datetime.strptime(wall, "%Y-%m-%d %H:%M:%S").astimezone()
    assert abs(found["booted_at"] - local) < timedelta(minutes=1)


async def test_a_start_is_told_on_our_clock_where_the_pbxs_is_off(asterisk: Asterisk) -> None:
    right = (await learn(asterisk))["booted_at"]
    found = (await learn(asterisk, ahead=3600))["booted_at"]
    assert abs(found - right - timedelta(hours=1)) < timedelta(seconds=5)


async def test_a_login_that_may_not_ask_is_told_what_to_change(asterisk: Asterisk) -> None:

    found = await learn(asterisk, "readonly")
    assert found["uptime_note"] == NOT_ALLOWED


async def test_a_session_over_tls_knows_the_certificate_that_it_accepted(asterisk22: Asterisk) -> None:
    username, secret = asterisk22.users["admin"]
    way = TLS("localhost", asterisk22.tls_port, ca_file=str(asterisk22.ca_file))
    async with AsyncAMIClient(way, username=username, secret=secret) as session:
        assert session.certificate is not None
        assert session.certificate.not_after is not None
    assert session.certificate is None
