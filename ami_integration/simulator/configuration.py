"""The office's configuration files as GetConfig reads them: written anew from the office at each look."""

import re
from collections.abc import Callable

from ami_integration.simulator.office import Office

Settings = list[tuple[str, str]]
Categories = list[tuple[str, Settings]]


def read(office: Office, name: str) -> Categories:
    """The categories of a file, each with its settings in order.

    Raises PermissionError for a path outside the folder of configurations, FileNotFoundError if there is no
    such file.
    """
    if name.startswith("/"):
        raise PermissionError(name)
    write = _FILES.get(name)
    if write is None:
        raise FileNotFoundError(name)
    return write(office)


def chosen(categories: Categories, category: str, conditions: str) -> Categories:
    """The categories of that name, in any case ("" for all), whose settings fit ``name=regex,...``."""
    wanted = [condition.partition("=")[::2] for condition in conditions.split(",") if condition]
    return [
        (name, settings)
        for name, settings in categories
        if not category or name.lower() == category.lower()
        if all(_fits(settings, *condition) for condition in wanted)
    ]


def _fits(settings: Settings, name: str, pattern: str) -> bool:
    try:
        return any(setting == name and re.search(pattern, value) for setting, value in settings)
    except re.error:
        return False


def _queues(office: Office) -> Categories:
    found: Categories = [("general", [("persistentmembers", "no"), ("autofill", "yes")])]
    for queue in office.queues.values():
        settings = [
            ("strategy", queue.strategy),
            ("timeout", str(office.settings.member_timeout)),
            ("retry", str(office.settings.retry)),
            ("ringinuse", "no"),
        ]
        staff = [member for member in queue.members if not member.dynamic]
        settings += [("member", f"{member.interface},0,{member.name}") for member in staff]
        found.append((queue.name, settings))
    return found


def _confbridge(office: Office) -> Categories:
    return [
        ("general", []),
        ("default_user", [("type", "user"), ("music_on_hold_when_empty", "no")]),
        ("default_bridge", [("type", "bridge"), ("max_members", "20")]),
    ]


def _extensions(office: Office) -> Categories:
    ring, wait = office.settings.ring_seconds, office.settings.queue_timeout
    settings: Settings = []
    for phone in office.phones.values():
        dial = (f"hint,{phone.device}", f"1,Dial({phone.device},{ring})", "2,Hangup()")
        settings += [("exten", f"{phone.number},{step}") for step in dial]
    for queue in office.queues.values():
        enter = ("1,Answer()", f"2,Queue({queue.name},,,,{wait})", "3,Hangup()")
        settings += [("exten", f"{queue.exten},{step}") for step in enter]
    settings += [("exten", f"_7XX,{step}") for step in ("1,Answer()", "2,ConfBridge(${EXTEN})", "3,Hangup()")]
    settings += [("exten", f"800,{step}") for step in ("1,Answer()", "2,Wait(2)", "3,Hangup()")]
    trunk = [("exten", "_5550.,1,Goto(office,${EXTEN:4},1)")]
    return [
        ("general", [("static", "yes"), ("writeprotect", "yes")]),
        ("office", settings),
        ("from-trunk", trunk),
    ]


_FILES: dict[str, Callable[[Office], Categories]] = {
    "confbridge.conf": _confbridge,
    "extensions.conf": _extensions,
    "queues.conf": _queues,
}
