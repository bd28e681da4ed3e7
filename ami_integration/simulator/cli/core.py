"""``core …``, ``dialplan …`` and ``channel …``: the PBX as a whole, its channels and its global variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ami_integration.simulator.channels import Channel
from ami_integration.simulator.cli.words import CLICommand, WrongUsage, duration, plural
from ami_integration.simulator.endpoints import state_text
from ami_integration.simulator.office import Office
from ami_integration.simulator.variables import set_variable
from ami_integration.simulator.version import SHOW_VERSION

if TYPE_CHECKING:
    from ami_integration.simulator.server import SimulatedPBX


def _version(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    return [SHOW_VERSION]


def _channels(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    office = pbx.office
    channels = list(office.switch.channels.values())
    form = arguments[0] if arguments else ""
    if form == "concise":
        return [_concise(office, channel) for channel in channels] or [""]
    if form == "verbose":
        lines = [
            f"{'Channel':<80} {'Context':<24} {'Extension':<24} {'Prio':<4} {'State':<7} {'Application':<12} "
            f"{'Data':<25} {'CallerID':<15} {'Duration':<8} {'Accountcode':<11} {'PeerAccount':<11} "
            f"{'BridgeID':<20}"
        ]
        return [*lines, *(_verbose(office, channel) for channel in channels), *_totals(office)]
    if form:
        raise WrongUsage
    lines = [f"{'Channel':<64} {'Location':<32} {'State':<7} {'Application(Data)':<30}"]
    for channel in channels:
        location = f"{channel.exten}@{channel.context}:{channel.priority}" if channel.exten else "(None)"
        application = (
            f"{channel.application}({channel.application_data})" if channel.application else "(None)"
        )
        state = channel.state.name.capitalize()
        lines.append(f"{channel.name:<64} {location:<32} {state:<7} {application:<30}")
    return [*lines, *_totals(office)]


def _totals(office: Office) -> list[str]:
    return [f"{_active(office)}", *_calls_of(office)]


def _active(office: Office) -> str:
    active = len(office.switch.channels)
    return f"{active} active {plural('channel', active)}"


def _calls_of(office: Office) -> list[str]:
    switch = office.switch
    calls = len({channel.linkedid for channel in switch.channels.values()})
    processed = switch.calls_processed
    return [
        f"{calls} active {plural('call', calls)}",
        f"{processed} {plural('call', processed)} processed",
    ]


def _number(channel: Channel) -> str:
    return "" if channel.caller[0] == "<unknown>" else channel.caller[0]


def _verbose(office: Office, channel: Channel) -> str:
    return (
        f"{channel.name:<80} {channel.context:<24.24} {channel.exten:<24.24} {channel.priority:<4} "
        f"{channel.state.name.capitalize():<7} {channel.application or '(None)':<12.12} "
        f"{channel.application_data:<25.25} {_number(channel):<15.15} "
        f"{duration(office.time - channel.created):<8} {channel.account:<11.11} {'':<11} "
        f"{channel.bridge.uniqueid if channel.bridge else '':<20.20}"
    )


def _concise(office: Office, channel: Channel) -> str:
    fields = (
        channel.name,
        channel.context,
        channel.exten,
        str(channel.priority),
        channel.state.name.capitalize(),
        channel.application or "(None)",
        channel.application_data,
        _number(channel),
        channel.account,
        "",
        "3",
        str(int(office.time - channel.created)),
        channel.bridge.uniqueid if channel.bridge else "",
        channel.uniqueid,
    )
    return "!".join(fields)


def _channel(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    office = pbx.office
    channel = office.switch.find(arguments[0])
    if channel is None:
        return [f"{arguments[0]} is not a known channel"]
    seconds = int(office.time - channel.created)
    media = "ulaw" if channel.is_sip else "slin"
    lines = [" -- General --"]
    general = (
        ("Name", channel.name),
        ("Type", channel.name.partition("/")[0]),
        ("UniqueID", channel.uniqueid),
        ("LinkedID", channel.linkedid),
        ("Caller ID", _number(channel) or "(N/A)"),
        ("Caller ID Name", channel.caller[1] if channel.caller[1] != "<unknown>" else "(N/A)"),
        ("Language", channel.language),
        ("State", f"{channel.state.name.capitalize()} ({int(channel.state)})"),
        ("NativeFormats", f"({media})"),
        ("Elapsed Time", f"{seconds // 3600}h{seconds // 60 % 60}m{seconds % 60}s"),
        ("Bridge ID", channel.bridge.uniqueid if channel.bridge else "(Not bridged)"),
    )
    lines += [f"{name:>15}: {value}" for name, value in general]
    lines.append(" --   PBX   --")
    place = (
        ("Context", channel.context),
        ("Extension", channel.exten),
        ("Priority", str(channel.priority)),
        ("Application", channel.application or "(N/A)"),
        ("Data", channel.application_data or "(Empty)"),
        ("Variables", ""),
    )
    lines += [f"{name:>15}: {value}".rstrip() for name, value in place]
    return [*lines, *(f"{name}={value}" for name, value in reversed(channel.variables.items()))]


def _calls(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    return _calls_of(pbx.office)


def _uptime(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    if arguments not in ([], ["seconds"]):
        raise WrongUsage
    text = f"{pbx.office.uptime}{'' if arguments else ' seconds'}"
    return [f"System uptime: {text}", f"Last reload: {text}"]


def _hints(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    office = pbx.office
    lines = ["", "    -= Registered Asterisk Dial Plan Hints =-"]
    for phone in office.phones.values():
        place = f"{phone.number}@office"
        state = dict(office.hint_state(phone))["StatusText"]
        lines.append(
            f"{place:<27}: {phone.device:<60}  State:{state:<15} Presence:{'not_set':<15} Watchers {0:2}"
        )
    return [*lines, "----------------", f"- {len(office.phones)} hints registered"]


def _hangup(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    channel = pbx.office.switch.find(arguments[0])
    if channel is None:
        return [f"{arguments[0]} is not a known channel"]
    channel.owner.hang_up_requested(channel, 0)
    return [f"Requested Hangup on channel '{channel.name}'"]


def _globals(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    found = pbx.office.globals
    return [*(f"   {name}={value}" for name, value in found.items()), "", f"    -- {len(found)} variable(s)"]


def _set_global(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    name, value = arguments
    set_variable(pbx.office, None, name, value)
    return ["", f"    -- Global variable '{name}' set to '{value}'"]


def _device_states(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    rule = "---------------------------------------------------------------------"
    lines = ["", rule, "--- Custom Device States --------------------------------------------", rule, "---"]
    for device, state in pbx.office.switch.devices.items():
        if device.startswith("Custom:"):
            lines += [f"--- Name: '{device}'  State: '{state}'", "---"]
    return [*lines, rule, rule, ""]


def _change_device_state(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    device, state = arguments
    if not device.lower().startswith("custom:") or state_text(state.upper()) == "Unknown":
        raise WrongUsage
    set_variable(pbx.office, None, f"DEVICE_STATE({device})", state)
    return [f"Changing {device.partition(':')[2]} to {state}"]


_UPTIME = CLICommand(range(2), "core show uptime [seconds]", "Shows since when the simulator runs.", _uptime)

COMMANDS: dict[tuple[str, ...], CLICommand] = {
    ("core", "show", "version"): CLICommand(
        range(1), "core show version", "Shows the version of this simulator.", _version
    ),
    ("core", "show", "channels"): CLICommand(
        range(2), "core show channels [concise|verbose]", "Lists the channels that there are now.", _channels
    ),
    ("core", "show", "channel"): CLICommand(
        range(1, 2), "core show channel <channel>", "Shows what is known of a channel.", _channel
    ),
    ("core", "show", "calls"): CLICommand(range(1), "core show calls", "Counts the calls.", _calls),
    ("core", "show", "hints"): CLICommand(
        range(1), "core show hints", "Lists the extensions that have a hint.", _hints
    ),
    ("core", "show", "uptime"): _UPTIME,
    ("channel", "request", "hangup"): CLICommand(
        range(1, 2), "channel request hangup <channel>", "Ends a channel.", _hangup
    ),
    ("devstate", "change"): CLICommand(
        range(2, 3),
        "devstate change <device> <state>",
        "Sets what a Custom: device does.",
        _change_device_state,
    ),
    ("devstate", "list"): CLICommand(range(1), "devstate list", "Lists the Custom: devices.", _device_states),
    ("dialplan", "set", "global"): CLICommand(
        range(2, 3), "dialplan set global <name> <value>", "Sets a global variable.", _set_global
    ),
    ("dialplan", "show", "globals"): CLICommand(
        range(1), "dialplan show globals", "Lists the global variables.", _globals
    ),
}
