"""`make run` as a newcomer types it, in a terminal of its own, for tests that need the whole trial."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from amiweb import keeper
from tests.polling import wait_until
from tests.processes import ROOT

START = 60.0  # seconds; a second start takes a few, a loaded machine three times as long
STOP = 10.0  # seconds: the promise itself, since what hangs past it would be killed only by luck


class Trial:
    """`make run` in a terminal of its own."""

    def __init__(self, var: Path, **environment: str) -> None:
        self.var = var
        ours = ("AMIWEB_", "DJANGO_", "MAKE")  # this may run under `make test`
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        inherited |= {"AMIWEB_VAR_DIR": str(var), "AMIWEB_VENV": sys.prefix, "PYTHON": sys.executable}
        self.terminal, theirs = pty.openpty()
        os.set_blocking(self.terminal, False)
        self.process = subprocess.Popen(
            ["make", "--no-print-directory", "run"],
            cwd=ROOT,
            env=inherited | environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=keeper.die_with_parent,
        )  # fmt: skip
        os.close(theirs)
        self._output = b""

    def output(self) -> str:
        try:
            while chunk := os.read(self.terminal, 65536):
                self._output += chunk
        except OSError:
            pass  # nothing more now, or the terminal is closed
        return re.sub(r"\x1b\[[0-9;]*m", "", self._output.decode(errors="replace").replace("\r", ""))

    def until(self, words: str, seconds: float = START) -> str:
        """Wait until these words are on the terminal; give all that is on it."""

        def read() -> str:
            text = self.output()
            if words not in text and self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {text}")
            return text if words in text else ""

        return wait_until(read, seconds=seconds, what=lambda: f"{words!r} on the terminal:\n{self.output()}")

    def until_ready(self) -> str:
        """Wait until it says where it runs; give that address."""
        found = re.search(r"amiweb runs at +(http://\S+/)", self.until("Stop: Ctrl-C"))
        assert found is not None
        return found[1]

    def processes(self) -> set[int]:
        """make, the supervisor, its helpers, the keepers and their children."""
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        found, new = set(), {self.process.pid}
        while new:
            found |= new
            new = {child for parent in new for child in children.get(parent, [])} - found
        return found

    def child(self, name: str) -> int:
        """The process number of the real process of that name, behind its keeper."""
        state = self.var / "run" / f"{name}.json"

        def known() -> int:
            processes = json.loads(state.read_text())["processes"] if state.exists() else []
            return int(processes[1][0]) if len(processes) == 2 else 0

        return wait_until(known, seconds=START, what=f"{name} runs")

    def supervisor(self) -> int:
        state = json.loads((self.var / "run" / keeper.SUPERVISOR_STATE).read_text())
        return int(state["processes"][0][0])

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends SIGINT to its foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self, seconds: float) -> int:
        """Wait for the end; the terminal is read meanwhile, or its buffer would fill."""
        wait_until(
            lambda: (self.output(), self.process.poll() is not None)[1], seconds=seconds, what=self.output
        )
        return self.process.returncode

    def rows(self, query: str) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(f"file:{self.var / 'amiweb.sqlite3'}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        if self.process.poll() is None:
            mine = self.processes()
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.ended(15)
            except AssertionError:
                for pid in mine:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                self.process.wait()
        if self.terminal >= 0:
            os.close(self.terminal)
            self.terminal = -1
