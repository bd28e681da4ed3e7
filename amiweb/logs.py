"""How a log record looks: one line, UTC, fields in a fixed order.

    2026-01-31T12:00:00.123Z WARNING 4711 ami_integration.events: PBX "Berlin" is back after 12 s

Names of callers and answers of PBXs end in messages, and strangers write them. A control character in one is
written as an escape, so that nobody forges a line or steers a terminal; and the lines of a traceback, which
ends in the words of an error, begin with a bar, as no record does.
"""

import logging
import time
from types import TracebackType

from ami_integration.ami.printing import printable

Failure = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class LineFormatter(logging.Formatter):
    """Time in UTC, level, process id, logger, message; a traceback follows on lines of its own."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is logging's
        return printable(super().formatMessage(record))

    def formatException(self, ei: Failure) -> str:  # noqa: N802  the name is logging's
        return _barred(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  the name is logging's
        return _barred(stack_info)


class TickFilter(logging.Filter):
    """Drops what Celery says of each tick (sent, received, succeeded): several lines a second, for ever."""

    def filter(self, record: logging.LogRecord) -> bool:
        routine = record.levelno == logging.INFO and record.name.startswith("celery.")
        return not (routine and "schedules.tick" in record.getMessage())


def _barred(lines: str) -> str:
    return "\n".join(f"| {printable(line)}" for line in lines.split("\n"))
