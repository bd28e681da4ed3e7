"""A result as a file: CSV for spreadsheets, JSON for programs.

Spreadsheets take a cell that begins with `=`, `+`, `-` or `@` for a formula, and strangers on the telephone
network choose their own names: such a cell gets an apostrophe before it, which a spreadsheet hides. Numbers
keep their sign (`+4930123`, `-1`), since they can do nothing. The same holds behind a semicolon, a tab or the
end of a line within a value: where a comma is the decimal sign, spreadsheets part the cells of a file there.
JSON is exact.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from ami_integration.actions.models import ActionRun
from ami_integration.actions.results import Result

#: Excel takes a file without it for one in the local eight-bit characters.
_BYTE_ORDER_MARK = "\ufeff"
# The last four are the wide forms of the first, which some spreadsheets take for the same.
_SIGNS = r"=+\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(rf"[{_SIGNS}\t\r\n]")
_NUMBER = re.compile(r"[+-]?\d[\d.]*")
_FORMULA_WITHIN = re.compile(rf"([;\t\r\n])(?=[{_SIGNS}])(?![+-]\d[\d.]*(?:[;\t\r\n]|$))")


def result_columns(result: Result, preferred: Iterable[str] = ()) -> list[str]:
    """The columns of a list's table.

    Args:
        result: the list.
        preferred: names in the order in which the catalogue has them; those that no item has are left out.

    Returns:
        the preferred ones and then the others as they come; never ActionID, which is the same on each row.
    """
    there = dict.fromkeys(name for item in result.items for name, _ in item)
    first = [name for name in dict.fromkeys(preferred) if name in there]
    return [name for name in dict.fromkeys([*first, *there]) if name.lower() != "actionid"]


def rows_csv(result: Result, preferred: Iterable[str] = ()) -> Iterator[str]:
    """The lines of a CSV file: the list if there is one, else the output, else the response's headers.

    A name that an item has several times shows all its values, one below the other in its cell. What is
    missing of a result is said in the last row.
    """
    yield _BYTE_ORDER_MARK
    writer = csv.writer(_Lines())
    if result.items:
        columns = result_columns(result, preferred)
        yield writer.writerow([_harmless(name) for name in columns])
        for item in result.items:
            cells: dict[str, str] = {}
            for name, value in item:
                cells[name] = f"{cells[name]}\n{value}" if name in cells else value
            yield writer.writerow([_harmless(cells.get(name, "")) for name in columns])
    elif result.output:
        yield writer.writerow(["Output"])
        for line in result.output.split("\n"):
            yield writer.writerow([_harmless(line)])
    else:
        yield writer.writerow(["Header", "Value"])
        for name, value in result.response:
            yield writer.writerow([_harmless(name), _harmless(value)])
    if result.note:
        yield writer.writerow([result.note])


def result_json(run: ActionRun, result: Result) -> str:
    """The result with what it is a result of. Headers are pairs, because names repeat."""
    document: dict[str, Any] = {
        "run": str(run.pk),
        "server": run.server_name,
        "action": run.action,
        "action_id": run.action_id,
        "status": run.status,
        "reason": run.reason,
        "created_at": run.created_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        **result.data(),
    }
    return json.dumps(document, ensure_ascii=False, indent=1)


def _harmless(value: str) -> str:
    value = _FORMULA_WITHIN.sub(r"\1'", value)
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value


class _Lines:
    """What csv writes into: hands each line back, so that no file lies in memory as a whole."""

    def write(self, line: str) -> str:
        return line
