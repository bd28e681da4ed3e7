"""The actions on channels: end them, send them elsewhere, read and set their variables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ami_integration.simulator.actions.action import Handler
from ami_integration.simulator.calls import Place
from ami_integration.simulator.channels import Channel
from ami_integration.simulator.redirecting import redirect as send
from ami_integration.simulator.variables import set_variable, variable_of
from ami_integration.simulator.wire import Header

if TYPE_CHECKING:
    from ami_integration.simulator.requests import Request
    from ami_integration.simulator.session import Session


async def hang_up(session: Session, request: Request) -> None:
    name, cause_text = request.get("Channel"), request.get("Cause")
    if not name:
        session.respond_error(request, "No channel specified")
        return
    cause = int(cause_text) if cause_text.isascii() and cause_text.isdigit() and int(cause_text) <= 127 else 0
    channels = session.pbx.office.switch.channels
    if name.startswith("/") and name.endswith("/") and len(name) > 1:
        try:
            pattern = re.compile(name[1:-1])
        except re.error:
            session.respond_error(request, f"Regex compile failed on: {name}")
            return
        chosen = [channel for channel in channels.values() if pattern.search(channel.name)]
        items: list[tuple[str, list[Header]]] = [
            ("ChannelHungup", [("Channel", channel.name)]) for channel in chosen
        ]
        session.respond_list(
            request, "Channels hung up will follow", items, "ChannelsHungupListComplete", action_id_last=True
        )
    else:
        channel = session.pbx.office.switch.find(name)
        if channel is None:
            session.respond_error(request, "No such channel")
            return
        chosen = [channel]
        session.respond(request, "Success", "Channel Hungup")
    for channel in chosen:
        channel.owner.hang_up_requested(channel, cause)


async def redirect(session: Session, request: Request) -> None:
    try:
        place, extra_place = _places_of(request)
        channel = _channel_of(session, request, "Channel")
        extra = _channel_of(session, request, "ExtraChannel") if request.get("ExtraChannel") else None
    except ValueError as error:
        session.respond_error(request, str(error))
        return
    office = session.pbx.office
    send(office, channel, place)
    if extra is None:
        session.respond(request, "Success", "Redirect successful")
    else:
        send(office, extra, extra_place or place)
        session.respond(request, "Success", "Dual Redirect successful")


def _places_of(request: Request) -> tuple[Place, Place | None]:
    """Where the channel, and the second one, are to go. Raises ValueError with Asterisk's sentence."""
    for name in ("Channel", "Context", "Exten", "Priority"):
        if not request.get(name):
            raise ValueError(f"{name} not specified")
    place = Place(request.get("Context"), request.get("Exten"), _priority_of(request, "Priority"))
    if not request.get("ExtraChannel") or not request.get("ExtraContext"):
        return place, None
    for name in ("ExtraExten", "ExtraPriority"):
        if not request.get(name):
            raise ValueError(f"{name} not specified")
    number = _priority_of(request, "ExtraPriority")
    return place, Place(request.get("ExtraContext"), request.get("ExtraExten"), number)


def _priority_of(request: Request, name: str) -> int:
    # No extension of the office has a label.
    number = re.match(r"\s*([+-]?[0-9]+)", request.get(name))
    if number is None:
        raise ValueError(f"{name} is invalid")
    return int(number.group(1))


def _channel_of(session: Session, request: Request, header: str) -> Channel:
    name = request.get(header)
    channel = session.pbx.office.switch.find(name)
    if channel is None:
        raise ValueError(f"{header} does not exist: {name}")
    return channel


async def getvar(session: Session, request: Request) -> None:
    found = _variable_asked(session, request)
    if found is not None:
        channel, variable = found
        value = variable_of(session.pbx.office, channel, variable) or ""
        session.respond(request, "Success", headers=[("Variable", variable), ("Value", value)])


async def setvar(session: Session, request: Request) -> None:
    found = _variable_asked(session, request)
    if found is None:
        return
    channel, variable = found
    if set_variable(session.pbx.office, channel, variable, request.get("Value")):
        session.respond(request, "Success", "Variable Set")
    else:
        session.respond_error(request, "Variable not set")


def _variable_asked(session: Session, request: Request) -> tuple[Channel | None, str] | None:
    """The channel, if one is named, and the variable; None if it was answered with an error."""
    name, variable = request.get("Channel"), request.get("Variable")
    channel = session.pbx.office.switch.find(name) if name else None
    if not variable:
        session.respond_error(request, "No variable specified")
    elif name and channel is None:
        session.respond_error(request, "No such channel")
    else:
        return channel, variable
    return None


HANDLERS: dict[str, Handler] = {
    "Getvar": getvar,
    "Hangup": hang_up,
    "Redirect": redirect,
    "Setvar": setvar,
}
