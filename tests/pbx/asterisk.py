"""A real Asterisk under the control of a test: start, stop, kill, restart, freeze.

It runs as ``chroot DIR asterisk -f -U asterisk -G asterisk -C ...`` in a chroot that tests/pbx/provision.py
made. Everything that it writes lies in a folder of this run inside the chroot, so that many Asterisks share
one chroot; ports are free loopback ports, never the ones that a real PBX uses.

What a run leaves when its test process is killed is removed by its keeper (tests/pbx/keeper.py); what is
left when the keeper too was killed, the next run removes: a run folder belongs to somebody as long as its
lock is held.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.certificates import make_certificates
from tests.pbx import provision

CONF = Path(__file__).parent / "conf"
KEEPER = Path(__file__).parent / "keeper.py"
FOLDERS = ("etc", "run", "log", "spool", "db", "cache")
ROLES = ("admin", "readonly", "originate", "nocall", "slow")
PHONES = range(1000, 3000)
# Below the kernel's ephemeral range, so that no outgoing connection takes the port while Asterisk is
# stopped, and beyond those that telephony software uses by default.
PORTS = range(21000, 32000)
START_SECONDS = 60.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02


class AsteriskError(Exception):
    """The Asterisk couldn't be started or stopped; the text holds the end of its log."""


class Asterisk:
    """One Asterisk of a provisioned suite; `start()` it, or use it as a context manager.

    `users` maps a role to (username, secret): admin (all classes), readonly (read=all, write=none), originate
    (write=originate, read=call), nocall (everything but read=call), slow (writetimeout of 100 ms).
    """

    host = "127.0.0.1"

    def __init__(self, suite: str = "sid", *, telephones: Telephones | None = None) -> None:
        """Prepare an Asterisk.

        Args:
            suite: a provisioned one, see tests/pbx/provision.py.
            telephones: where its 2,000 PJSIP endpoints are reached; without it they are unreachable.

        Raises:
            AsteriskError: the suite is not provisioned.
        """
        finished = provision.read_finished(suite)
        if finished is None:
            raise AsteriskError(f"{suite} is not provisioned (make pbx)")
        self.suite = suite
        self.version = finished.version
        self.chroot = finished.chroot
        self.users = {role: (role, secrets.token_hex(12)) for role in ROLES}
        self.port, self.tls_port, self.sip_port, self._iax_port, self._chan_sip_port = free_ports(5)
        self._telephones = telephones
        self._keeper: subprocess.Popen[str] | None = None
        self.pid: int | None = None
        self._held = contextlib.ExitStack()
        # Nobody rebuilds the chroot below us.
        self._held.enter_context(provision.suite_lock(suite, shared=True))
        self.folder = self._held.enter_context(run_folder(self.chroot))
        self._configure()

    # Configuration

    def _configure(self) -> None:
        values = {
            "RUN": self._inside,
            "MODULES": modules_folder(self.chroot),
            "PORT": str(self.port),
            "TLS_PORT": str(self.tls_port),
            "SIP_PORT": str(self.sip_port),
            "IAX_PORT": str(self._iax_port),
            "CHAN_SIP_PORT": str(self._chan_sip_port),
            **{f"{role.upper()}_SECRET": secret for role, (_, secret) in self.users.items()},
        }
        self._write_configuration(CONF, values)
        with (self.folder / "etc" / "pjsip.conf").open("a") as file:
            file.write(self._endpoints())
        certificates = make_certificates()
        self.ca_file = self.folder / "etc" / "ca.pem"
        self.ca_file.write_bytes(certificates.ca)
        (self.folder / "etc" / "server.pem").write_bytes(certificates.server)
        self._hand_over()

    def _write_configuration(self, templates: Path, values: Mapping[str, str]) -> None:
        """Make the run's folders, and its configuration: in each template, ``@NAME@`` becomes that value."""
        for name in FOLDERS:
            (self.folder / name).mkdir()
        for template in sorted(templates.glob("*.conf")):
            text = template.read_text()
            for name, value in values.items():
                text = text.replace(f"@{name}@", value)
            (self.folder / "etc" / template.name).write_text(text)

    def _hand_over(self) -> None:
        """Asterisk runs as its own user, who owns what is its own."""
        uid, gid = asterisk_user(self.chroot)
        for path in [self.folder, *self.folder.rglob("*")]:
            os.chown(path, uid, gid)

    def _endpoints(self) -> str:
        lines = []
        for phone in PHONES:
            lines += [f"[{phone}](phone)", f"aors = {phone}", f"[{phone}](phone_aor)"]
            if self._telephones is not None:
                lines.append(f"contact = sip:{phone}@127.0.0.1:{self._telephones.sip_port}")
        return "\n".join(lines) + "\n"

    @property
    def _inside(self) -> str:
        """The run's folder as Asterisk sees it, from inside the chroot."""
        return f"/{self.folder.relative_to(self.chroot)}"

    # Life

    @property
    def running(self) -> bool:
        return self._keeper is not None and self._keeper.poll() is None

    def start(self) -> None:
        """Start it; returns when AMI answers with its banner and Asterisk is fully booted.

        Raises AsteriskError, with the end of its log, when it ends or isn't ready in a minute.
        """
        if self.running:
            raise AsteriskError("already running")
        command = ["chroot", str(self.chroot), "asterisk", "-f", "-U", "asterisk", "-G", "asterisk"]
        command += ["-C", f"{self._inside}/etc/asterisk.conf"]
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER), str(self.folder), *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.pid = int(stream(self._keeper.stdout).readline())
        deadline = time.monotonic() + START_SECONDS
        while not self._fully_booted(deadline):
            if not self.running:
                self._forget()
                raise AsteriskError(f"Asterisk ended while starting:\n{self.log_end()}")
            if time.monotonic() > deadline:
                self.kill()
                raise AsteriskError(f"Asterisk was not ready in {START_SECONDS:.0f} s:\n{self.log_end()}")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop it as an administrator does: AMI sessions see a Shutdown event. Does nothing when it isn't
        running.
        """
        if not self.running:
            self._forget()
            return
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        if not self._wait(STOP_SECONDS):
            self.kill()
            raise AsteriskError(f"Asterisk did not stop in {STOP_SECONDS:.0f} s:\n{self.log_end()}")

    def kill(self) -> None:
        """kill -9: what a crash looks like from outside."""
        if self.running:
            self._signal(signal.SIGKILL)
            self._wait(STOP_SECONDS)
        self._forget()

    def restart(self) -> None:
        """Stop and start it; ports, users and secrets stay."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop its execution, not its sockets: what a half-open connection or an overloaded host looks
        like.
        """
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove the run's folder."""
        try:
            if self.running:
                try:
                    self.stop()
                except AsteriskError:
                    self.kill()
        finally:
            self._held.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Looking in

    def cli(self, command: str, *, timeout: float = 30.0) -> str:
        """What the CLI prints for a command; for arranging a test, not for testing."""
        done = subprocess.run(
            ["chroot", self.chroot, "asterisk", "-C", f"{self._inside}/etc/asterisk.conf", "-rx", command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise AsteriskError(f"asterisk -rx {command!r} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def log_end(self, lines: int = 20) -> str:
        text = "".join(
            (self.folder / "log" / name).read_text(errors="replace")
            for name in ("messages", "messages.log", "console")
            if (self.folder / "log" / name).exists()
        )
        return "\n".join(text.splitlines()[-lines:])

    # Below

    def _signal(self, number: signal.Signals) -> None:
        # The keeper has not yet reaped it as long as it runs, so the pid is still its own.
        if self.running and self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _wait(self, seconds: float) -> bool:
        if self._keeper is not None:
            try:
                self._keeper.wait(seconds)
            except subprocess.TimeoutExpired:
                return False
        self._forget()
        return True

    def _forget(self) -> None:
        if self._keeper is not None:
            for pipe in (self._keeper.stdin, self._keeper.stdout):
                stream(pipe).close()
            self._keeper.wait()
        self._keeper = self.pid = None

    def _fully_booted(self, deadline: float) -> bool:
        """Log in on AMI and wait for FullyBooted; False when it isn't there yet or is gone again."""
        username, secret = self.users["admin"]
        login = f"Action: Login\r\nUsername: {username}\r\nSecret: {secret}\r\nEvents: system\r\n\r\n"
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.settimeout(max(0.1, deadline - time.monotonic()))
                seen = b""
                connection.sendall(login.encode())
                while b"Event: FullyBooted\r\n" not in seen:
                    data = connection.recv(4096)
                    if not data:
                        return False
                    seen += data
                    if b"Authentication failed" in seen:
                        raise AsteriskError(f"port {self.port} belongs to another AMI server")
                return True
        except OSError:
            return False


class Telephones(Asterisk):
    """An Asterisk that plays all the telephones of another one, so that real SIP calls can be made.

    Called, it does what the context `phones` says for the number. To make one call, originate
    `PJSIP/exchange/sip:<number>@127.0.0.1:<sip_port of the other>` here, with the caller's number as
    CallerID.
    """

    def _endpoints(self) -> str:
        return "[exchange](telephones)\n[exchange](telephones_identify)\nendpoint = exchange\n"


def stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def modules_folder(chroot: Path) -> str:
    """Where the package keeps its modules (with the architecture in its name, or not), as seen inside the
    chroot.
    """
    found = sorted(chroot.glob("usr/lib/**/asterisk/modules/app_dial.so"))
    if not found:
        raise AsteriskError(f"{chroot} holds no Asterisk modules; make pbx after removing it")
    return f"/{found[0].parent.relative_to(chroot)}"


def asterisk_user(chroot: Path) -> tuple[int, int]:
    """(uid, gid) of the user asterisk in the chroot, which this machine's own user database doesn't know."""
    for line in (chroot / "etc/passwd").read_text().splitlines():
        name, _, uid, gid = line.split(":")[:4]
        if name == "asterisk":
            return int(uid), int(gid)
    raise AsteriskError(f"{chroot} has no user asterisk")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, TCP and UDP, on loopback. Who takes one in the meantime makes the start
    fail.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AsteriskError("no free ports on loopback")


@contextlib.contextmanager
def run_folder(chroot: Path) -> Iterator[Path]:
    """A new folder for one run inside the chroot, removed at the end; folders that nobody owns any more go
    too.
    """
    base = chroot / "srv"
    with open(base / ".amiweb.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in base.glob("amiweb-*"):
            remove_leftover(left)
        folder = base / f"amiweb-{secrets.token_hex(4)}"
        folder.mkdir()
        owner = open(folder / "owner.lock", "w")  # noqa: SIM115 - held until the run ends
        fcntl.flock(owner, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        owner.close()


def remove_leftover(folder: Path) -> None:
    """Remove a run's folder, and its Asterisk, when the process that owned it is gone."""
    try:
        with open(folder / "owner.lock") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(OSError, ValueError):
                pid = int((folder / "run" / "asterisk.pid").read_text())
                # Pids are reused: it is that run's Asterisk only if its command line names the run.
                if (
                    f"/srv/{folder.name}/etc/asterisk.conf".encode()
                    in Path(f"/proc/{pid}/cmdline").read_bytes()
                ):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError:
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return
