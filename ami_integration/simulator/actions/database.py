"""The actions on Asterisk's own small database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ami_integration.simulator.actions.action import Handler
from ami_integration.simulator.wire import Header

if TYPE_CHECKING:
    from ami_integration.simulator.requests import Request
    from ami_integration.simulator.session import Session


def _entry_of(session: Session, request: Request, end: str = ".") -> tuple[str, str] | None:
    """Family and key; None if one was missing and that was answered."""
    for name in ("Family", "Key"):
        if not request.get(name):
            session.respond_error(request, f"No {name.lower()} specified{end}")
            return None
    return request.get("Family"), request.get("Key")


async def put(session: Session, request: Request) -> None:
    entry = _entry_of(session, request, "")
    if entry is not None:
        session.pbx.office.database.put(*entry, request.get("Val"))
        session.respond(request, "Success", "Updated database successfully")


async def get(session: Session, request: Request) -> None:
    entry = _entry_of(session, request)
    if entry is None:
        return
    value = session.pbx.office.database.get(*entry)
    if value is None:
        session.respond_error(request, "Database entry not found")
        return
    items: list[tuple[str, list[Header]]] = [
        ("DBGetResponse", [("Family", entry[0]), ("Key", entry[1]), ("Val", value)])
    ]
    session.respond_list(request, "Result will follow", items, "DBGetComplete", action_id_last=True)


async def get_tree(session: Session, request: Request) -> None:
    found = session.pbx.office.database.tree(request.get("Family"), request.get("Key"))
    items: list[tuple[str, list[Header]]] = [
        ("DBGetTreeResponse", [("Key", path), ("Val", value)]) for path, value in found
    ]
    session.respond_list(request, "Result will follow", items, "DBGetTreeComplete", action_id_last=True)


async def delete(session: Session, request: Request) -> None:
    entry = _entry_of(session, request)
    if entry is None:
        return
    if session.pbx.office.database.delete(*entry):
        session.respond(request, "Success", "Key deleted successfully")
    else:
        session.respond_error(request, "Database entry could not be deleted")


async def delete_tree(session: Session, request: Request) -> None:
    family, key = request.get("Family"), request.get("Key")
    if not family:
        session.respond_error(request, "No family specified.")
    elif session.pbx.office.database.delete_tree(family, key):
        session.respond(request, "Success", "Key tree deleted successfully")
    else:
        session.respond_error(request, "Database entry not found")


HANDLERS: dict[str, Handler] = {
    "DBDel": delete,
    "DBDelTree": delete_tree,
    "DBGet": get,
    "DBGetTree": get_tree,
    "DBPut": put,
}
