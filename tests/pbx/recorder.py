"""A bare AMI session that keeps all its bytes: what both captures, and tests of facts, are made with.

It knows nothing of our own client or parser, so that neither can hide its mistakes in a capture.
"""

from __future__ import annotations

import hashlib
import re
import socket
import time
from pathlib import Path

from tests.pbx.asterisk import Asterisk
from tests.pbx.neutral import neutral

TIMEOUT = 20.0
# A capture ends when Asterisk has been silent for this long after the scenario's last step.
QUIET = 0.4


class Wire:
    """A bare connection to AMI, not logged in: `received` and `sent` are all its bytes."""

    def __init__(self, asterisk: Asterisk) -> None:
        self.received = b""
        self.sent = b""
        self.socket = socket.create_connection((asterisk.host, asterisk.port), timeout=TIMEOUT)
        self.wait("\r\n")

    def send(self, data: bytes) -> None:
        self.sent += data
        self.socket.sendall(data)

    def wait(self, pattern: str, count: int = 1) -> re.Match[bytes]:
        """Read until `pattern` was received `count` times in the session; returns the last of the matches."""
        deadline = time.monotonic() + TIMEOUT
        while len(found := list(re.finditer(pattern.encode(), self.received))) < count:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError(f"the session ended before {pattern!r} came")
            self.received += data
        return found[count - 1]

    def drain(self, quiet: float = QUIET) -> bool:
        """Read until Asterisk has been silent for that many seconds, or has closed (then True)."""
        self.socket.settimeout(quiet)
        try:
            while data := self.socket.recv(65536):
                self.received += data
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.socket.close()


class Recorder(Wire):
    """One AMI session, logged in."""

    def __init__(self, asterisk: Asterisk, role: str = "admin", events: str = "on") -> None:
        super().__init__(asterisk)
        self.asterisk = asterisk
        self._actions = 0
        username, secret = asterisk.users[role]
        self.action("Challenge", AuthType="MD5")
        challenge = self.wait(r"Challenge: (\d+)\r\n")[1]
        key = hashlib.md5(challenge + secret.encode(), usedforsecurity=False).hexdigest()
        self.action("Login", Username=username, AuthType="MD5", Key=key, Events=events)
        self.wait("Message: Authentication accepted\r\n")

    def action(self, name: str, **headers: str) -> str:
        """Send an action and return its ActionID."""
        self._actions += 1
        action_id = f"amiweb-{self._actions}"
        pairs = [("Action", name), ("ActionID", action_id), *headers.items()]
        self.send("".join(f"{key}: {value}\r\n" for key, value in pairs).encode() + b"\r\n")
        return action_id

    def response(self, name: str, **headers: str) -> bytes:
        """Send an action, wait for its response (or the first message of its list), and return that."""
        action_id = self.action(name, **headers)
        return self.wait(rf"Response: [^\r\n]*\r\nActionID: {action_id}(?s:.*?)\r\n\r\n")[0]

    def listed(self, name: str, complete: str, **headers: str) -> None:
        """Send an action that is answered with a list, and wait for the event that ends it."""
        action_id = self.action(name, **headers)
        self.wait(rf"Event: {complete}\r\nActionID: {action_id}\r\n")

    def everyone_hung_up(self) -> None:
        """Wait until as many channels were hung up as were made."""
        self.wait("Event: Hangup\r\n", len(re.findall(rb"Event: Newchannel\r\n", self.received)))


def save(file: Path, data: bytes) -> None:
    """Write a capture without Asterisk's documentation, and say so."""
    data = neutral(data)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    print(f"{file.parent.name} {file.stem}: {data.count(b'Event: ')} events, {len(data)} bytes", flush=True)
