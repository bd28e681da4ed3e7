"""Keeps one process of the trial alive, and makes sure that it never outlives the trial.

    python amiweb/keeper.py --name worker --supervisor PID --folder DIR --log FILE [OPTIONS] -- COMMAND …

honcho, the trial's supervisor, stops everything when one process ends, and killed with -9 it leaves all of
them running. So each of its processes is one of these keepers, and the real process is the keeper's child:

- The child died and nobody asked for it: it is started again, after a pause that grows while it keeps dying.
- The keeper is told to stop (SIGTERM), or the supervisor is gone (its pidfd says so, even after kill -9): the
  child gets SIGTERM, and SIGKILL when it is still there after its grace. A worker with a run in progress is
  such a child; amiweb's reaper tells how its run ended.
- The keeper itself is killed: the kernel ends the child, which asked for that (a parent-death signal, Linux
  only).
- Whatever survives all this is found by the next start: a state file in DIR names the keeper's and the
  child's process, by number and start time, because numbers are used again.

The child's output goes whole into a log of bounded size. Only what a person should see passes to the
terminal: warnings and worse, tracebacks, and the last words of a child that died. Standard library only, and
run by its path, so that a keeper costs no more than a small Python.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

GRACE = 5.0  # seconds between SIGTERM and SIGKILL; the trial promises to be gone within 10
PAUSES = (0.5, 1, 2, 5, 10, 30)  # seconds before each next start of a child that keeps dying
HEALTHY = 60.0  # seconds after which a child's death counts as its first again
LOG_BYTES = 5_000_000  # of one log file; the one before is kept as FILE.1
LAST_WAIT = 7.0  # seconds that a --last keeper waits for its siblings

SUPERVISOR_STATE = "supervisor.json"  # beside the keepers' state files, and not a keeper's

_LEVEL = re.compile(r"\b(WARNING|ERROR|CRITICAL|FATAL)\b")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel for a signal when the parent dies. Fit for `preexec_fn`; does nothing outside Linux."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def start_time(pid: int) -> str | None:
    """When a process started, in the system's own unit, or None if there is none (a zombie counts as none).

    Together with the number it names one process for good.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        listed = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return listed.stdout.strip() or None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold blanks
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


class Watch:
    """Tells whether a process has ended, also one that is no child of ours."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.started = start_time(pid)
        self.descriptor: int | None = None
        if hasattr(os, "pidfd_open"):
            try:
                self.descriptor = os.pidfd_open(pid)
            except OSError:
                pass  # gone already, or a kernel without it: asked by number below

    def ended(self) -> bool:
        if self.descriptor is not None:
            return bool(select.select([self.descriptor], [], [], 0)[0])
        return self.started is None or start_time(self.pid) != self.started


class Log:
    """A file that takes every line and never holds more than LOG_BYTES, twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab")

    def write(self, line: bytes) -> None:
        try:
            if self.file.tell() > LOG_BYTES:
                self.file.close()
                self.path.replace(self.path.with_name(self.path.name + ".1"))
                self.file = self.path.open("ab")
            self.file.write(line)
            self.file.flush()
        except OSError:
            pass  # a full disk must not stop the process whose log this is


class Filter:
    """Chooses the lines of a child's output that a person should see."""

    def __init__(self) -> None:
        self.in_traceback = False

    def shows(self, line: str) -> bool:
        if line.startswith("| "):  # a traceback in the log: amiweb.logs
            return True
        if line.startswith("Traceback (most recent call last)"):
            self.in_traceback = True
        elif self.in_traceback and line and not line.startswith((" ", "\t")):
            self.in_traceback = False  # the line that names the exception is the last one
            return True
        return self.in_traceback or _LEVEL.search(line) is not None


class Keeper:
    """One keeper; `run()` returns when the child is gone for good."""

    def __init__(
        self,
        *,
        name: str,
        command: list[str],
        supervisor: int,
        folder: Path,
        log: Path,
        wait_for: list[str],
        last: bool,
        mute: bool,
    ) -> None:
        self.name = name
        self.command = command
        self.supervisor = Watch(supervisor)
        self.state = folder / f"{name}.json"
        self.log = Log(log)
        self.wait_for = wait_for
        self.last = last
        self.mute = mute
        self.last_words: deque[str] = deque(maxlen=3)
        self.filter = Filter()
        self.child: subprocess.Popen[bytes] | None = None
        self.buffer = b""
        self.stopping = False
        self.wake_read, self.wake_write = os.pipe()
        for descriptor in (self.wake_read, self.wake_write):
            os.set_blocking(descriptor, False)

    def run(self) -> None:
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # and so is the terminal's end
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken
        self._write_state()
        deaths = 0
        self._wait_for_others()
        while not self._over():
            began = time.monotonic()
            self._start()
            while self._alive() and not self._over():
                self._turn(1.0)
            if self._over():
                break
            self._drain()
            for words in self.last_words:
                self._print(words)
            deaths = 1 if time.monotonic() - began > HEALTHY else deaths + 1
            pause = PAUSES[min(deaths, len(PAUSES)) - 1]
            self._say(
                f"WARNING {self.name} ended by itself ({_ending(self.child)}); "
                f"starting it again in {pause:g} s"
            )
            self._wait(pause)
        if self.last:
            self._wait_for_siblings()
        self._end_child()
        self.state.unlink(missing_ok=True)

    # What is asked of us

    def _stop(self, *_: Any) -> None:
        self.stopping = True

    def _over(self) -> bool:
        return self.stopping or self.supervisor.ended()

    # The child

    def _start(self) -> None:
        self.buffer = b""
        self.last_words.clear()
        try:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
        except OSError as error:
            self._say(f"ERROR {self.name} can't be started: {error.strerror}: {self.command[0]}")
            self.child = None
            return
        assert self.child.stdout is not None
        os.set_blocking(self.child.stdout.fileno(), False)
        self._write_state()

    def _alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def _end_child(self) -> None:
        if self.child is None:
            return
        self._signal_child(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while self._alive() and time.monotonic() < deadline:
            self._turn(0.2)
        if self._alive():
            self._say(f"WARNING {self.name} did not stop within {GRACE:g} s; ending it")
        self._signal_child(signal.SIGKILL)  # its group too: whoever it left behind
        self.child.wait()
        self._drain()

    def _signal_child(self, number: signal.Signals) -> None:
        assert self.child is not None
        try:
            os.killpg(self.child.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # gone, with its whole group

    # Time and output

    def _turn(self, seconds: float) -> None:
        """Wait for output, a signal or the supervisor's end, for so long at most; pass on what came."""
        watched = [self.wake_read]
        if self.supervisor.descriptor is not None and not self.supervisor.ended():
            watched.append(self.supervisor.descriptor)
        stdout = self.child.stdout if self.child is not None else None
        if stdout is not None and not stdout.closed:
            watched.append(stdout.fileno())
        ready = select.select(watched, [], [], seconds)[0]
        if self.wake_read in ready:
            os.read(self.wake_read, 4096)
        if stdout is not None and not stdout.closed and stdout.fileno() in ready:
            self._read()

    def _read(self) -> bool:
        """Read once; false when there is nothing (more) to read."""
        assert self.child is not None
        assert self.child.stdout is not None
        try:
            chunk = os.read(self.child.stdout.fileno(), 65536)
        except BlockingIOError:
            return False
        if not chunk:
            self.child.stdout.close()
        *lines, self.buffer = (self.buffer + chunk).split(b"\n")
        if not chunk and self.buffer:
            lines, self.buffer = [*lines, self.buffer], b""
        for line in lines:
            self._line(line)
        return bool(chunk)

    def _drain(self) -> None:
        """What the dead child wrote last is what explains its death."""
        if self.child is not None and self.child.stdout is not None:
            while not self.child.stdout.closed and self._read():
                pass
            self.child.stdout.close()

    def _line(self, line: bytes) -> None:
        self.log.write(line + b"\n")
        text = line.decode("utf-8", "replace").rstrip("\r")
        if self.mute or not self.filter.shows(text):
            self.last_words.append(text)
        else:
            self.last_words.clear()
            self._print(text)

    def _say(self, text: str) -> None:
        self.log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n".encode())
        self._print(text)

    @staticmethod
    def _print(text: str) -> None:
        try:
            print(text, flush=True)
        except OSError:
            pass  # nobody listens any more; the log has it

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._over() and (left := deadline - time.monotonic()) > 0:
            self._turn(min(left, 1.0))

    def _wait_for_others(self) -> None:
        for address in self.wait_for:
            while not self._over() and not accepts(address):
                self._wait(0.1)

    def _wait_for_siblings(self) -> None:
        """Valkey stops last, so that nobody complains of its absence while stopping."""
        deadline = time.monotonic() + LAST_WAIT
        while time.monotonic() < deadline and self._alive() and self._siblings():
            self._turn(0.1)

    def _siblings(self) -> list[Path]:
        others = set(self.state.parent.glob("*.json")) - {self.state, self.state.with_name(SUPERVISOR_STATE)}
        return [path for path in others if alive(path)]

    # The state file

    def _write_state(self) -> None:
        processes = [os.getpid(), *([self.child.pid] if self.child is not None else [])]
        state = {"name": self.name, "processes": [[pid, start_time(pid)] for pid in processes]}
        draft = self.state.with_suffix(".new")
        draft.write_text(json.dumps(state))
        draft.replace(self.state)


def alive(state: Path) -> list[int]:
    """Numbers of a state file's processes that still live; one in other hands by now is not among them."""
    try:
        known = json.loads(state.read_text())["processes"]
    except (OSError, ValueError, KeyError):
        return []
    return [pid for pid, started in known if started is not None and start_time(pid) == started]


def accepts(address: str) -> bool:
    """Whether somebody answers there.

    Args:
        address: the path of a unix socket, or host:port.
    """
    host, colon, port = address.rpartition(":")
    try:
        if colon and port.isdigit():
            socket.create_connection((host, int(port)), timeout=1).close()
            return True
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1)
            client.connect(address)
            return True
    except OSError:
        return False


def _ending(child: subprocess.Popen[bytes] | None) -> str:
    if child is None or child.returncode is None:
        return "not started"
    if child.returncode < 0:
        return signal.Signals(-child.returncode).name
    return f"exit code {child.returncode}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep one process of the trial alive.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--supervisor", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--wait-for", action="append", default=[], help="address that must answer first")
    parser.add_argument("--last", action="store_true", help="stop only when the others have stopped")
    parser.add_argument("--mute", action="store_true", help="show its output only when it dies")
    parser.add_argument("command", nargs="+")
    Keeper(**vars(parser.parse_args())).run()


if __name__ == "__main__":
    main()
