"""A result as a file: CSV for spreadsheets, JSON for programs. JSON is exact."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ami_integration.actions.models import ActionRun
from ami_integration.actions.results import Result
from ami_integration.spreadsheets import csv_lines


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
    return csv_lines(_rows(result, preferred))


def _rows(result: Result, preferred: Iterable[str]) -> Iterator[Iterable[str]]:
    if result.items:
        columns = result_columns(result, preferred)
        yield columns
        for item in result.items:
            cells: dict[str, str] = {}
            for name, value in item:
                cells[name] = f"{cells[name]}\n{value}" if name in cells else value
            yield [cells.get(name, "") for name in columns]
    elif result.output:
        yield ["Output"]
        for line in result.output.split("\n"):
            yield [line]
    else:
        yield ["Header", "Value"]
        for name, value in result.response:
            yield [name, value]
    if result.note:
        yield [result.note]


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
