"""A real OpenSSH server on a port of its own, with keys and an account that belong to the test run.

Debian's sshd wants root, an absolute path and /run/sshd; a login by password wants an account of the system,
which is made here without a home and without a shell, and removed again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ami_integration.ami import SSH
from tests.polling import wait_until
from tests.requirements import ran_against, unavailable

SSHD = "/usr/sbin/sshd"
_ACCOUNT = "amiwebssh{}"  # the number is that of the process whose tests use it


@dataclasses.dataclass
class Sshd:
    """A running sshd.

    Attributes:
        port: on 127.0.0.1.
        username, password, key: an account that may forward, and the text of its private key.
        host_keys: kind → public host key.
        process: the one that listens; each connection has its own children.
    """

    folder: Path
    port: int
    username: str
    password: str
    key: str
    host_keys: dict[str, str]
    process: subprocess.Popen[bytes]

    def transport(self, port: int, host: str = "127.0.0.1", **changes: object) -> SSH:
        """The way to a PBX on `port` of the SSH server's machine, by key; `changes` as arguments of `SSH`."""
        transport = SSH(
            host,
            port,
            ssh_host="127.0.0.1",
            ssh_port=self.port,
            ssh_username=self.username,
            ssh_key=self.key,
            host_key=self.host_keys["ed25519"],
        )
        return dataclasses.replace(transport, **changes)  # type: ignore[arg-type]

    def fingerprint(self, kind: str) -> str:
        """A host key's, as ssh-keygen prints it."""
        line = subprocess.run(
            ["ssh-keygen", "-lf", self.folder / f"host_{kind}.pub"],
            capture_output=True,
            text=True,
            check=True,
        )
        return line.stdout.split()[1]

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def sessions(self) -> list[int]:
        """Processes that serve connections: of each one that has the rights, and one that has the line."""
        return _descendants(self.process.pid)

    def kill_sessions(self) -> None:
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []  # it has ended
    return [found for child in children for found in (child, *_descendants(child))]


def why_not() -> str | None:
    """What is missing for a real sshd here, or None."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a real sshd with a login by password needs Linux and root"
    for program, package in (
        (SSHD, "openssh-server"),
        ("ssh-keygen", "openssh-client"),
        ("useradd", "passwd"),
    ):
        if shutil.which(program) is None:
            return f"there is no {program}: apt install {package}"
    return None


@contextlib.contextmanager
def account(password: str) -> Iterator[str]:
    """An account of this machine that can do nothing but log in."""
    for entry in pwd.getpwall():  # left by a run that was killed
        number = re.fullmatch(_ACCOUNT.format("([0-9]+)"), entry.pw_name)
        if number and not Path("/proc", number[1]).exists():
            subprocess.run(["userdel", entry.pw_name], check=True, capture_output=True)
    name = _ACCOUNT.format(os.getpid())
    with contextlib.suppress(KeyError):
        pwd.getpwnam(name)
        subprocess.run(["userdel", name], check=True, capture_output=True)
    nothing = ["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    subprocess.run(["useradd", "--system", *nothing, name], check=True, capture_output=True)
    try:
        # The hash is made by chpasswd, without PAM's opinion about passwords.
        subprocess.run(
            ["chpasswd", "--crypt-method", "SHA512"], input=f"{name}:{password}\n".encode(), check=True
        )
        yield name
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


@contextlib.contextmanager
def running(username: str, password: str, *settings: str) -> Iterator[Sshd]:
    """Start an sshd.

    Args:
        settings: lines of sshd_config; they come first, and sshd takes the first that it finds.
    """
    # Not pytest's: sshd reads the authorized keys as the account, which must be able to get there.
    with tempfile.TemporaryDirectory(prefix="amiweb-sshd-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with _serving(folder, username, password, *settings) as sshd:
            yield sshd


@contextlib.contextmanager
def _serving(folder: Path, username: str, password: str, *settings: str) -> Iterator[Sshd]:
    host_keys = {}
    for kind in ("ed25519", "rsa", "ecdsa"):
        keygen(folder / f"host_{kind}", kind)
        host_keys[kind] = (folder / f"host_{kind}.pub").read_text().strip()
    keygen(folder / "user", "ed25519")
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    lines = [
        *settings,
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        *(f"HostKey {folder}/host_{kind}" for kind in host_keys),
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "StrictModes no",  # the folder lies under a temporary one
        "UsePAM no",
        "PasswordAuthentication yes",
        "PidFile none",
        "LogLevel VERBOSE",
        f"AllowUsers {username}",
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with (folder / "log").open("wb") as log:
        # The kernel ends it with the test run, however that ends.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", SSHD, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    sshd = Sshd(folder, port, username, password, (folder / "user").read_text(), host_keys, process)
    try:
        wait_until(
            lambda: process.poll() is not None or "Server listening" in sshd.log(),
            seconds=15,
            what=lambda: f"sshd listens: {sshd.log()}",
        )
        assert process.poll() is None, sshd.log()
        yield sshd
    finally:
        if process.poll() is None:
            sshd.kill_sessions()
            process.terminate()
            process.wait(10)


def keygen(path: Path, kind: str, passphrase: str = "") -> None:
    """Make a pair of keys at `path` and `path`.pub."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "amiweb test", "-f", str(path)], check=True
    )


@pytest.fixture(scope="session")
def ssh_account() -> Iterator[tuple[str, str]]:
    """An account's name and password."""
    if reason := why_not():
        unavailable("ssh", reason)
    password = secrets.token_urlsafe(16)
    with account(password) as name:
        yield name, password


@pytest.fixture(scope="session")
def sshd(ssh_account: tuple[str, str]) -> Iterator[Sshd]:
    """A running sshd that forwards."""
    version = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    ran_against("OpenSSH", version.partition(",")[0].removeprefix("OpenSSH_"))
    with running(*ssh_account) as found:
        yield found
