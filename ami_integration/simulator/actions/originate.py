"""Originate: the checks of its request, in Asterisk's order and words."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from ami_integration.simulator import originating
from ami_integration.simulator.actions.action import Handler, is_true
from ami_integration.simulator.channels import UNKNOWN
from ami_integration.simulator.wire import EventClass, Header

if TYPE_CHECKING:
    from ami_integration.simulator.requests import Request
    from ami_integration.simulator.session import Session

MAX_PUBLIC_UNIQUEID = 149
# Applications that run programs of the machine: with them, an Originate needs class system besides.
_NEEDS_SYSTEM = ("agi", "deadagi", "eagi", "eval", "exec", "externalivr", "mixmonitor", "system", "trysystem")


async def originate(session: Session, request: Request) -> None:
    try:
        wanted = _read_originate(session, request)
    except ValueError as error:
        session.respond_error(request, str(error))
        return
    office = session.pbx.office
    if is_true(request.get("Async")):
        wanted.done = originating.tell_outcome(office, request.action_id)
        originating.originate(office, wanted)
        session.respond(request, "Success", "Originate successfully queued")
        return
    answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def settle(done: originating.Originate, success: bool, reason: int) -> None:
        if not answered.done():
            answered.set_result(success)

    wanted.done = settle
    originating.originate(office, wanted)
    if await answered:
        session.respond(request, "Success", "Originate successfully queued")
    else:
        session.respond_error(request, "Originate failed")


def _read_originate(session: Session, request: Request) -> originating.Originate:
    """The request as an Originate. Raises ValueError with Asterisk's sentence."""
    channel, application = request.get("Channel"), request.get("Application")
    context, exten, priority_text = request.get("Context"), request.get("Exten"), request.get("Priority")
    timeout_text = request.get("Timeout")
    if not channel:
        raise ValueError("Channel not specified")
    priority = 0
    if priority_text and priority_text != "n":
        number = re.match(r"\s*([+-]?[0-9]+)", priority_text)
        if number is None:
            raise ValueError("Invalid priority")
        priority = int(number.group(1))
    milliseconds = re.match(r"\s*(-?[0-9]+)", timeout_text or "30000")
    if milliseconds is None:
        raise ValueError("Invalid timeout")
    timeout = int(milliseconds.group(1)) / 1000
    if "/" not in channel:
        raise ValueError("Invalid channel")
    for name in ("ChannelId", "OtherChannelId"):
        if len(request.get(name).encode("utf-8", "surrogateescape")) > MAX_PUBLIC_UNIQUEID:
            raise ValueError(f"Uniqueid length exceeds maximum of {MAX_PUBLIC_UNIQUEID}\n")
    if application:
        may = session.account is not None and bool(session.account.write & EventClass.SYSTEM)
        if not may and application.lower() in _NEEDS_SYSTEM:
            raise ValueError(
                "Originate with certain 'Application' arguments requires the additional System privilege, "
                "which you do not have."
            )
    elif not (exten and context and priority):
        raise ValueError("Originate with 'Exten' requires 'Context' and 'Priority'")
    elif not session.pbx.office.extension_exists(context, exten, priority):
        raise ValueError("Extension does not exist.")
    return originating.Originate(
        channel=channel,
        context=context,
        exten=exten,
        priority=priority or 1,
        application=application,
        data=request.get("Data"),
        timeout=timeout if timeout > 0 else 30.0,
        caller=read_caller_id(request.get("CallerID")),
        account=request.get("Account"),
        variables=read_variables(request.getall("Variable")),
        channel_id=request.get("ChannelId"),
        other_channel_id=request.get("OtherChannelId"),
    )


def read_caller_id(text: str) -> tuple[str, str] | None:
    """Number and name of ``Name <number>``, of a number alone, or None."""
    if not text:
        return None
    match = re.fullmatch(r'\s*"?(.*?)"?\s*<([^<>]*)>\s*', text)
    if match:
        return match.group(2), match.group(1) or UNKNOWN
    if re.fullmatch(r"[0-9*#+(). -]+", text):
        return text.strip(), UNKNOWN
    return UNKNOWN, text.strip()


def read_variables(values: list[str]) -> list[Header]:
    """The variables of all ``Variable`` headers, in the order of Asterisk's setting them: the last first."""
    found: list[Header] = []
    for value in values:
        for part in split_arguments(value)[:64]:
            name, equals, text = part.partition("=")
            if equals:
                found.append((name, text))
    return found[::-1]


def split_arguments(text: str) -> list[str]:
    """Split at commas outside quotes, parentheses, brackets; takes out quotes and backslashes (app.c)."""
    parts, current, quoted, escaped, depth = [], "", False, False, 0
    for letter in text:
        if escaped:
            current += letter
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted and depth == 0:
            parts.append(current)
            current = ""
        else:
            if not quoted:
                depth = max(0, depth + (letter in "([") - (letter in ")]"))
            current += letter
    return [*parts, current]


HANDLERS: dict[str, Handler] = {"Originate": originate}
