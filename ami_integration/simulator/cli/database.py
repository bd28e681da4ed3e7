"""``database …``: Asterisk's own small database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ami_integration.simulator.cli.words import CLICommand

if TYPE_CHECKING:
    from ami_integration.simulator.server import SimulatedPBX


def _show(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    return _listed(pbx.office.database.tree(*arguments))


def _show_key(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    return _listed(pbx.office.database.with_key(arguments[0]))


def _listed(found: list[tuple[str, str]]) -> list[str]:
    return [*(f"{path:<50}: {value:<25}" for path, value in found), f"{len(found)} results found."]


def _get(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    value = pbx.office.database.get(arguments[0], arguments[1])
    return ["Database entry not found."] if value is None else [f"Value: {value}"]


def _put(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    pbx.office.database.put(arguments[0], arguments[1], arguments[2])
    return ["Updated database successfully"]


def _delete(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    gone = pbx.office.database.delete(arguments[0], arguments[1])
    return [f"Database entry {'removed' if gone else 'could not be removed'}."]


def _delete_tree(pbx: SimulatedPBX, arguments: list[str]) -> list[str]:
    count = pbx.office.database.delete_tree(*arguments)
    return [f"{count} database entries removed." if count else "Database entries do not exist."]


COMMANDS: dict[tuple[str, ...], CLICommand] = {
    ("database", "show"): CLICommand(
        range(3), "database show [family [keytree]]", "Lists entries of the database.", _show
    ),
    ("database", "showkey"): CLICommand(
        range(1, 2), "database showkey <key>", "Lists the entries of a key in any family.", _show_key
    ),
    ("database", "get"): CLICommand(
        range(2, 3), "database get <family> <key>", "Shows an entry of the database.", _get
    ),
    ("database", "put"): CLICommand(
        range(3, 4), "database put <family> <key> <value>", "Writes an entry of the database.", _put
    ),
    ("database", "del"): CLICommand(
        range(2, 3), "database del <family> <key>", "Deletes an entry of the database.", _delete
    ),
    ("database", "deltree"): CLICommand(
        range(1, 3), "database deltree <family> [keytree]", "Deletes entries of the database.", _delete_tree
    ),
}
