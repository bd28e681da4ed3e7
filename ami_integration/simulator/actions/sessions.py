"""The actions that concern the session itself: login, events, the CLI."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ami_integration.simulator import cli
from ami_integration.simulator.actions.action import Handler, SessionClosed
from ami_integration.simulator.catalogue import DESCRIPTIONS
from ami_integration.simulator.wire import Event, EventClass, Header, encode, privilege_text

if TYPE_CHECKING:
    from ami_integration.simulator.requests import Request
    from ami_integration.simulator.session import Session


async def ping(session: Session, request: Request) -> None:
    session.respond(
        request, "Success", headers=[("Ping", "Pong"), ("Timestamp", f"{session.pbx.clock():.6f}")]
    )


async def challenge(session: Session, request: Request) -> None:
    if request.get("AuthType").lower() == "md5":
        session.respond(request, "Success", headers=[("Challenge", session.make_challenge())])
    else:
        session.respond_error(request, "Must specify AuthType")


async def login(session: Session, request: Request) -> None:
    await asyncio.sleep(session.pbx.faults.slow_login)
    if session.account is not None:
        session.respond(request, "Success", "Already authenticated")
    elif session.log_in(request):
        session.respond(request, "Success", "Authentication accepted")
        session.begin(request)
    else:
        await asyncio.sleep(session.pbx.limits.login_failed_pause)
        session.respond_error(request, "Authentication failed")
        raise SessionClosed


async def logoff(session: Session, request: Request) -> None:
    session.respond(request, "Goodbye", "Thanks for all the fish.")
    raise SessionClosed


async def events(session: Session, request: Request) -> None:
    if session.set_mask(request.get("EventMask")):
        session.respond(request, "Success", headers=[("Events", "On" if session.mask else "Off")])
    else:
        session.respond_error(request, "Invalid event mask")


async def list_commands(session: Session, request: Request) -> None:
    lines: list[Header] = [
        (page.name, f"{page.synopsis}  (Priv: {privilege_text(page.classes)})")
        for page in DESCRIPTIONS
        if session.may(page.classes)
    ]
    session.respond(request, "Success", headers=lines)


async def command(session: Session, request: Request) -> None:
    line = request.get("Command")
    if not line:
        session.respond_error(request, "No command provided")
    elif cli.is_blacklisted(line):
        session.respond_error(request, "Command blacklisted")
    else:
        output = cli.run(session.pbx, line)
        if session.pbx.faults.old_command:
            session.answer(request, old_command(request, output.lines))
            return
        session.respond(
            request,
            "Success" if output.success else "Error",
            "Command output follows",
            [("Output", text) for text in output.lines],
        )


def old_command(request: Request, lines: list[str]) -> bytes:
    """As Asterisk 13 and older: no blank line between headers and output, and an end of its own."""
    head = [("Response", "Follows"), ("Privilege", "Command"), ("ActionID", request.action_id)]
    text = encode([(name, value) for name, value in head if value]).removesuffix(b"\r\n")
    output = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    return text + output + b"--END COMMAND--\r\n\r\n"


async def user_event(session: Session, request: Request) -> None:
    # Asterisk passes on every line but these two, whatever it is.
    lines = [line for line in request.lines if not line.lower().startswith(("action:", "userevent:"))]
    session.respond(request, "Success", "Event Sent")
    session.pbx.publish(
        Event("UserEvent", EventClass.USER, (("UserEvent", request.get("UserEvent")),), tuple(lines))
    )


HANDLERS: dict[str, Handler] = {
    "Challenge": challenge,
    "Command": command,
    "Events": events,
    "ListCommands": list_commands,
    "Login": login,
    "Logoff": logoff,
    "Ping": ping,
    "UserEvent": user_event,
}
