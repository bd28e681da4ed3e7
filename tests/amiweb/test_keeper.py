"""A keeper and its child, as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amiweb import keeper
from tests.polling import wait_until
from tests.processes import Process

KEEPER = Path(keeper.__file__)
FOREVER = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('here', flush=True); time.sleep(600)"
)


class Kept:
    """A keeper under test, with a supervisor that is a process of its own."""

    def __init__(self, folder: Path, supervisor: Process, program: str, name: str, *options: str) -> None:
        self.state = folder / f"{name}.json"
        self.log = folder / f"{name}.log"
        command = [sys.executable, str(KEEPER), "--name", name, "--supervisor", str(supervisor.pid)]
        command += ["--folder", str(folder), "--log", str(self.log), *options]
        self.keeper = Process(
            [*command, "--", sys.executable, "-u", "-c", program], log=folder / f"{name}.out"
        )

    def child(self) -> int:
        """The process number of the living child."""

        def known() -> int:
            processes = json.loads(self.state.read_text())["processes"] if self.state.exists() else []
            return processes[1][0] if len(processes) == 2 and keeper.alive(self.state)[1:] else 0

        return wait_until(known, seconds=10, what=lambda: f"the child runs: {self.keeper.log()}")

    def shown(self) -> str:
        return self.keeper.log()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Process]:
    process = Process([sys.executable, "-c", FOREVER], log=tmp_path / "supervisor.out")
    yield process
    process.end(signal.SIGKILL)


@pytest.fixture
def keep(tmp_path: Path, supervisor: Process) -> Iterator[Callable[..., Kept]]:
    kept: list[Kept] = []

    def start(program: str, *options: str, name: str = "child") -> Kept:
        kept.append(Kept(tmp_path, supervisor, program, name, *options))
        return kept[-1]

    yield start
    for one in kept:
        one.keeper.end(signal.SIGKILL)


def gone(pid: int) -> bool:
    return keeper.start_time(pid) is None


def test_a_killed_child_is_started_again_and_its_death_told(keep: Callable[..., Kept]) -> None:
    kept = keep(FOREVER)
    first = kept.child()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: kept.child() != first, seconds=10, what="a new child")
    assert "WARNING child ended by itself (SIGKILL); starting it again in 0.5 s" in kept.shown()


def test_a_child_that_keeps_dying_is_started_again_less_and_less_often(keep: Callable[..., Kept]) -> None:
    kept = keep("raise SystemExit(3)")
    told = "WARNING child ended by itself (exit code 3); starting it again in"
    wait_until(lambda: f"{told} 2 s" in kept.shown(), seconds=15, what=kept.shown)
    assert f"{told} 0.5 s" in kept.shown()
    assert f"{told} 1 s" in kept.shown()


def test_sigterm_ends_child_and_keeper_and_removes_the_state(keep: Callable[..., Kept]) -> None:
    kept = keep(FOREVER)
    child = kept.child()
    assert kept.keeper.end(signal.SIGTERM) == 0
    assert gone(child)
    assert not kept.state.exists()


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(keep: Callable[..., Kept]) -> None:
    kept = keep(STUBBORN)
    child = kept.child()
    wait_until(
        lambda: kept.log.exists() and "here" in kept.log.read_text(), seconds=10, what="it ignores SIGTERM"
    )
    assert kept.keeper.end(signal.SIGTERM, seconds=keeper.GRACE + 4) == 0
    assert gone(child)
    assert "did not stop within 5 s" in kept.shown()


def test_child_and_keeper_end_when_the_supervisor_is_killed(
    keep: Callable[..., Kept], supervisor: Process
) -> None:
    kept = keep(FOREVER)
    child = kept.child()
    supervisor.end(signal.SIGKILL)
    wait_until(lambda: gone(child) and not kept.keeper.alive(), seconds=15, what="both are gone")


def test_the_child_ends_when_its_keeper_is_killed(keep: Callable[..., Kept]) -> None:
    kept = keep(STUBBORN)
    child = kept.child()
    kept.keeper.end(signal.SIGKILL)
    wait_until(lambda: gone(child), seconds=5, what="the kernel ended it")


def test_what_the_child_left_behind_in_its_group_ends_with_it(keep: Callable[..., Kept]) -> None:
    kept = keep(
        "import subprocess, sys, time\n"
        f"print(subprocess.Popen([sys.executable, '-c', {FOREVER!r}]).pid)\n"
        "time.sleep(600)"
    )
    wait_until(lambda: kept.log.exists() and kept.log.read_text().strip(), seconds=10, what="a grandchild")
    grandchild = int(kept.log.read_text())
    kept.keeper.end(signal.SIGTERM)
    wait_until(lambda: gone(grandchild), seconds=5, what="the grandchild is gone")


def test_it_starts_its_child_only_when_the_awaited_socket_answers(
    keep: Callable[..., Kept], tmp_path: Path
) -> None:
    import socket

    path = tmp_path / "awaited.sock"
    kept = keep(FOREVER, "--wait-for", str(path))
    wait_until(kept.state.exists, seconds=10, what="the keeper runs")
    assert len(json.loads(kept.state.read_text())["processes"]) == 1
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        kept.child()


def test_the_last_one_waits_for_its_siblings(keep: Callable[..., Kept]) -> None:
    last, other = keep(FOREVER, "--last", name="last"), keep(STUBBORN, name="other")
    child = last.child()
    wait_until(
        lambda: other.log.exists() and "here" in other.log.read_text(), seconds=10, what="it is stubborn"
    )
    stubborn = other.child()
    for kept in (last, other):
        kept.keeper.process.send_signal(signal.SIGTERM)
    too_early = False
    while not gone(stubborn):
        assert not too_early, "it went while the other was there"
        too_early = gone(child)
    wait_until(lambda: gone(child), seconds=5, what="the last one is gone too")


def test_the_log_takes_all_and_the_terminal_only_what_matters(keep: Callable[..., Kept]) -> None:
    lines = "\n".join(
        [
            "INFO all is well",
            "2026-01-01T00:00:00Z WARNING 12 x: mind this",
            "Traceback (most recent call last):",
            '  File "x.py", line 1, in <module>',
            "ValueError: because",
            "| Traceback (most recent call last):",
            "INFO and on it goes",
        ]
    )
    kept = keep(f"print({lines!r}); import time; time.sleep(600)")
    wait_until(
        lambda: kept.log.exists() and "on it goes" in kept.log.read_text(), seconds=10, what="all is logged"
    )
    assert "all is well" in kept.log.read_text()
    shown = wait_until(
        lambda: kept.shown() if "because" in kept.shown() else "", seconds=5, what="it is shown"
    )
    assert shown.splitlines() == lines.splitlines()[1:6]


def test_a_log_never_holds_more_than_its_bound_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOG_BYTES", 1000)
    log = keeper.Log(tmp_path / "x.log")
    for number in range(1000):
        log.write(b"%06d\n" % number)
    log.file.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["x.log", "x.log.1"]
    assert all(file.stat().st_size <= 1010 for file in files)
    assert (tmp_path / "x.log").read_bytes().endswith(b"000999\n")


def test_a_process_number_in_other_hands_is_not_taken_for_ours(tmp_path: Path) -> None:
    state = tmp_path / "worker.json"
    pid = os.getpid()
    state.write_text(json.dumps({"processes": [[pid, "1"], [pid, keeper.start_time(pid)]]}))
    assert keeper.alive(state) == [pid]


def test_a_zombie_counts_as_ended(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    wait_until(lambda: keeper.start_time(child.pid) is None, seconds=10, what="it ended")
    child.wait()
