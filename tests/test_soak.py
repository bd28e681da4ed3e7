"""The whole of amiweb under a steady load for as long as AMIWEB_SOAK_SECONDS says (20 s by default).

What only time shows: memory that grows, a session that is lost and not told, a process that dies and comes
back so quickly that nobody minds.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from pathlib import Path

import pytest

from ami_integration.events.models import Event, Gap
from ami_integration.servers.models import Server
from ami_integration.simulator import SECRET, USERNAME
from tests.polling import wait_until
from tests.processes import Stack

SECONDS = float(os.environ.get("AMIWEB_SOAK_SECONDS", "20"))
PROCESSES = ("simulator", "listener", "worker", "ticker", "beat", "web")
GROWTH = 64  # MB between the first and the last quarter; what a leak passes within the hour of `make soak`


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


@pytest.mark.soak
def test_amiweb_bears_a_steady_load_without_loss_growth_or_restart(stack: Stack) -> None:
    for number, port in enumerate(stack.simulator_ports):
        Server.objects.create(
            name=f"PBX {number}",
            host="127.0.0.1",
            port=port,
            username=USERNAME,
            secret=SECRET,
            simulated=True,
        )
    stack.start("simulator", "--calls-per-second", "5")
    for name in PROCESSES[1:]:
        stack.start(name)
    wait_until(
        lambda: Event.objects.values("server").distinct().count() == 2,
        seconds=30,
        what=lambda: f"events of both PBXs: {stack.log('listener')}",
    )
    gaps = Gap.objects.count()
    memory: dict[str, list[float]] = {name: [] for name in PROCESSES}
    stored = [Event.objects.count()]
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        time.sleep(min(5.0, max(0.5, SECONDS / 20)))  # the interval of measuring; nothing is waited for
        for name in PROCESSES:
            process = stack.processes[name]
            assert process.alive(), f"{name} ended: {process.log()}"
            memory[name].append(megabytes(process.pid))
        stored.append(Event.objects.count())
    quarter = max(1, len(stored) // 4)
    assert stored[-1] > stored[-quarter - 1] > stored[0], f"events were stored all along: {stored}"
    assert Gap.objects.count() == gaps
    for name, sizes in memory.items():
        grown = statistics.mean(sizes[-quarter:]) - statistics.mean(sizes[:quarter])
        assert grown < GROWTH, f"{name} grew by {grown:.0f} MB: {sizes}"
        assert not re.search(r"\b(ERROR|CRITICAL)\b|Traceback", stack.log(name)), stack.log(name)
