"""What the listener asks a PBX about itself once it is logged in: its version, and since when it runs.

CoreStatus tells the PBX's wall time without its zone, which no action names; the dialplan function STRFTIME
knows it, for any moment, so summer time is right too. Where the login may not ask that (Getvar wants call or
reporting), the time zone of the server's settings has to do, and the page says so. Ping tells how far the
PBX's clock is from ours: what is kept is counted on our clock.
"""

import re
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from ami_integration.ami import AsyncAMIClient

#: Seconds for one answer.
TIMEOUT = 10.0
NOT_ALLOWED = (
    "The login may not ask since when Asterisk runs: add system or reporting to the write= line of its "
    "section in manager.conf, then “manager reload”."
)
NOT_TOLD = "Asterisk didn't tell since when it runs."
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)")


async def facts_learn(
    session: AsyncAMIClient, clock: Callable[[], float]
) -> AsyncGenerator[dict[str, Any], None]:
    """Ask, and yield what came of it: arguments for `server_health_set`, one after the other.

    Args:
        session: logged in.
        clock: seconds since 1970, ours.

    Raises:
        AMIError: the session ended, or is slow.
    """
    reply = await session.action("CoreSettings", timeout=TIMEOUT)
    if reply.success and (version := reply.response.get("AsteriskVersion", "")):
        yield {"asterisk_version": version}
    reply = await session.action("CoreStatus", timeout=TIMEOUT)
    if not reply.success:
        yield {"uptime_note": NOT_ALLOWED}
        return
    told = reply.response
    try:
        booted, reloaded = (
            datetime.strptime(
                f"{told.get(f'{what}Date', '')} {told.get(f'{what}Time', '')}", "%Y-%m-%d %H:%M:%S"
            )
            for what in ("CoreStartup", "CoreReload")
        )
        ahead = await _ahead(session, clock)
        yield {
            "booted_at": await _moment(session, booted, ahead),
            "reloaded_at": await _moment(session, reloaded, ahead),
            "uptime_note": "",
        }
    except (ValueError, OverflowError):
        yield {"uptime_note": NOT_TOLD}


async def _ahead(session: AsyncAMIClient, clock: Callable[[], float]) -> timedelta:
    """How far the PBX's clock is ahead of ours, nothing where it doesn't tell."""
    sent_at = clock()
    reply = await session.action("Ping", timeout=TIMEOUT)
    told = reply.response.get("Timestamp", "")
    return timedelta(seconds=float(told) - (sent_at + clock()) / 2) if told else timedelta()


async def _moment(session: AsyncAMIClient, wall: datetime, ahead: timedelta) -> datetime:
    """A wall time of the PBX as a moment on our clock; naive still, where the PBX doesn't tell its zone."""
    offset = timedelta()
    for _ in range(2):  # the zone's offset then, which needs a moment that is nearly right
        epoch = int((wall - offset).replace(tzinfo=UTC).timestamp())
        reply = await session.action("Getvar", {"Variable": f"STRFTIME({epoch},,%z)"}, timeout=TIMEOUT)
        found = _OFFSET.fullmatch(reply.response.get("Value", ""))
        if not reply.success or found is None:
            return wall - ahead
        offset = timedelta(hours=int(found[2]), minutes=int(found[3])) * (-1 if found[1] == "-" else 1)
    return (wall - offset).replace(tzinfo=UTC) - ahead
