"""How the tests are spread over the machine's processors.

Whole folders are run by one process of pytest-xdist per processor, two at most: each starts a PostgreSQL, a
Valkey, both Asterisks and a browser of its own as far as its tests want them. A file, or what failed last, is
run by pytest itself, at once: a second process would take longer to come up than it saves. `-n` decides
otherwise (`-n 0`: one process, whatever is run), and so does whatever needs the terminal (`-s`, `--pdb`).

The order is that of pytest-randomly and pytest-django, save that the long tests come first. pytest-xdist's
`worksteal` gives the first half of the order to one process and the second half to the other; who is done
takes the later half of what the other still has. So one begins with what starts browsers and whole amiwebs,
the other with what needs one processor, and what is left to share in the end is short.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MOST = 2
#: Markers of long tests, the longest first. What a real PBX of its own costs comes after them.
LONG = ("soak", "browser", "processes")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Before pytest-xdist reads its options: choose what nobody has chosen."""
    options = config.option
    chosen = getattr(options, "numprocesses", 0) is not None or options.dist != "no"
    if chosen or "PYTEST_XDIST_WORKER" in os.environ:  # those that we start come here, too
        return
    asked = ("usepdb", "lf", "stepwise", "collectonly")  # some are of plugins that may be turned off
    alone = options.capture == "no" or any(getattr(options, name, False) for name in asked)
    folders = any(Path(config.invocation_params.dir, word).is_dir() for word in config.args)
    processors = len(os.sched_getaffinity(0))
    if folders and not alone and processors > 1:
        options.numprocesses = min(processors, MOST)
        options.dist = "worksteal"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first; among equals the order stays."""
    items.sort(key=place)


def place(item: pytest.Item) -> int:
    """Which part of the order a test belongs to; the longest tests have the lowest number."""
    for number, marker in enumerate(LONG):
        if item.get_closest_marker(marker):
            return number
    return len(LONG) + ("private_asterisk" not in getattr(item, "fixturenames", ()))
