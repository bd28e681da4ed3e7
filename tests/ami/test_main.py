"""``python -m ami_integration.ami``, run as a person runs it, against a simulated PBX and scripted ones."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from ami_integration.ami import TCP
from ami_integration.ami.__main__ import main, show_table
from ami_integration.ami.printing import printable
from tests.ami.scripted import Peer, scripted
from tests.certificates import make_certificates
from tests.simulator.fixtures import Simulator
from tests.sshd import Sshd

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMI_SECRET", "simulated")


def run(simulator: Simulator, *words: str) -> int:
    where = [simulator.host, "--port", str(simulator.port), "--username", simulator.username]
    return main([*where, *words])


def test_list_commands_is_a_table_of_the_actions(simulator: Simulator) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ami_integration.ami", simulator.host, "ListCommands"]
        + ["--port", str(simulator.port), "--username", simulator.username],
        cwd=ROOT, env={**os.environ, "AMI_SECRET": simulator.secret}, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == sorted(names, key=str.lower)
    assert {"CoreStatus", "Originate", "Ping"} <= set(names)


def test_a_list_is_a_table_for_each_kind_of_item(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(simulator, "QueueStatus", "Queue=support") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "QueueParams: 1"
    assert lines[1].split()[:2] == ["Queue", "Max"]
    assert lines[4].startswith("QueueMember: ")
    assert lines[5].split()[:3] == ["Queue", "Name", "Location"]
    assert lines[6].index("PJSIP/") == lines[5].index("Location")


def test_a_command_prints_its_output(simulator: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(simulator, "Command", "Command=core show version") == 0
    assert capsys.readouterr().out.startswith("Asterisk 22.")


def test_a_refusal_is_code_1_with_the_words_of_the_pbx(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(simulator, "Hangup", "Channel=PJSIP/nobody-1") == 1
    said = capsys.readouterr()
    assert said.err == "No such channel\n"
    assert said.out == ""


def test_a_failed_command_prints_its_output_and_is_code_1(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(simulator, "Command", "Command=nonsense of mine") == 1
    assert "No such command" in capsys.readouterr().out


def test_events_are_printed_for_as_long_as_asked(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(simulator, "Ping", "--events", "system", "--seconds", "0.3") == 0
    assert "Event: FullyBooted\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Ping", "nonsense"], "write it as Key=Value"),
        (["Ping", "X=a\nAction: Hangup"], "line end"),
        ([], "name an ACTION"),
        (["Ping", "--timeout", "0"], "above 0"),
    ],
)
def test_a_wrong_command_line_is_code_2_and_nothing_is_sent(
    words: list[str], said: str, simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(simulator, *words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_without_a_secret_nor_a_terminal_it_says_where_to_put_it(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AMI_SECRET")
    with pytest.raises(SystemExit) as ended:
        run(simulator, "Ping")
    assert ended.value.code == 2
    assert "AMI_SECRET" in capsys.readouterr().err


def test_at_a_terminal_the_secret_is_asked_for_and_not_shown(simulator: Simulator) -> None:
    ours, theirs = pty.openpty()
    words = [simulator.host, "Ping", "--port", str(simulator.port), "--username", simulator.username]
    environment = {name: value for name, value in os.environ.items() if name != "AMI_SECRET"}
    with subprocess.Popen(
        [sys.executable, "-m", "ami_integration.ami", *words],
        cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        seen = b""
        with open(ours, "r+b", buffering=0) as terminal, contextlib.suppress(OSError):  # the terminal's end
            while data := terminal.read(1024):
                seen += data
                if seen.endswith(b"Secret of amiweb: "):
                    terminal.write(f"{simulator.secret}\n".encode())
        assert process.wait(30) == 0
    assert b"Pong" in seen
    assert simulator.secret.encode() not in seen


def test_there_is_no_option_for_the_secret(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--secret" not in capsys.readouterr().out


def test_no_connection_is_code_3(simulator: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    simulator.stop()
    assert run(simulator, "Ping") == 3
    said = capsys.readouterr().err
    assert "refused" in said and "manager.conf" in said
    assert said.count("\n") == 1


def test_a_failed_login_is_code_4_and_shows_no_secret(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMI_SECRET", "wrong-and-private")
    assert run(simulator, "Ping") == 4
    said = capsys.readouterr()
    assert "Authentication failed" in said.err
    assert "wrong-and-private" not in said.out + said.err


def test_an_answer_that_never_comes_is_code_5(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator.hang("CoreStatus")
    assert run(simulator, "CoreStatus", "--timeout", "0.3") == 5
    assert "CoreStatus" in capsys.readouterr().err


def test_a_list_without_an_end_shows_what_came_and_is_code_5(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator.pbx.faults.no_complete = True
    assert run(simulator, "QueueStatus", "--timeout", "0.5") == 5
    said = capsys.readouterr()
    assert "QueueMember: " in said.out
    assert "QueueStatus" in said.err


def test_a_list_that_is_not_whole_says_so(simulator: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    simulator.pbx.faults.list_items = 2
    assert run(simulator, "QueueStatus") == 0
    assert "isn't whole" in capsys.readouterr().err


def test_an_unknown_certificate_is_refused_and_a_given_ca_or_pin_trusted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificates = make_certificates()
    ca, server = tmp_path / "ca.pem", tmp_path / "server.pem"
    ca.write_bytes(certificates.ca)
    server.write_bytes(certificates.server)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server)

    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "Ping: Pong")
        peer.hear()

    pem = server.read_text()
    pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :]))
    with scripted(lambda peer: None, script, script, lambda peer: None, tls=context) as pbx:
        words = [pbx.host, "Ping", "--port", str(pbx.port), "--username", "me"]
        assert main([*words, "--tls"]) == 3
        said = capsys.readouterr().err
        assert "unknown CA" in said and "--pin SHA256" in said
        assert said.count("\n") == 1
        assert main([*words, "--ca", str(ca)]) == 0
        assert main([*words, "--pin", pin.hexdigest()]) == 0
        assert main([*words, "--pin", "0" * 64]) == 3


# -- through an SSH server


def through(sshd: Sshd, pbx: TCP, *words: str) -> list[str]:
    server = f"{sshd.username}@127.0.0.1:{sshd.port}"
    return ["localhost", "Ping", "--port", str(pbx.port), "--username", "me", "--ssh", server, *words]


def pinging(peer: Peer) -> None:
    peer.log_in()
    peer.answer(peer.hear(), "Ping: Pong")
    peer.hear()


def test_a_key_leads_through_an_ssh_server(
    sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text(sshd.key)
    words = ["--ssh-key", str(tmp_path / "key"), "--ssh-host-key", sshd.host_keys["ed25519"]]
    with scripted(pinging) as pbx:
        assert main(through(sshd, pbx, *words)) == 0
    assert "Pong" in capsys.readouterr().out


def test_a_password_from_the_environment_leads_through_an_ssh_server(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--ssh-host-key", sshd.fingerprint("ed25519")]
    with scripted(pinging) as pbx:
        monkeypatch.setenv("AMI_SSH_PASSWORD", "wrong-and-private")
        assert main(through(sshd, pbx, *words)) == 3
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "refuses the login" in said and "AMI_SSH_PASSWORD" in said
        assert "wrong-and-private" not in said
        monkeypatch.setenv("AMI_SSH_PASSWORD", sshd.password)
        assert main(through(sshd, pbx, *words)) == 0
    assert "Pong" in capsys.readouterr().out


def test_without_a_password_nor_a_terminal_it_says_where_to_put_it(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AMI_SSH_PASSWORD", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(through(sshd, TCP("localhost", 1), "--ssh-host-key", sshd.fingerprint("ed25519")))
    assert ended.value.code == 2
    assert "There is no password: put it into the environment variable AMI_SSH_PASSWORD" in (
        capsys.readouterr().err
    )


def test_without_a_host_key_it_shows_the_one_that_came_and_tells_how_to_pin_it(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AMI_SECRET")
    monkeypatch.delenv("AMI_SSH_PASSWORD", raising=False)
    before = len(sshd.log())
    with scripted(lambda peer: None) as pbx:
        assert main(through(sshd, pbx)) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    fingerprint = sshd.fingerprint("ed25519")
    assert said.endswith(f"--ssh-host-key {fingerprint}\n")
    assert sshd.host_keys["ed25519"].rsplit(" ", 2)[0] in said
    assert "ssh-keygen -lf" in said
    assert "Accepted" not in sshd.log()[before:]


def test_another_host_key_than_the_given_one_is_refused(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMI_SSH_PASSWORD", sshd.password)
    with scripted(lambda peer: None) as pbx:
        assert main(through(sshd, pbx, "--ssh-host-key", "SHA256:" + "A" * 43)) == 3
    assert "shows another host key than the pinned one" in capsys.readouterr().err


def test_what_could_steer_a_terminal_is_shown_as_escapes() -> None:
    assert printable("\x1b[2J Jürgen \udcff") == "\\x1b[2J Jürgen \\udcff"


def test_a_table_in_a_file_keeps_long_cells_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["A", "B"], [["x" * 100, "1"]])
    assert capsys.readouterr().out.splitlines()[1] == f"{'x' * 100}  1"
