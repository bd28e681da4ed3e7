"""Every example of docs/client.md runs, as it stands there, against a simulated PBX."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ami_integration.simulator import Account
from tests.certificates import make_certificates
from tests.simulator.fixtures import Simulator
from tests.sshd import Sshd

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "client.md"
PBX = "pbx.example.com"


def blocks(language: str) -> list[tuple[str, str]]:
    """The blocks of a language, each with the heading above it."""
    found = []
    heading = ""
    for match in re.finditer(
        r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    ):
        if match[1]:
            heading = match[1]
        elif match[2] == language:
            found.append((heading, match[3]))
    return found


def named(language: str) -> list[object]:
    return [pytest.param(text, id=f"{n}-{heading}") for n, (heading, text) in enumerate(blocks(language))]


@pytest.fixture
def office(make_simulator: Callable[..., Simulator]) -> Simulator:
    """A busy office whose time passes twenty times faster, so that nobody waits for a telephone."""
    began = time.time()
    return make_simulator(
        accounts=[Account("monitor", "simulated")],
        calls_per_second=1.0,
        clock=lambda: began + 20 * (time.time() - began),
    )


@pytest.fixture
def encrypted(make_simulator: Callable[..., Simulator], tmp_path: Path) -> Simulator:
    """A simulated PBX behind TLS; the folder of the test has what a client needs to trust it."""
    certificates = make_certificates()
    (tmp_path / "ca.pem").write_bytes(certificates.ca)
    (tmp_path / "server.pem").write_bytes(certificates.server)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem")
    pem = certificates.server[certificates.server.index(b"-----BEGIN CERTIFICATE") :].decode()
    (tmp_path / "pbx.sha256").write_text(hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest())
    return make_simulator(accounts=[Account("monitor", "simulated")], tls=context)


def run(words: list[str], folder: Path, *, standard_input: str = "") -> str:
    # Warnings are errors, as in the suite.
    environment = {
        **os.environ,
        "AMI_SECRET": "simulated",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
    }
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, input=standard_input, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stderr, done.returncode) == ("", 0), done.stdout
    return done.stdout


@pytest.mark.parametrize("example", named("python"))
def test_an_example_runs(example: str, office: Simulator, encrypted: Simulator, tmp_path: Path) -> None:
    example = example.replace(f'TLS("{PBX}"', f'TLS("{encrypted.host}", {encrypted.port}')
    example = example.replace(f'TCP("{PBX}"', f'TCP("{office.host}", {office.port}')
    assert run(["-"], tmp_path, standard_input=example)


@pytest.mark.parametrize("example", named("sh"))
def test_a_command_line_runs(
    example: str,
    office: Simulator,
    encrypted: Simulator,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for line in example.splitlines():
        pbx = office
        if "--ssh" in line:
            sshd: Sshd = request.getfixturevalue("sshd")
            (tmp_path / "pbx.hostkey").write_text(f"{sshd.host_keys['ed25519']}\n")
            (tmp_path / "tunnel.key").write_text(sshd.key)
            line = line.replace(f"tunnel@{PBX}", f"{sshd.username}@127.0.0.1:{sshd.port}")
            monkeypatch.setenv("AMI_SSH_PASSWORD", sshd.password)
        elif "--ca" in line or "--pin" in line:
            pbx = encrypted
        # What a shell would put there.
        line = re.sub(r"\$\(cat ([\w.]+)\)", lambda found: (tmp_path / found[1]).read_text().strip(), line)
        python, *words = shlex.split(line)
        assert python == "python"
        words = [pbx.host if word == PBX else word for word in words]
        assert run([*words, "--port", str(pbx.port)], tmp_path)


def test_the_page_has_examples_and_names_no_real_host() -> None:
    assert len(blocks("python")) >= 8
    assert len(blocks("sh")) >= 2
    hosts = set(re.findall(r"[\w.-]+\.(?:com|org|net|de)\b", PAGE.read_text()))
    assert hosts == {PBX}


def test_every_error_of_the_table_exists() -> None:
    from ami_integration import ami

    names = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert len(names) >= 6
    assert all(issubclass(getattr(ami, name), ami.AMIError) for name in names)
