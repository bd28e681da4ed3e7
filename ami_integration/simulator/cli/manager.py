"""``manager show …``: the actions and events, and who is connected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ami_integration.simulator.catalogue import DESCRIPTIONS, EVENTS
from ami_integration.simulator.cli.words import CLICommand, WrongUsage
from ami_integration.simulator.wire import privilege_text

if TYPE_CHECKING:
    from ami_integration.simulator.server import SimulatedPBX


def _command(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    lines: list[str] = []
    for name in arguments:
        page = next((page for page in DESCRIPTIONS if page.name.lower() == name.lower()), None)
        lines += page.page() if page else [""]
    return lines


def _commands(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    lines = [f"  {'Action':<15.15}  {'Synopsis'}", f"  {'------':<15.15}  {'--------'}"]
    width = max(len(page.name) for page in DESCRIPTIONS)
    return [*lines, *(f"  {page.name:<{width}}  {page.synopsis}" for page in DESCRIPTIONS), ""]


def _event(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    lowered = {name.lower(): event for name, event in EVENTS.items()}
    found = lowered.get(arguments[0].lower())
    return found.page() if found else [f"Could not find event '{arguments[0]}'"]


def _events(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    width = max(26, *(len(name) for name in EVENTS))
    names = list(EVENTS)
    rows = [names[start : start + 3] for start in range(0, len(names), 3)]
    rule = "  " + f"{'-' * width}  " * 3
    return ["Events:", rule, *("  " + "".join(f"{name:<{width}}  " for name in row) for row in rows)]


def _connected(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    lines = [
        f"  {'Username':<15.15}  {'IP Address':<55.55}  {'Start':<10.10}  {'Elapsed':<10.10}  "
        f"{'FileDes':<8.8}  {'HttpCnt':<8.8}  {'ReadPerms':<10.10}  {'WritePerms':<10.10}"
    ]
    count = 0
    for session in pbx.sessions:
        account = session.account
        if account is None:
            continue
        count += 1
        address = session.peer.rpartition(":")[0]
        since = int(session.since)
        lines.append(
            f"  {account.username:<15.15}  {address:<55.55}  {since:<10}  {int(pbx.clock()) - since:<10}  "
            f"{session.number:<8}  {0:<8}  {int(account.read):<10}  {int(account.write):<10}"
        )
    return [*lines, f"{count} users connected."]


def _users(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    names = list(pbx.accounts)
    rule = "-------------------"
    return ["", "username", "--------", *names, rule, f"{len(names)} manager users configured."]


def _user(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    if not arguments:
        raise WrongUsage
    account = pbx.accounts.get(arguments[0])
    if account is None:
        return [f"There is no manager called {arguments[0]}"]
    return [
        "",
        f"{'username':>18}: {account.username}",
        f"{'secret':>18}: <Set>",
        f"{'ACL':>18}: no",
        f"{'read perm':>18}: {privilege_text(account.read) or '<none>'}",
        f"{'write perm':>18}: {privilege_text(account.write) or '<none>'}",
    ]


COMMANDS: dict[tuple[str, ...], CLICommand] = {
    ("manager", "show", "command"): CLICommand(
        range(1, 100),
        "manager show command <actionname> [<actionname> [...]]",
        "Shows what an action is for and what it takes.",
        _command,
    ),
    ("manager", "show", "commands"): CLICommand(
        range(1), "manager show commands", "Lists the actions.", _commands
    ),
    ("manager", "show", "connected"): CLICommand(
        range(1), "manager show connected", "Lists who is connected.", _connected
    ),
    ("manager", "show", "event"): CLICommand(
        range(1, 2), "manager show event <eventname>", "Shows what an event tells.", _event
    ),
    ("manager", "show", "events"): CLICommand(range(1), "manager show events", "Lists the events.", _events),
    ("manager", "show", "user"): CLICommand(range(2), "manager show user <user>", "Shows an account.", _user),
    ("manager", "show", "users"): CLICommand(range(1), "manager show users", "Lists the accounts.", _users),
}
