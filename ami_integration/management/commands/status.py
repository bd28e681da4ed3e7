"""`manage.py status`: the status page for a terminal, and for whatever watches amiweb."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from ami_integration.ami.printing import printable
from ami_integration.console.services import Row, status_read

HEADINGS = ("PROCESS", "STATE", "HOST", "PID", "VERSION", "UP", "HEARD", "BEHIND", "WAITING", "")


class Command(BaseCommand):
    help = "Say how amiweb is: its processes and what waits for them. Exits with 1 if something is wrong."

    def handle(self, *args: Any, **options: Any) -> None:
        status = status_read()
        lines = [HEADINGS, *(_cells(row) for row in status.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
        if status.rows:
            for line in lines:
                text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
                self.stdout.write(printable(text.rstrip()))
        for fault in status.faults:
            self.stderr.write(printable(fault))
        if status.faults:
            sys.exit(1)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.kind,
        row.state,
        row.host,
        "" if row.pid is None else str(row.pid),
        row.version,
        _seconds(row.uptime),
        "" if row.age is None else f"{_seconds(row.age)} ago",
        _seconds(row.lag),
        "" if row.depth is None else str(row.depth),
        "" if row.state == "missing" else row.says,
    )


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.0f} h"
