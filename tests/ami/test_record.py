"""``python -m ami_integration.ami.record`` on a simulated PBX: what was said is kept, secrets aren't."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ami_integration.ami.record import main
from ami_integration.ami.recording import Segment, read_recording
from ami_integration.simulator.wire import EventClass
from tests.polling import wait_until
from tests.simulator.fixtures import Simulator
from tests.sshd import Sshd

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AMI_SECRET", "simulated")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():  # the command sets its own, for the life of its process
        signal.signal(number, handler)


def words(simulator: Simulator, file: Path) -> list[str]:
    where = [simulator.host, str(file), "--port", str(simulator.port)]
    return [*where, "--username", simulator.username]


def segments(file: Path) -> list[Segment]:
    with file.open("rb") as opened:
        return list(read_recording(opened))


def received(file: Path) -> bytes:
    return b"".join(one.data for one in segments(file) if not one.sent)


def test_a_session_is_in_the_file_from_the_banner_to_the_goodbye(
    simulator: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.recording"
    code = main(
        [*words(simulator, file), "--action", "QueueStatus Queue=support", "--action", "Ping"]
        + ["--events", "system", "--seconds", "0.3"]
    )
    assert code == 0
    assert capsys.readouterr().out.startswith("5 events, ")  # FullyBooted and a list
    data = received(file)
    assert data.startswith(b"Asterisk Call Manager/11.0.0\r\n")
    assert data.endswith(b"Message: Thanks for all the fish.\r\n\r\n")
    assert b"Event: FullyBooted\r\n" in data
    assert b"Event: QueueMember\r\n" in data
    sent = [one.data.split(b"\r\n")[0] for one in segments(file) if one.sent]
    assert sent == [
        b"Action: " + name for name in (b"Challenge", b"Login", b"QueueStatus", b"Ping", b"Logoff")
    ]


def test_neither_the_secret_nor_the_key_of_the_login_is_in_the_file(
    simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "a.recording"
    assert main([*words(simulator, file), "--seconds", "0.1"]) == 0
    login = next(one.data for one in segments(file) if one.data.startswith(b"Action: Login\r\n"))
    assert b"\r\nKey: " + b"*" * 32 + b"\r\n" in login
    assert b"\r\nUsername: amiweb\r\n" in login
    assert simulator.secret.encode() not in file.read_bytes()


def test_only_its_owner_may_read_it_and_no_file_is_overwritten(
    simulator: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.recording"
    assert main([*words(simulator, file), "--seconds", "0.1"]) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SystemExit) as ended:
        main(words(simulator, file))
    assert ended.value.code == 2
    assert "exists already" in capsys.readouterr().err


def test_it_ends_after_so_many_events(simulator: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "a.recording"
    assert main([*words(simulator, file), "--count", "1", "--seconds", "600"]) == 0
    assert received(file).count(b"\r\nEvent: ") >= 1


def wait_until_it_records(simulator: Simulator) -> None:
    """With ``BUSY``: the session's mask is set by an action that comes after the login."""
    wait_until(
        lambda: simulator.call(lambda: EventClass.USER in {one.mask for one in simulator.pbx.sessions}),
        seconds=20, what="the recorder has logged in and sent its action",
    )  # fmt: skip


BUSY = ["--events", "off", "--action", "Events EventMask=user"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_the_file_is_whole(number: int, simulator: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "a.recording"
    with subprocess.Popen(
        [sys.executable, "-m", "ami_integration.ami.record", *words(simulator, file), *BUSY],
        cwd=ROOT, env={**os.environ, "AMI_SECRET": simulator.secret}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        wait_until_it_records(simulator)
        simulator.emit("UserEvent", times=10, classes="user")
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert received(file).count(b"Event: UserEvent\r\nPrivilege: user,all\r\n\r\n") == 10
    assert received(file).endswith(b"Thanks for all the fish.\r\n\r\n")


def test_a_pbx_that_goes_away_ends_it_with_what_came(
    simulator: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.recording"

    def leave() -> None:
        wait_until_it_records(simulator)
        simulator.kick()

    with ThreadPoolExecutor() as threads:
        left = threads.submit(leave)
        assert main([*words(simulator, file), *BUSY, "--seconds", "20"]) == 0
        left.result()
    assert "closed the connection" in capsys.readouterr().err
    assert b"Authentication accepted" in received(file)


def test_without_a_connection_it_says_why(
    simulator: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator.stop()
    file = tmp_path / "a.recording"
    assert main(words(simulator, file)) == 3
    said = capsys.readouterr()
    assert "refused" in said.err and said.err.count("\n") == 1
    assert said.out == ""
    assert not file.exists(), "the next attempt wants the name"


def test_a_session_through_an_ssh_server_is_recorded(
    sshd: Sshd, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "a.recording"
    tunnel = ["--ssh", f"{sshd.username}@127.0.0.1:{sshd.port}"]
    assert main([*words(simulator, file), *tunnel]) == 3  # nobody is asked for a password
    pin = capsys.readouterr().err.split()[-2:]
    assert pin == ["--ssh-host-key", sshd.fingerprint("ed25519")]
    monkeypatch.setenv("AMI_SSH_PASSWORD", sshd.password)
    assert main([*words(simulator, file), *tunnel, *pin, "--action", "Ping", "--seconds", "0.3"]) == 0
    assert b"Ping: Pong\r\n" in received(file)
    content = file.read_bytes()
    assert f"through the SSH server 127.0.0.1:{sshd.port}\n".encode() in content
    assert sshd.password.encode() not in content
