"""A bare AMI connection for tests: bytes out, bytes in, nothing understood."""

import socket
import time

from tests.simulator.comparison import Message, messages


class RawAMI:
    """A connection; every wait ends with an AssertionError after ``seconds``."""

    def __init__(
        self, host: str, port: int, *, seconds: float = 10.0, receive_buffer: int | None = None
    ) -> None:
        self.seconds = seconds
        self.data = b""
        self.ended = False
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(seconds)
        try:
            self._socket.connect((host, port))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> "RawAMI":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, text: str | bytes) -> None:
        self._socket.sendall(text.encode() if isinstance(text, str) else text)

    def action(self, name: str, *lines: str) -> list[Message]:
        """Send an action; gives its response, and what of its ActionID came with it."""
        self.data = b""
        self.send("".join(f"{line}\r\n" for line in (f"Action: {name}", "ActionID: t", *lines, "")))
        self.read_until(b"ActionID: t\r\n")
        while not self.data.endswith(b"\r\n\r\n"):
            assert self.receive(), "closed within a response"
        return [message for message in self.messages() if ("ActionID", "t") in message]

    def log_in(self, username: str, secret: str, *lines: str) -> None:
        self.read_until(b"\r\n")
        self.send(
            "".join(f"{line}\r\n" for line in ("Action: Login", f"Username: {username}", f"Secret: {secret}"))
        )
        self.send("".join(f"{line}\r\n" for line in (*lines, "")))
        self.read_until(b"Authentication accepted\r\n\r\n")
        self.action("Ping")  # FullyBooted and SuccessfulAuth have come by then, if they come

    def receive(self) -> bool:
        """Read once; False at the end of the connection."""
        try:
            data = self._socket.recv(65536)
        except ConnectionError:
            data = b""
        self.data += data
        self.ended = self.ended or not data
        return bool(data)

    def read_until(self, what: bytes) -> bytes:
        """Read until this was seen."""
        deadline = time.monotonic() + self.seconds
        while what not in self.data:
            assert time.monotonic() < deadline, f"no {what!r} in {self.data!r}"
            assert self.receive(), f"closed before {what!r}: {self.data!r}"
        return self.data

    def read_messages(self, count: int) -> list[Message]:
        """Read until so many messages have come, or the end."""
        deadline = time.monotonic() + self.seconds
        while not self.ended and (len(self.messages()) < count or not self.data.endswith(b"\n\r\n")):
            assert time.monotonic() < deadline, f"only {self.messages()}"
            self.receive()
        return self.messages()

    def read_to_the_end(self) -> bytes:
        """Read until the other side closes."""
        deadline = time.monotonic() + self.seconds
        while self.receive():
            assert time.monotonic() < deadline, "still open"
        return self.data

    def stays_silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        self._socket.settimeout(seconds)
        try:
            return not self.receive()
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(self.seconds)

    def close(self) -> None:
        self._socket.close()

    def messages(self) -> list[Message]:
        return messages(self.data)
