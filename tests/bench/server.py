"""A server that plays a stream of events: ``python -m tests.bench.server RECORDING CONNECTIONS REPEAT``.

A process of its own, so that its work isn't counted as the client's. It answers a login as Asterisk does,
with or without a challenge, plays the stream so many times and ends with an event of its own, `END`. It
then leaves the connection open until the client closes it: a client is not to be measured while it makes
something of the end of a connection.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ami_integration.ami import TCP
from tests.bench import ROOT
from tests.bench.readers import END
from tests.bench.stream import read_stream

BANNER = b"Asterisk Call Manager/11.0.0\r\n"
ANSWERS = {
    b"challenge": b"Response: Success\r\n%sChallenge: 1862934563\r\n\r\n",
    b"login": b"Response: Success\r\n%sMessage: Authentication accepted\r\n\r\n",
}


@contextmanager
def served(path: Path, connections: int, *, repeat: int = 1) -> Iterator[TCP]:
    """A process that plays the recording to so many connections, one after the other."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.server", str(path), str(connections), str(repeat)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield TCP("127.0.0.1", int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def serve(stream: bytes, connections: int, repeat: int) -> None:
    end = f"Event: {END}\r\n\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        for _ in range(connections):
            sock, _ = listener.accept()
            with sock:
                try:
                    if log_in(sock):
                        for _ in range(repeat):
                            sock.sendall(stream)
                        sock.sendall(end)
                        while sock.recv(65536):
                            pass  # a Logoff needs no answer from who has nothing more to say
                except OSError:
                    pass  # the client has gone


def log_in(sock: socket.socket) -> bool:
    """Answer what a client asks until it has logged in; False when it leaves before."""
    sock.sendall(BANNER)
    unread = b""
    while True:
        while b"\r\n\r\n" not in unread:
            data = sock.recv(4096)
            if not data:
                return False
            unread += data
        action, unread = unread.split(b"\r\n\r\n", 1)
        headers = dict(re.findall(rb"(?m)^(\w+): *([^\r\n]*)", action))
        name = headers[b"Action"].lower()
        action_id = headers.get(b"ActionID")
        sock.sendall(ANSWERS[name] % (b"ActionID: %s\r\n" % action_id if action_id else b""))
        if name == b"login":
            return True


if __name__ == "__main__":
    serve(read_stream(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
