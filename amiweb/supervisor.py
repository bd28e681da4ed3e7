"""honcho, told not to leave anybody behind.

honcho runs each process behind a helper process of its own (a fork that reads the output) and a shell. Killed
with -9, or with its terminal closed, it leaves all of them. Here

- each helper asks for a parent-death signal and ignores the terminal's end, which is the supervisor's to
  handle;
- what a helper starts is a keeper (`amiweb/keeper.py`), which watches the supervisor and restarts its
  process;
- SIGHUP stops the trial as Ctrl-C does, also before every process has come up; and so does the terminal's
  end where no SIGHUP comes: the kernel sends it to the session's leader alone, and make as one waits for us;
- a helper that was killed counts as stopped, or the supervisor would wait for it for ever.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from honcho import manager
from honcho.printer import Message, Printer
from honcho.process import Process

from amiweb.keeper import die_with_parent

KEEPER = Path(__file__).with_name("keeper.py")
VOICE = "amiweb"  # lines of this name are the trial's own words, printed without a prefix
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
manager.KILL_WAIT = 8  # seconds from the first process's end to SIGKILL for all: keepers take 5


class _Process(Process):
    def run(self, events: object = None, ignore_signals: bool = False) -> None:
        die_with_parent()
        # Signals of the terminal come to this fork too, from its first moment on: they were blocked before
        # it. SIGTERM is caught, not ignored, because what is ignored here would be ignored by the keeper as
        # well.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        super().run(events, ignore_signals)


class _Printer(Printer):
    def write(self, message: Message) -> None:
        try:
            if message.name == VOICE:
                print(message.data, file=self.output, flush=True)
            else:
                super().write(message)
        except OSError:
            pass  # the terminal is gone; its SIGHUP stops us, not this


def _watch_terminal() -> None:
    """Wait until the terminal that we were started from is gone, and tell ourselves as a shell would."""
    terminal = next((number for number in (0, 1, 2) if os.isatty(number)), None)
    if terminal is None:
        return
    poll = select.poll()
    poll.register(terminal, 0)  # the end is always reported
    poll.poll()
    os.kill(os.getpid(), signal.SIGHUP)


class Supervisor(manager.Manager):
    """Runs the trial's processes until Ctrl-C, SIGTERM or the terminal's end; `loop()` does it."""

    def __init__(self, *, folder: Path, logs: Path) -> None:
        super().__init__(printer=_Printer(sys.stdout))
        self._process_ctor = _Process
        self.folder = folder
        self.logs = logs
        self.asked_to_stop = False
        self.on_start: Callable[[], None] | None = None

    def keep(
        self, name: str, command: list[str], *, wait_for: Sequence[str] = (), options: Sequence[str] = ()
    ) -> None:
        """Add a process.

        Args:
            name: shown before each of its lines.
            command: its command line.
            wait_for: addresses that must answer before it starts.
            options: further ones of the keeper's.
        """
        keeper = [sys.executable, str(KEEPER), "--name", name, "--supervisor", str(os.getpid())]
        keeper += ["--folder", str(self.folder), "--log", str(self.logs / f"{name}.log")]
        keeper += [*options, *(word for address in wait_for for word in ("--wait-for", address))]
        self.add_process(name, "exec " + shlex.join([*keeper, "--", *command]))

    def say(self, text: str) -> None:
        """Print words of the trial's own; from any thread."""
        self.events.put(Message(type="line", data=text, time=datetime.now(), name=VOICE, colour=None))

    def terminate(self) -> None:
        if not self.asked_to_stop:
            self.asked_to_stop = True
            self.say("\nStopping …")
        if self._all_started():
            super().terminate()

    def _start(self) -> None:
        for number in STOPPING:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        super()._start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        # After the forks, which threads would disturb.
        threading.Thread(target=_watch_terminal, daemon=True).start()
        if self.on_start is not None:
            threading.Thread(target=self.on_start, daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.returncode = 0
        self.terminate()

    def _system_print(self, data: str) -> None:
        """honcho tells of each start and stop: too much to show, but the moment to catch up on a stop."""
        if self.asked_to_stop:
            self.terminate()

    def _stopped(self, process: dict[str, Any]) -> bool:
        helper = process.get("process")
        if process.get("returncode") is not None:
            return True
        return helper is not None and not helper.is_alive()

    def _all_stopped(self) -> bool:
        return all(self._stopped(process) for process in self._processes.values())

    def _any_stopped(self) -> bool:
        return any(self._stopped(process) for process in self._processes.values())
