"""amiweb's real processes and its Valkey, for tests that need more than one process.

`stack` starts web, worker, ticker, beat, listener and simulator with the very commands of `make run`, against
the test's database, Valkey and var folder. A test that uses it needs committed rows, so its database is
flushed afterwards (pytest-django's `transactional_db`).
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from amiweb.keeper import die_with_parent
from tests import postgres, requirements
from tests.polling import wait_until

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A port of the loopback interface that nobody uses now. Somebody may soon: use it at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A child of the test run that can't outlive it, its output in a file."""

    def __init__(
        self, command: list[str], *, log: Path, env: dict[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        self.log_path = log
        self._output: BinaryIO = log.open("ab")
        self.process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=self._output,
            stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        if self.alive():
            self.process.send_signal(number)

    def ended(self, *, seconds: float = 10) -> int:
        """Wait for the end (SIGKILL after that long) and give the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self._output.close()

    def end(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 10) -> int:
        """Send a signal, wait for the end (SIGKILL after that long) and give the exit code."""
        self.tell(number)
        return self.ended(seconds=seconds)


class Valkey:
    """An embedded Valkey on the private socket that the settings name. `str()` of it is its URL."""

    def __init__(self, socket_path: Path, folder: Path) -> None:
        self.socket_path = socket_path
        self.folder = folder
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """The form of AMIWEB_REDIS_URL and of redis-py."""
        return f"unix://{self.socket_path}"

    def __str__(self) -> str:
        return self.url

    def start(self) -> None:
        from amiweb import valkey

        if self.process is not None and self.process.alive():
            return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        command = valkey.command(socket=self.socket_path, folder=self.folder)
        self.process = Process(command, log=self.folder / "valkey.log")
        wait_until(self._answers, seconds=15, what=self.process.log)

    def _answers(self) -> bool:
        """Whether it serves: after a restart it accepts connections while it still loads its data."""
        import redis

        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.end()

    def kill(self) -> None:
        if self.process is not None:
            self.process.end(signal.SIGKILL)

    def flush(self) -> None:
        """Forget everything, so that no test sees another's messages."""
        import redis

        with redis.Redis.from_url(self.url) as client:
            client.flushall()


class Stack:
    """amiweb's processes by name, as in `amiweb.processes.commands`; each is started when a test needs it."""

    def __init__(self, *, env: dict[str, str], folder: Path, valkey: Valkey) -> None:
        self.valkey = valkey
        self.folder = folder
        self.port = free_port()
        self.simulator_ports = (free_port(), free_port())
        self.env = env | {
            "AMIWEB_PORT": str(self.port),
            "AMIWEB_SIMULATOR_PORTS": ",".join(map(str, self.simulator_ports)),
        }
        self.processes: dict[str, Process] = {}

    @property
    def url(self) -> str:
        """Where the web process answers, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def start(
        self, name: str, *arguments: str, env: dict[str, str] | None = None, wait: bool = True
    ) -> Process:
        """Start a process and wait until it is at work.

        Args:
            name: one of `amiweb.processes.commands`.
            arguments: more of its command line's.
            env: variables on top of the stack's.
            wait: false for one that is not expected to come up.
        """
        from amiweb.processes import commands

        assert name not in self.processes or not self.processes[name].alive(), f"{name} runs already"
        command = commands(port=self.port, simulator_ports=self.simulator_ports)[name] + list(arguments)
        process = Process(command, log=self.folder / f"{name}.log", env=os.environ | self.env | (env or {}))
        self.processes[name] = process
        if wait:
            ready = READY.get(name, Stack._runs)
            wait_until(
                lambda: ready(self, process),
                seconds=45,
                what=lambda: f"{name} is at work; its log:\n{process.log()}",
            )
        return process

    def stop(self, name: str) -> int:
        """Ask a process to end (SIGTERM) and give its exit code."""
        return self.processes.pop(name).end(signal.SIGTERM)

    def kill(self, name: str) -> None:
        """End a process the hard way."""
        self.processes.pop(name).end(signal.SIGKILL)

    def log(self, name: str) -> str:
        """All that a process of that name has written, restarts included."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        """End all of them together: one after the other would take several times as long."""
        for process in self.processes.values():
            process.tell(signal.SIGTERM)
        for process in self.processes.values():
            process.ended()
        self.processes.clear()

    # When a process is at work

    def _runs(self, process: Process) -> bool:
        if not process.alive():
            raise AssertionError(f"it ended with {process.process.returncode}: {process.log()}")
        return True

    def _web_answers(self, process: Process) -> bool:
        self._runs(process)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/admin/login/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _worker_is_ready(self, process: Process) -> bool:
        return self._runs(process) and " ready." in process.log()

    def _beat_has_started(self, process: Process) -> bool:
        return self._runs(process) and "beat: Starting" in process.log()

    def _simulators_answer(self, process: Process) -> bool:
        self._runs(process)
        try:
            for port in self.simulator_ports:
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
        except OSError:
            return False
        return True


READY: dict[str, Callable[[Stack, Process], bool]] = {
    "web": Stack._web_answers,
    "worker": Stack._worker_is_ready,
    "ticker": Stack._worker_is_ready,
    "beat": Stack._beat_has_started,
    "simulator": Stack._simulators_answer,
}


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """The run's Valkey (`.url`, `.start()`, `.kill()`, `.flush()`), on the socket that the settings name."""
    from django.conf import settings

    assert settings.AMIWEB_VALKEY_SOCKET is not None
    server = Valkey(settings.AMIWEB_VALKEY_SOCKET, settings.AMIWEB_VAR_DIR / "valkey")
    server.start()
    import redis

    with redis.Redis.from_url(server.url) as client:
        requirements.ran_against("Valkey", str(client.info("server").get("valkey_version")))
    yield server
    server.stop()


def database_url() -> str:
    """The test database as AMIWEB_DATABASE_URL, for another process."""
    from django.db import connection

    name = str(connection.settings_dict["NAME"])
    return f"sqlite:///{name}" if connection.vendor == "sqlite" else postgres.cluster().url(name)


@pytest.fixture
def stack(transactional_db: None, valkey: Valkey, tmp_path: Path) -> Iterator[Stack]:
    """amiweb's real processes against the test's database and Valkey; start the ones that the test needs."""
    from django.conf import settings

    valkey.start()
    valkey.flush()
    env: dict[str, Any] = {
        "DJANGO_SETTINGS_MODULE": "amiweb.settings",
        "AMIWEB_VAR_DIR": str(settings.AMIWEB_VAR_DIR),
        "AMIWEB_DATABASE_URL": database_url(),
    }
    processes = Stack(env=env, folder=tmp_path, valkey=valkey)
    yield processes
    processes.close()
    valkey.start()  # a test may have stopped it


@pytest.fixture
def celery_worker_process(stack: Stack) -> Process:
    """A real Celery worker; the fixture `stack` holds it as `worker`."""
    return stack.start("worker")
