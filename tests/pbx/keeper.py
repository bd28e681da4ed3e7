"""Run one Asterisk for a test process, and leave nothing behind when that process goes, however it goes.

``python keeper.py RUN_FOLDER COMMAND...``: starts the command, writes its pid to standard output, and
waits. The test process holds the other end of standard input: when it closes (an interrupted pytest, kill
-9 included), the command is killed and the run folder removed.

Why not a parent-death signal: the kernel forgets it when a process changes its user, and Asterisk started
with ``-U asterisk`` does. Why a process of its own and not an atexit: kill -9 runs no atexit.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys


def main() -> int:
    folder, *command = sys.argv[1:]
    # A Ctrl-C in the terminal is for pytest, which then stops or closes us in its own order.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with open(os.path.join(folder, "log", "console"), "ab") as console:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, preexec_fn=default_signals
        )
    print(child.pid, flush=True)
    while child.poll() is None:
        ready, _, _ = select.select([sys.stdin.buffer, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 512)
        elif not os.read(sys.stdin.fileno(), 512):
            child.kill()
            child.wait()
            shutil.rmtree(folder, ignore_errors=True)
            return 1
    print(child.returncode, flush=True)
    return 0


def default_signals() -> None:
    """Ignored signals stay ignored over exec; Asterisk must hear its SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
