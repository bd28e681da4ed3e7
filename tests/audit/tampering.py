"""What an attacker does who owns the database: the triggers are away while this lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from ami_integration.audit.guard import guard_install, guard_remove


@contextmanager
def unguarded() -> Iterator[None]:
    guard_remove(connection)
    try:
        yield
    finally:
        guard_install(connection)
