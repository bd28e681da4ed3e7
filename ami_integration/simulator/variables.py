"""Variables: those of a channel, the global ones, and the few dialplan functions that the simulator has."""

import re
from collections.abc import Callable

from ami_integration.simulator.channels import DEVICE_STATES, UNKNOWN, Channel
from ami_integration.simulator.office import Office
from ami_integration.simulator.wire import EventClass

_FUNCTION = re.compile(r"([A-Za-z_]+)\((.*)\)")


def variable_of(office: Office, channel: Channel | None, name: str) -> str | None:
    """A variable's value, of the channel or (None) a global one; None if there is none of that name.

    A function's name ends in parentheses. One that is unknown, or that needs a channel and has none, has an
    empty value, as on a real PBX.
    """
    function = _FUNCTION.fullmatch(name)
    if function:
        return _function_value(office, channel, function[1].upper(), function[2]) or ""
    if name == "EPOCH":
        return str(int(office.time))
    if name == "SYSTEMNAME":
        return "simulated"
    if channel is not None:
        own = _OF_A_CHANNEL.get(name)
        if own is not None:
            return own(channel)
        if name in channel.variables:
            return channel.variables[name]
    return office.globals.get(name)


def set_variable(office: Office, channel: Channel | None, name: str, value: str) -> bool:
    """Set a variable or function; whether that could be done."""
    function = _FUNCTION.fullmatch(name)
    if function:
        return _set_function(office, channel, function[1].upper(), function[2], value)
    if channel is not None:
        office.switch.set_variable(channel, (name, value))
        return True
    office.globals[name.lstrip("_") if name.startswith("_") else name] = value
    office.switch.tell(
        "VarSet",
        EventClass.DIALPLAN,
        [("Channel", "none"), ("Uniqueid", "none"), ("Variable", name), ("Value", value)],
    )
    return True


_OF_A_CHANNEL: dict[str, Callable[[Channel], str]] = {
    "CHANNEL": lambda channel: channel.name,
    "CONTEXT": lambda channel: channel.context,
    "EXTEN": lambda channel: channel.exten,
    "HANGUPCAUSE": lambda channel: str(channel.cause),
    "PRIORITY": lambda channel: str(channel.priority),
    "UNIQUEID": lambda channel: channel.uniqueid,
}


def _function_value(office: Office, channel: Channel | None, function: str, argument: str) -> str | None:
    family, _, key = argument.partition("/")
    if function == "LEN":
        return str(len(argument.encode("utf-8", "surrogateescape")))
    if function == "GLOBAL":
        return office.globals.get(argument)
    if function == "DEVICE_STATE":
        return office.state_of(argument)
    if function == "DB":
        return office.database.get(family, key)
    if channel is None:
        return None
    if function == "CALLERID":
        number, name = (text if text != UNKNOWN else "" for text in channel.caller)
        both = f'"{name}" <{number}>' if name and number else name or number
        return {"num": number, "number": number, "name": name, "all": both}.get(argument)
    if function == "CHANNEL":
        values = {
            "name": channel.name,
            "context": channel.context,
            "exten": channel.exten,
            "language": channel.language,
            "linkedid": channel.linkedid,
            "state": channel.state.name.capitalize(),
            "uniqueid": channel.uniqueid,
        }
        return values.get(argument)
    return None


def _set_function(office: Office, channel: Channel | None, function: str, argument: str, value: str) -> bool:
    if function == "GLOBAL":
        return set_variable(office, None, argument, value)
    if function == "DEVICE_STATE":
        if not argument.lower().startswith("custom:"):
            return False
        state = value.upper()
        office.switch.announce_device(argument, state if state in DEVICE_STATES else "UNKNOWN")
        return True
    # Writing DB() is refused, too: a real one lets only the dialplan do that.
    if channel is None:
        return False
    if function == "CHANNEL" and argument == "language":
        channel.language = value
        return True
    if function == "CALLERID":
        number, name = channel.caller
        if argument in ("num", "number"):
            office.switch.set_caller(channel, (value, name))
        elif argument == "name":
            office.switch.set_caller(channel, (number, value))
        # Asterisk complains of an unknown part in its log alone.
        return True
    return False
