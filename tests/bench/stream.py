"""A stream of real events, and a server that plays it: what the client's benchmarks read.

The stream is what an Asterisk 22 sends to one session while calls between Local channels go on, recorded by
`ami_integration.ami.record`'s rules (bytes as they came) and kept beside the provisioned Asterisks, since it
takes half a minute to make. `python -m tests.bench.stream FILE CONNECTIONS` serves a file, the login before
it, to so many connections: a process of its own, so that its work isn't counted as the client's.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ami_integration.ami import TCP, AMIClient
from tests.pbx import provision
from tests.pbx.asterisk import Asterisk

BANNER = b"Asterisk Call Manager/11.0.0\r\n"
ROOT = Path(__file__).resolve().parent.parent.parent


def recorded_stream(asterisk: Asterisk, events: int) -> Path:
    """A file with that many real events at least, each whole; recorded if there is none yet."""
    path = provision.pbx_folder() / f"bench-events-{asterisk.version}-{events}.ami"
    if not path.exists():
        data = _record(asterisk, events)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    return path


def _record(asterisk: Asterisk, events: int) -> bytes:
    username, secret = asterisk.users["admin"]
    with socket.create_connection((asterisk.host, asterisk.port)) as listener:
        login = f"Action: Login\r\nUsername: {username}\r\nSecret: {secret}\r\nEvents: on\r\n\r\n"
        listener.sendall(login.encode())
        listener.settimeout(10)
        data = b""
        while b"FullyBooted" not in data or not data.endswith(b"\r\n\r\n"):
            data += listener.recv(65536)
        pieces: list[bytes] = []
        count = 0
        with AMIClient(TCP(asterisk.host, asterisk.port), username=username, secret=secret) as client:
            while count < events:
                for _ in range(20):
                    client.action(
                        "Originate",
                        {
                            "Channel": "Local/answer@phones",
                            "Application": "Wait",
                            "Data": "1",
                            "Async": "true",
                        },
                    )
                listener.settimeout(0.2)
                try:
                    while data := listener.recv(1 << 20):
                        pieces.append(data)
                        count += data.count(b"\r\n\r\n")
                except TimeoutError:
                    pass
    whole = b"".join(pieces)
    return whole[: whole.rindex(b"\r\n\r\n") + 4]


def count_events(path: Path) -> int:
    return len(re.findall(rb"(?m)^Event: ", path.read_bytes()))


@contextmanager
def served(path: Path, connections: int, *, repeat: int = 1) -> Iterator[TCP]:
    """A process that plays the file to so many connections, one after the other."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.stream", str(path), str(connections), str(repeat)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield TCP("127.0.0.1", int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _serve(path: str, connections: int, repeat: int) -> None:
    data = Path(path).read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        for _ in range(connections):
            sock, _ = listener.accept()
            with sock:
                sock.sendall(BANNER)
                for answer in ("Challenge: 1\r\n", "Message: Authentication accepted\r\n"):
                    action = b""
                    while not action.endswith(b"\r\n\r\n"):
                        action += sock.recv(4096)
                    found = re.search(rb"ActionID: (\S+)", action)
                    action_id = found[1].decode() if found else "-"
                    sock.sendall(f"Response: Success\r\nActionID: {action_id}\r\n{answer}\r\n".encode())
                try:
                    for _ in range(repeat):
                        sock.sendall(data)
                except OSError:
                    pass  # the client has seen enough


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
