"""The real processes: each gives signs of life, and each that is killed is seen to be."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ami_integration.console.services import status_read
from ami_integration.heartbeats import SILENT, Kind
from tests.polling import wait_until
from tests.processes import ROOT, Stack

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

#: The process that each kind lives in.
PROCESS = {
    Kind.WEB: "web",
    Kind.LISTENER: "listener",
    Kind.RECORDER: "recorder",
    Kind.WORKER: "worker",
    Kind.TICKER: "ticker",
    Kind.BEAT: "beat",
}


def states() -> dict[str, str]:
    return {row.kind: row.state for row in status_read().rows}


def told(kind: Kind, state: str) -> str:
    return f"{kind} is {state}: {states()}"


def test_each_process_that_is_killed_is_told_and_one_that_is_stopped_is_missing(stack: Stack) -> None:
    for kind, name in PROCESS.items():
        stack.start(name, *(["--no-recorder"] if kind is Kind.LISTENER else []), wait=False)
    wait_until(
        lambda: states() == dict.fromkeys(Kind, "ok"),
        seconds=90,
        what=lambda: f"all are well: {status_read()}",
    )
    for row in status_read().rows:
        assert row.pid == stack.processes[PROCESS[Kind(row.kind)]].pid
    command = [sys.executable, "manage.py", "status"]
    environment = os.environ | stack.env
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    stack.stop(PROCESS[Kind.LISTENER])
    wait_until(
        lambda: states()[Kind.LISTENER] == "missing", seconds=15, what=lambda: told(Kind.LISTENER, "missing")
    )
    stack.kill(PROCESS[Kind.WORKER])
    wait_until(
        lambda: states()[Kind.WORKER] == "silent",
        seconds=3 * SILENT,
        what=lambda: told(Kind.WORKER, "silent"),
    )
    others = {Kind.WEB, Kind.RECORDER, Kind.TICKER, Kind.BEAT}
    assert {kind for kind, state in states().items() if state == "ok"} == others
    for kind in others:
        stack.kill(PROCESS[kind])
    wait_until(
        lambda: all(states()[kind] == "silent" for kind in others),
        seconds=3 * SILENT,
        what=lambda: f"the others are silent: {states()}",
    )
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("has been silent for") == 5

    stack.start("worker")
    wait_until(lambda: states()[Kind.WORKER] == "ok", seconds=45, what=lambda: told(Kind.WORKER, "ok again"))
