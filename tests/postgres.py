"""A private PostgreSQL for one run of the tests, on a unix socket, from the machine's own binaries.

PostgreSQL refuses to run as root, so root becomes the user `postgres` for it; its folder lies in the system's
temporary folder, since pytest's own is closed to that user. Durability is off, since nobody needs the data
after a crash; AMIWEB_TEST_DURABLE=1 leaves PostgreSQL's own settings as they are, for benchmarks.
"""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from amiweb.keeper import die_with_parent
from tests.polling import wait_until

PORT = 5432  # only part of the socket file's name


def _bin() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return debian[-1].parent if debian else None


def programs() -> Path:
    """The folder of PostgreSQL's programs."""
    found = _bin()
    assert found is not None
    return (found / "initdb").resolve().parent  # on PATH there may be links to some of them only


def why_not() -> str:
    """Why no private PostgreSQL can be started here, for a person; empty where it can."""
    if _bin() is None:
        return "no initdb on PATH or in /usr/lib/postgresql (Debian: apt install postgresql)"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL refuses root, and there is no user postgres to become"
    return ""


def database_choice() -> str:
    """`sqlite` or `postgres`, from AMIWEB_TEST_DATABASE or from what is here."""
    choice = os.environ.get("AMIWEB_TEST_DATABASE") or ("sqlite" if why_not() else "postgres")
    if choice not in ("sqlite", "postgres"):
        sys.exit(f"AMIWEB_TEST_DATABASE is {choice!r}; it may be sqlite or postgres")
    return choice


def _identity() -> dict[str, Any]:
    """Whom PostgreSQL's processes run as, for `subprocess`: root may not."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Cluster:
    """One PostgreSQL; `url()` is known from the beginning, `start()` makes it true."""

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.gettempdir()) / f"{name}-pg"
        self.process: subprocess.Popen[bytes] | None = None
        self.version = ""

    @property
    def dsn(self) -> str:
        """libpq's form, of the maintenance database."""
        return f"host={self.folder} port={PORT} user=postgres dbname=postgres"

    def url(self, database: str) -> str:
        """The form of AMIWEB_DATABASE_URL."""
        return f"postgres://postgres@{quote(str(self.folder), safe='')}:{PORT}/{database}"

    def start(self) -> None:
        """Make the cluster and start it.

        Raises:
            RuntimeError: with PostgreSQL's own words.
        """
        bin_folder = _bin()
        assert bin_folder is not None, why_not()
        self.folder.mkdir(mode=0o700)
        atexit.register(self.stop)
        identity = _identity()
        if identity:
            os.chown(self.folder, identity["user"], identity["group"])
        data = self.folder / "data"
        made = subprocess.run(
            [bin_folder / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"],
            cwd=self.folder, capture_output=True, text=True, check=False, **identity,
        )  # fmt: skip
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}")
        self._run(identity)

    def _run(self, identity: dict[str, Any]) -> None:
        bin_folder = _bin()
        assert bin_folder is not None
        log = self.folder / "log"
        options = {
            "unix_socket_directories": str(self.folder), "port": str(PORT), "listen_addresses": "",
            "max_connections": "200",
        }  # fmt: skip
        if os.environ.get("AMIWEB_TEST_DURABLE") != "1":
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command = [str(bin_folder / "postgres"), "-D", str(self.folder / "data")]
        command += [f"--{name}={value}" for name, value in options.items()]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=output, stderr=output, preexec_fn=die_with_parent, **identity
            )
        wait_until(self._answers, seconds=60, what=lambda: f"PostgreSQL starts; its log: {log.read_text()}")

    def kill(self) -> None:
        """End it the hard way; its data stay. `restart` starts it again."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again on the data that are there."""
        self._run(_identity())

    def _answers(self) -> bool:
        import psycopg  # not at the top: SQLite's run needs no driver

        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended: {(self.folder / 'log').read_text()}")
        try:
            with psycopg.connect(self.dsn) as connection:
                self.version = str(connection.execute("SHOW server_version").fetchone()[0]).split()[0]  # type: ignore[index]
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """End it and remove its folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()  # smart shutdown waits for clients; ours are gone or going
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def cluster() -> Cluster:
    """The run's one cluster, named after the run's folder (tests/settings.py)."""
    return Cluster(Path(os.environ["AMIWEB_TEST_VAR"]).name)
