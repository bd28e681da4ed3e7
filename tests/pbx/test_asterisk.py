"""The harness itself: a test run must leave nothing of its Asterisks behind, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pbx import provision
from tests.pbx.asterisk import Asterisk
from tests.pbx.fixtures import prepared
from tests.polling import wait_until

pytestmark = pytest.mark.pbx

SECONDS = 15.0

#: A test process that has an Asterisk, says where it is, and hangs.
OWNER = """
import sys
from tests.pbx.asterisk import Asterisk
asterisk = Asterisk(sys.argv[1])
asterisk.start()
print(asterisk.pid, asterisk._keeper.pid, asterisk.folder, flush=True)
sys.stdin.read()
"""


def answers(asterisk: Asterisk) -> bool:
    try:
        with socket.create_connection((asterisk.host, asterisk.port), timeout=1) as connection:
            return connection.recv(100).startswith(b"Asterisk Call Manager/")
    except OSError:
        return False


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def owner(asterisk22: Asterisk) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, asterisk22.suite],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    with process:
        yield process
        process.kill()


def announced(owner: subprocess.Popen[str]) -> tuple[int, int, Path]:
    assert owner.stdout is not None
    pid, keeper, folder = owner.stdout.readline().split()
    return int(pid), int(keeper), Path(folder)


def test_start_returns_when_it_answers_and_stop_when_it_is_gone(private_asterisk: Asterisk) -> None:
    assert private_asterisk.running
    assert answers(private_asterisk)
    private_asterisk.stop()
    assert not private_asterisk.running
    assert not answers(private_asterisk)


def test_a_restart_keeps_port_users_and_secrets(private_asterisk: Asterisk) -> None:
    before = (private_asterisk.port, private_asterisk.tls_port, private_asterisk.users, private_asterisk.pid)
    private_asterisk.restart()
    after = (private_asterisk.port, private_asterisk.tls_port, private_asterisk.users, private_asterisk.pid)
    assert answers(private_asterisk)
    assert before[:3] == after[:3]
    assert before[3] != after[3]


def test_a_killed_one_can_be_started_again(private_asterisk: Asterisk) -> None:
    private_asterisk.kill()
    assert not answers(private_asterisk)
    private_asterisk.start()
    assert answers(private_asterisk)


def test_two_share_a_chroot_and_close_leaves_no_folder(asterisk22: Asterisk) -> None:
    with prepared("22") as other:
        assert other.chroot == asterisk22.chroot
        assert other.port != asterisk22.port
        folder = other.folder
        assert folder.is_dir()
    assert not folder.exists()
    assert asterisk22.folder.is_dir()
    assert answers(asterisk22)


def test_the_end_of_a_test_process_by_kill_9_ends_its_asterisk_and_removes_its_folder(
    owner: subprocess.Popen[str],
) -> None:
    pid, keeper, folder = announced(owner)
    assert alive(pid)
    owner.kill()
    wait_until(
        lambda: not alive(pid) and not alive(keeper) and not folder.exists(),
        seconds=SECONDS, what="the Asterisk and its folder gone",
    )  # fmt: skip


def test_what_a_killed_keeper_leaves_is_removed_by_the_next_run(owner: subprocess.Popen[str]) -> None:
    pid, keeper, folder = announced(owner)
    os.kill(keeper, signal.SIGKILL)
    owner.kill()
    owner.wait()
    assert alive(pid)
    with prepared("22"):
        wait_until(lambda: not alive(pid), seconds=SECONDS, what="the left-over Asterisk gone")
        assert not folder.exists()


def test_it_listens_on_loopback_only(asterisk: Asterisk) -> None:
    inodes = {
        os.readlink(link).removeprefix("socket:[").removesuffix("]")
        for link in Path(f"/proc/{asterisk.pid}/fd").iterdir()
        if os.readlink(link).startswith("socket:[")
    }
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                listening.add((address, int(port, 16)))
    assert listening == {("0100007F", asterisk.port), ("0100007F", asterisk.tls_port)}
    assert asterisk.port != 5038


def test_version_is_what_asterisk_says(asterisk: Asterisk) -> None:
    assert asterisk.cli("core show version").startswith(f"Asterisk {asterisk.version}")
    finished = provision.read_finished(asterisk.suite)
    assert finished is not None
    assert finished.version == asterisk.version
