"""The actions on conferences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ami_integration.simulator.actions.action import Handler
from ami_integration.simulator.calls import Kicked
from ami_integration.simulator.channels import Channel
from ami_integration.simulator.company import Conference
from ami_integration.simulator.conferencing import mute
from ami_integration.simulator.wire import Header

if TYPE_CHECKING:
    from ami_integration.simulator.requests import Request
    from ami_integration.simulator.session import Session

# The office's conferences have no admins, so these two words mean the same.
_EVERYBODY = ("all", "participants")


def _conference_of(session: Session, request: Request, *, channel: bool = False) -> Conference | None:
    """The conference that is meant; None if there was something to say against it."""
    name, conferences = request.get("Conference"), session.pbx.office.conferences
    if not name:
        session.respond_error(request, "No Conference name provided.")
    elif channel and not request.get("Channel"):
        session.respond_error(request, "No channel name provided.")
    elif not conferences:
        session.respond_error(request, "No active conferences.")
    elif name not in conferences:
        session.respond_error(request, "No Conference by that name found.")
    else:
        return conferences[name]
    return None


def _yes(value: bool) -> str:
    return "Yes" if value else "No"


async def list_rooms(session: Session, request: Request) -> None:
    conferences = session.pbx.office.conferences
    if not conferences:
        session.respond_error(request, "No active conferences.")
        return
    items: list[tuple[str, list[Header]]] = []
    for conference in conferences.values():
        parties = ("Parties", str(len(conference.channels)))
        flags: list[Header] = [("Marked", "0"), ("Locked", "No"), ("Muted", "No")]
        items.append(("ConfbridgeListRooms", [("Conference", conference.room), parties, *flags]))
    session.respond_list(request, "Confbridge conferences will follow", items, "ConfbridgeListRoomsComplete")


async def list_channels(session: Session, request: Request) -> None:
    conference = _conference_of(session, request)
    if conference is None:
        return
    office = session.pbx.office
    items: list[tuple[str, list[Header]]] = []
    for channel in conference.channels:
        about: list[Header] = [
            ("Conference", conference.room),
            ("Admin", "No"),
            ("MarkedUser", "No"),
            ("WaitMarked", "No"),
            ("EndMarked", "No"),
            ("EndMarkedAny", "No"),
            ("Waiting", "No"),
            ("Muted", _yes(channel in conference.muted)),
            ("Talking", "No"),
            ("AnsweredTime", str(int(office.time - channel.answered))),
        ]
        items.append(("ConfbridgeList", [*about, *channel.snapshot()]))
    session.respond_list(request, "Confbridge user list will follow", items, "ConfbridgeListComplete")


async def kick(session: Session, request: Request) -> None:
    conference, name = _conference_of(session, request), request.get("Channel")
    if conference is None:
        return
    everybody = name.lower() in _EVERYBODY
    chosen = [channel for channel in conference.channels if everybody or channel.name.lower() == name.lower()]
    if not chosen:
        session.respond_error(request, "No Channel by that name found in Conference.")
        return
    for channel in chosen:
        channel.owner.interrupt(Kicked(channel, 0))
    everybody_gone = name.lower() == "all"
    session.respond(request, "Success", "All participants kicked" if everybody_gone else "User kicked")


async def mute_channel(session: Session, request: Request) -> None:
    _mute(session, request, True)


async def unmute_channel(session: Session, request: Request) -> None:
    _mute(session, request, False)


def _mute(session: Session, request: Request, muted: bool) -> None:
    conference = _conference_of(session, request, channel=True)
    if conference is None:
        return
    name = request.get("Channel")
    chosen: list[Channel] = [
        channel
        for channel in conference.channels
        if name.lower() in _EVERYBODY or channel.name.lower().startswith(name.lower())
    ]
    if not chosen:
        session.respond_error(request, "No Channel by that name found in Conference.")
        return
    mute(session.pbx.office, conference, chosen if name.lower() in _EVERYBODY else chosen[:1], muted)
    session.respond(request, "Success", "User muted" if muted else "User unmuted")


HANDLERS: dict[str, Handler] = {
    "ConfbridgeKick": kick,
    "ConfbridgeList": list_channels,
    "ConfbridgeListRooms": list_rooms,
    "ConfbridgeMute": mute_channel,
    "ConfbridgeUnmute": unmute_channel,
}
