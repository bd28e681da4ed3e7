"""The actions that tell of devices, hints and endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ami_integration.simulator import endpoints
from ami_integration.simulator.actions.action import Handler
from ami_integration.simulator.wire import Header

if TYPE_CHECKING:
    from ami_integration.simulator.requests import Request
    from ami_integration.simulator.session import Session

_Items = list[tuple[str, list[Header]]]


async def device_state_list(session: Session, request: Request) -> None:
    office = session.pbx.office
    devices = {
        phone.device: office.switch.known_device_state(phone.device) for phone in office.phones.values()
    }
    devices |= office.switch.devices
    items: _Items = [
        ("DeviceStateChange", [("Device", device), ("State", state)]) for device, state in devices.items()
    ]
    session.respond_list(request, "Device State Changes will follow", items, "DeviceStateListComplete")


async def extension_state(session: Session, request: Request) -> None:
    office, exten, context = session.pbx.office, request.get("Exten"), request.get("Context") or "default"
    if not exten:
        session.respond_error(request, "Extension not specified")
        return
    phone = office.phones.get(exten) if context == "office" else None
    about: list[Header] = [("Exten", exten), ("Context", context), ("Hint", phone.device if phone else "")]
    state = office.hint_state(phone) if phone else [("Status", "-1"), ("StatusText", "Unknown")]
    session.respond(request, "Success", "Extension Status", [*about, *state])


async def extension_state_list(session: Session, request: Request) -> None:
    office = session.pbx.office
    items: _Items = []
    for phone in office.phones.values():
        about: list[Header] = [("Exten", phone.number), ("Context", "office"), ("Hint", phone.device)]
        items.append(("ExtensionStatus", [*about, *office.hint_state(phone)]))
    session.respond_list(request, "Extension Statuses will follow", items, "ExtensionStateListComplete")


async def show_endpoints(session: Session, request: Request) -> None:
    office = session.pbx.office
    items: _Items = []
    for phone in office.phones.values():
        about: list[Header] = [
            ("ObjectType", "endpoint"),
            ("ObjectName", phone.number),
            ("Transport", ""),
            ("Aor", phone.number),
            ("Auths", ""),
            ("OutboundAuths", ""),
            ("Contacts", f"{endpoints.contact_of(office, phone)},"),
        ]
        items.append(("EndpointList", [*about, *endpoints.use_of(office, phone)]))
    session.respond_list(
        request,
        "A listing of Endpoints follows, presented as EndpointList events",
        items,
        "EndpointListComplete",
    )


async def show_endpoint(session: Session, request: Request) -> None:
    office, name = session.pbx.office, request.get("Endpoint")
    if not name:
        session.respond_error(request, "PJSIPShowEndpoint requires an endpoint name\n")
        return
    phone = office.phones.get(name.removeprefix("PJSIP/"))
    if phone is None:
        session.respond_error(request, f"Unable to retrieve endpoint {name}\n")
        return
    items: _Items = [
        ("EndpointDetail", [*endpoints.settings_of(office, phone), *endpoints.use_of(office, phone)]),
        ("AorDetail", endpoints.aor_of(office, phone)),
        ("ContactStatusDetail", endpoints.contact_status_of(office, phone)),
    ]
    session.respond_list(
        request,
        "Following are Events for each object associated with the Endpoint",
        items,
        "EndpointDetailComplete",
    )


HANDLERS: dict[str, Handler] = {
    "DeviceStateList": device_state_list,
    "ExtensionState": extension_state,
    "ExtensionStateList": extension_state_list,
    "PJSIPShowEndpoint": show_endpoint,
    "PJSIPShowEndpoints": show_endpoints,
}
