"""The command line of each process: `make run` starts them all, the tests start them one by one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

TICK_QUEUE = "amiweb.ticks"
"""The task queue of `schedules.tick`, which beat fills and the ticker empties."""

WORKER_THREADS = 32
"""Runs that a worker carries out at once; most of their time they wait for a PBX."""


SOCKET_MESSAGE = 512 * 1024
"""Bytes of one message on a WebSocket, unpacked. The consumers take half of it, and refuse more in words."""


def commands(*, port: int, simulator_ports: Sequence[int], bind: str = "127.0.0.1") -> dict[str, list[str]]:
    """Command lines by process name, to be run in the folder of `manage.py`.

    Args:
        port: where the web process listens.
        simulator_ports: one for each simulated PBX.
        bind: address that the web process listens on.
    """
    python = sys.executable
    manage = [python, "manage.py"]
    celery = [python, "-m", "celery", "--app", "amiweb", "--quiet"]
    return {
        "web": [
            *(python, "-m", "uvicorn", "amiweb.asgi:application", "--host", bind, "--port", str(port)),
            *("--timeout-graceful-shutdown", "3", "--no-access-log", "--lifespan", "on"),
            "--no-server-header",  # nobody needs to know what to look up
            *("--ws-max-size", str(SOCKET_MESSAGE)),
        ],
        "worker": [
            *celery,
            "worker",
            "--pool",
            "threads",
            "--concurrency",
            str(WORKER_THREADS),
            "--loglevel",
            "INFO",
        ],
        # The clock's own worker: a PBX that keeps all threads of the other one waiting must not stop it.
        "ticker": [
            *(*celery, "worker", "--queues", TICK_QUEUE, "--pool", "threads", "--concurrency", "1"),
            *("--hostname", "ticker@%h", "--without-mingle", "--without-gossip", "--loglevel", "INFO"),
        ],
        "beat": [*celery, "beat", "--loglevel", "INFO", "--pidfile="],
        "listener": [*manage, "listen"],
        "recorder": [*manage, "record"],
        "simulator": [
            *manage,
            "simulate",
            *(word for one in simulator_ports for word in ("--port", str(one))),
        ],
    }
