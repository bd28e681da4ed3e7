"""The actions that tell of the PBX as a whole, of its channels, and of its configuration."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ami_integration.simulator import configuration
from ami_integration.simulator.actions.action import Handler, is_true
from ami_integration.simulator.channels import Channel
from ami_integration.simulator.cli.words import duration
from ami_integration.simulator.office import Office
from ami_integration.simulator.variables import variable_of
from ami_integration.simulator.version import ASTERISK_VERSION
from ami_integration.simulator.wire import Header

if TYPE_CHECKING:
    from ami_integration.simulator.requests import Request
    from ami_integration.simulator.session import Session


async def core_settings(session: Session, request: Request) -> None:
    session.respond(
        request,
        "Success",
        headers=[
            ("AMIversion", session.pbx.ami_version),
            ("AsteriskVersion", ASTERISK_VERSION),
            ("SystemName", "simulated"),
            ("CoreMaxCalls", "0"),
            ("CoreMaxLoadAvg", "0.000000"),
            ("CoreRunUser", ""),
            ("CoreRunGroup", ""),
            ("CoreMaxFilehandles", "0"),
            ("CoreRealTimeEnabled", "No"),
            ("CoreCDRenabled", "Yes"),
            ("CoreHTTPenabled", "No"),
            ("SoundsSearchCustomDir", "No"),
        ],
    )


async def core_status(session: Session, request: Request) -> None:
    office = session.pbx.office
    started = time.gmtime(office.started)
    date, clock = time.strftime("%Y-%m-%d", started), time.strftime("%H:%M:%S", started)
    session.respond(
        request,
        "Success",
        headers=[
            ("CoreStartupDate", date),
            ("CoreStartupTime", clock),
            ("CoreReloadDate", date),
            ("CoreReloadTime", clock),
            ("CoreCurrentCalls", str(len(office.switch.channels))),
            ("CoreProcessedCalls", str(office.switch.calls_processed)),
        ],
    )


async def core_show_channels(session: Session, request: Request) -> None:
    office = session.pbx.office
    items: list[tuple[str, list[Header]]] = []
    for channel in office.switch.channels.values():
        tail: list[Header] = [
            ("Application", channel.application),
            ("ApplicationData", channel.application_data),
            ("Duration", duration(office.time - channel.created)),
            ("BridgeId", channel.bridge.uniqueid if channel.bridge else ""),
        ]
        items.append(("CoreShowChannel", [*channel.snapshot(), *tail]))
    session.respond_list(request, "Channels will follow", items, "CoreShowChannelsComplete")


async def status(session: Session, request: Request) -> None:
    office, name = session.pbx.office, request.get("Channel")
    channels = list(office.switch.channels.values())
    if name:
        channel = office.switch.find(name)
        if channel is None:
            session.respond_error(request, "No such channel")
            return
        channels = [channel]
    wanted = [variable for variable in request.get("Variables").split(",") if variable]
    items = []
    for channel in channels:
        variables: list[Header] = [
            ("Variable", f"{variable}={_shown(office, channel, variable)}") for variable in wanted
        ]
        if is_true(request.get("AllVariables")):
            newest_first = reversed(channel.variables.items())
            variables = [("Variable", f"{variable}={value}") for variable, value in newest_first]
        items.append(("Status", [*_status_of(office, channel), *variables]))
    session.respond_list(
        request,
        "Channel status will follow",
        items,
        "StatusComplete",
        action_id_last=True,
        more=(("Items", str(len(items))),),
    )


def _shown(office: Office, channel: Channel, variable: str) -> str:
    value = variable_of(office, channel, variable)
    return "(null)" if value is None else value


def _status_of(office: Office, channel: Channel) -> list[Header]:
    media = "ulaw" if channel.is_sip else "slin"
    return [
        ("Privilege", "Call"),
        *channel.snapshot(),
        ("Type", channel.name.partition("/")[0]),
        ("DNID", ""),
        ("EffectiveConnectedLineNum", channel.connected[0]),
        ("EffectiveConnectedLineName", channel.connected[1]),
        ("TimeToHangup", "0"),
        ("BridgeID", channel.bridge.uniqueid if channel.bridge else ""),
        ("Application", channel.application),
        ("Data", channel.application_data),
        ("Nativeformats", f"({media})"),
        ("Readformat", media),
        ("Readtrans", ""),
        ("Writeformat", media),
        ("Writetrans", ""),
        ("Callgroup", "0"),
        ("Pickupgroup", "0"),
        ("Seconds", str(int(office.time - channel.created))),
    ]


async def get_config(session: Session, request: Request) -> None:
    name = request.get("Filename")
    if not name:
        session.respond_error(request, "Filename not specified")
        return
    try:
        categories = configuration.read(session.pbx.office, name)
    except PermissionError:
        session.respond_error(request, "File requires escalated privileges")
        return
    except FileNotFoundError:
        session.respond_error(request, "Config file not found")
        return
    wanted = request.get("Category")
    found = configuration.chosen(categories, wanted, request.get("Filter"))
    if wanted and not found:
        session.respond(request, "Success", line="No categories found")
        return
    headers: list[Header] = []
    for number, (category, settings) in enumerate(found):
        headers.append((f"Category-{number:06}", category))
        headers += [
            (f"Line-{number:06}-{line:06}", f"{setting}={value}")
            for line, (setting, value) in enumerate(settings)
        ]
    session.respond(request, "Success", headers=headers)


HANDLERS: dict[str, Handler] = {
    "CoreSettings": core_settings,
    "CoreShowChannels": core_show_channels,
    "CoreStatus": core_status,
    "GetConfig": get_config,
    "Status": status,
}
