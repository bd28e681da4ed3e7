"""Benchmarks: `make bench` runs the `bench_*.py` here; the normal suite does not.

Each asserts its result and prints its speed: no speed is asserted, since it says as much of the machine as of
the code. AMIWEB_BENCH_SCALE (1 by default) scales the size; CI runs each at 0.01.
"""

import os
import shutil
from pathlib import Path

SCALE = float(os.environ.get("AMIWEB_BENCH_SCALE", "1"))
ROOT = Path(__file__).resolve().parent.parent.parent


class DiskFull(Exception):
    """There isn't as much disk free as is wanted."""


def wants_disk(folder: Path, size: int, what: str) -> None:
    """Say how much disk is wanted, before anything is begun.

    Args:
        folder: where; it needn't exist yet.
        size: bytes.
        what: what for, for a person.

    Raises:
        DiskFull: it isn't free.
    """
    print(f"\n{what} wants {size / 1e6:,.0f} MB in {folder}")
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise DiskFull(f"{what} wants {size / 1e6:,.0f} MB in {folder}, and {free / 1e6:,.0f} MB are free")
