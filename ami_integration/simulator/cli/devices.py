"""``pjsip show …``: the office's phones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ami_integration.simulator import endpoints
from ami_integration.simulator.cli.words import CLICommand, WrongUsage
from ami_integration.simulator.company import Phone
from ami_integration.simulator.office import Office

if TYPE_CHECKING:
    from ami_integration.simulator.server import SimulatedPBX

_RULE = "=" * 90
_HEAD = (
    "",
    " Endpoint:  <Endpoint/CID.....................................>  <State.....>  <Channels.>",
    "        Aor:  <Aor............................................>  <MaxContact>",
    "      Contact:  <Aor/ContactUri..........................> <Hash....> <Status> <RTT(ms)..>",
    _RULE,
    "",
)


def _chosen(office: Office, arguments: list[str]) -> list[Phone]:
    """All phones, or those whose number a pattern behind ``like`` fits."""
    if not arguments:
        return list(office.phones.values())
    if len(arguments) != 2 or arguments[0] != "like":
        raise WrongUsage
    try:
        pattern = re.compile(arguments[1])
    except re.error:
        raise WrongUsage from None
    return [phone for phone in office.phones.values() if pattern.search(phone.number)]


def _endpoint(office: Office, phone: Phone) -> list[str]:
    state = endpoints.state_text(office.switch.device_state(phone.device))
    count = len(office.switch.channels_of(phone.device))
    return [
        f" Endpoint:  {phone.number:<52} {state:<12}  {count} of inf",
        f"        Aor:  {phone.number:<50} 1",
        f"      Contact:  {endpoints.contact_of(office, phone):<42} {int(phone.number):010x} "
        f"NonQual  {'-nan':>10}",
        "",
    ]


def _endpoints(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    found = _chosen(pbx.office, arguments)
    if not found:
        return ["No objects found.", ""]
    lines = [line for phone in found for line in _endpoint(pbx.office, phone)]
    return [*_HEAD, *lines, "", f"Objects found: {len(found)}", ""]


def _contacts(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    found = _chosen(pbx.office, arguments)
    if not found:
        return ["No objects found.", ""]
    head = "  Contact:  <Aor/ContactUri..............................> <Hash....> <Status> <RTT(ms)..>"
    lines = [
        f"  Contact:  {endpoints.contact_of(pbx.office, phone):<46} {int(phone.number):010x} "
        f"NonQual  {'-nan':>10}"
        for phone in found
    ]
    return ["", head, _RULE, "", *lines, "", f"Objects found: {len(found)}", ""]


def _one(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    phone = pbx.office.phones.get(arguments[0])
    if phone is None:
        return [f"Unable to find object {arguments[0]}.", ""]
    settings = sorted(
        (re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower(), value)
        for name, value in endpoints.settings_of(pbx.office, phone)[2:]
    )
    return [
        *_HEAD,
        *_endpoint(pbx.office, phone),
        "",
        f" {'ParameterName':<34} : ParameterValue",
        f" {'=' * 99}",
        *(f" {name:<34} : {value}" for name, value in settings),
        "",
    ]


COMMANDS: dict[tuple[str, ...], CLICommand] = {
    ("pjsip", "show", "endpoints"): CLICommand(
        range(3), "pjsip show endpoints [like <pattern>]", "Lists the endpoints.", _endpoints
    ),
    ("pjsip", "show", "endpoint"): CLICommand(
        range(1, 2), "pjsip show endpoint <id>", "Shows an endpoint and its settings.", _one
    ),
    ("pjsip", "show", "contacts"): CLICommand(
        range(3), "pjsip show contacts [like <pattern>]", "Lists the contacts.", _contacts
    ),
}
