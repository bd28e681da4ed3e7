"""Waiting for an outcome in tests: poll with a deadline, never sleep and hope."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], *, seconds: float, what: str | Callable[[], str], step: float = 0.05
) -> T:
    """Poll until the condition is true, and give its value back.

    Args:
        condition: called again and again.
        seconds: give up after this long; for a promise of the product, three times the promise.
        what: what was waited for, for the failure's message; a callable is asked only then.
        step: seconds between two looks.

    Raises:
        AssertionError: it did not become true in time.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(step)
    return value
