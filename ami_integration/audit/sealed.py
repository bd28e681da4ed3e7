"""Where seals are told outside the database: a file, or the log.

A seal is told after its commit, by whoever sealed: a line of JSON. What couldn't be written (the disk was
full, the process died in between) is written with the next seal, since the file's own end says what it has.
So a file never names a seal that isn't in the database, unless somebody took it out there.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from ami_integration.audit.models import AuditSeal
from ami_integration.audit.seals import seal_facts

#: Has a level of its own in the settings: its lines come whatever AMIWEB_LOG_LEVEL says.
logger = logging.getLogger(__name__)
#: What a line of the log holds before the JSON.
MARK = "audit seal "
#: Bytes of the file's end that are read to find its last line.
_TAIL = 4096


class NotTold(Exception):
    """The file with the seals can't be written or read; says why."""


def seal_line(seal: AuditSeal) -> str:
    """What is told of a seal."""
    return json.dumps({**seal_facts(seal), "digest": seal.digest})


def seals_tell(*, made: Iterable[AuditSeal]) -> None:
    """Tell the place outside of new seals, and of those before them that it lacks.

    Args:
        made: the new ones; the log gets these alone, since nobody knows what it has.

    Raises:
        NotTold: the file can't be written. The next call tries again.
    """
    if settings.AMIWEB_AUDIT_SEALS == "log":
        for seal in made:
            logger.info("%s%s", MARK, seal_line(seal))
    elif settings.AMIWEB_AUDIT_SEALS:
        _append(Path(settings.AMIWEB_AUDIT_SEALS))


def _append(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
            missing = AuditSeal.objects.filter(number__gt=_last_number(tail)).order_by("number")
            # A line that was cut off by a full disk is ended, and stays as it is.
            text = "\n" if tail and not tail.endswith(b"\n") else ""
            text += "".join(f"{seal_line(seal)}\n" for seal in missing.defer("hashes").iterator())
            if text:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise NotTold(f"The seals of the audit can't be written to {path}: {error.strerror}.") from None


def _last_number(tail: bytes) -> int:
    numbers = [told["number"] for told in seals_parse(tail.decode(errors="replace").splitlines()[-2:])]
    return numbers[-1] if numbers else 0


def seals_read(path: Path) -> Iterator[dict[str, Any]]:
    """The seals of a file that amiweb wrote, or of a log with such lines among others. Raises NotTold."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from seals_parse(file)
    except OSError as error:
        raise NotTold(f"The seals of the audit can't be read from {path}: {error.strerror}.") from None


def seals_parse(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The seals in these lines; others, and lines that were cut off, are passed over."""
    for line in lines:
        _, _, behind = line.rpartition(MARK)
        try:
            told = json.loads(behind[behind.index("{") :])
            if isinstance(told["number"], int) and isinstance(told["digest"], str):
                yield told
        except (ValueError, KeyError, TypeError):
            continue
