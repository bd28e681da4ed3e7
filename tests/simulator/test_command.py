"""`manage.py simulate` as a process."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ami_integration.ami import TCP, TLS, AMIClient
from ami_integration.simulator import SECRET, USERNAME
from tests.certificates import make_certificates
from tests.simulator.raw import RawAMI

ROOT = Path(__file__).parents[2]
SIMULATE = [sys.executable, "manage.py", "simulate"]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def _simulate(*arguments: str, ready: int = 1) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [*SIMULATE, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for _ in range(ready):
            line = process.stdout.readline()
            assert line.startswith("simulated PBX on "), (line, process.poll())
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _refused(*arguments: str) -> str:
    done = subprocess.run(
        [*SIMULATE, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_it_runs_a_pbx_on_each_port_with_calls_and_ends_at_once_on_sigterm() -> None:
    first, second = _free_ports(2)
    arguments = ["--port", str(first), "--port", str(second), "--calls-per-second", "20", "--seed", "1"]
    with _simulate(*arguments, ready=2) as process:
        for port in (first, second):
            with RawAMI("127.0.0.1", port) as ami:
                ami.log_in(USERNAME, SECRET)
                ami.read_until(b"Event: Newchannel")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0


def test_the_secret_comes_from_a_file(tmp_path: Path) -> None:
    (port,) = _free_ports(1)
    (tmp_path / "secret").write_text("hush\n")
    with (
        _simulate("--port", str(port), "--username", "me", "--secret-file", str(tmp_path / "secret")),
        RawAMI("127.0.0.1", port) as ami,
    ):
        ami.log_in("me", "hush")


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} is in use" in _refused("--port", str(port))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "5038"], "never listens on 5038"),
        (["--port", "99999"], "99999 is not a port: give a --port from 1 to 65535"),
        (["--port", "-1"], "-1 is not a port"),
        (["--port", "65535", "--count", "2"], "65536 is not a port"),
        (["--port", "0", "--host", "192.0.2.1", "--secret-file", "SECRET"], "give another --host or --port"),
        (["--port", "0", "--host", "0.0.0.0"], "give a secret of your own with --secret-file"),
        (["--port", "0", "--host", "::"], "others can reach ::"),
        (["--port", "0", "--host", ""], "others can reach all addresses"),
        (["--port", "0", "--host", "pbx.example"], "others can reach pbx.example"),
        (["--port", "0", "--secret-file", "/nonexistent/secret"], "can't be read"),
        (["--port", "0", "--fault", "nonsense"], "there is no fault 'nonsense'"),
        (["--port", "0", "--replay", "/nonexistent/file"], "can't be read"),
        (["--port", "0", "--replay", __file__], "isn't an AMI recording"),
        (["--port", "0", "--tls-certificate", __file__], "can't be used"),
        (["--port", "0", "--calls-per-second", "-1"], "can't be -1"),
        (["--port", "0", "--calls-per-second", "nan"], "can't be nan"),
        (["--port", "0", "--calls-per-second", "inf"], "can't be inf"),
    ],
)
def test_what_can_not_be_is_one_clear_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "SECRET").write_text("hush")
    assert said in _refused(*(str(tmp_path / word) if word == "SECRET" else word for word in arguments))


def test_with_a_secret_of_its_own_it_listens_for_others_too(tmp_path: Path) -> None:
    (port,) = _free_ports(1)
    (tmp_path / "secret").write_text("hush")
    with (
        _simulate("--host", "0.0.0.0", "--port", str(port), "--secret-file", str(tmp_path / "secret")),
        RawAMI("127.0.0.1", port) as ami,
    ):
        ami.log_in(USERNAME, "hush")


def test_it_speaks_tls_with_the_faults_it_is_told(tmp_path: Path) -> None:
    (port,) = _free_ports(1)
    certificates = make_certificates()
    (tmp_path / "server.pem").write_bytes(certificates.server)
    arguments = ["--port", str(port), "--tls-certificate", str(tmp_path / "server.pem")]
    transport = TLS("127.0.0.1", port, ca_pem=certificates.ca.decode())
    with (
        _simulate(*arguments, "--fault", "segment=3", "--fault", "old-command"),
        AMIClient(transport, username=USERNAME, secret=SECRET) as client,
    ):
        reply = client.command("core show version")
    assert reply.response.name == "Follows"
    assert reply.output[0].startswith("Asterisk 22.")


def test_it_replays_a_recording_that_was_made_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMI_SECRET", SECRET)
    first, second = _free_ports(2)
    recording = tmp_path / "office.recording"
    with _simulate("--port", str(first), "--calls-per-second", "50", "--seed", "1"):
        words = ["127.0.0.1", str(recording), "--port", str(first), "--username", USERNAME]
        done = subprocess.run(
            [sys.executable, "-m", "ami_integration.ami.record", *words, "--count", "200"],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    with (
        _simulate("--port", str(second), "--replay", str(recording), "--speed", "0"),
        AMIClient(TCP("127.0.0.1", second), username=USERNAME, secret=SECRET, events="on") as client,
    ):
        names = [event.name for _, event in zip(range(200), client.events(timeout=10), strict=False)]
    assert len(names) == 200
    assert "Newchannel" in names
