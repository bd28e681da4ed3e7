"""A PBX that says exactly what a test wrote down: for what no well-behaved server would do.

It is a real socket with real bytes; only the words are the test's.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from ami_integration.ami import NEED_DATA, TCP, Message, Protocol

BANNER = b"Asterisk Call Manager/11.0.0\r\n"


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.seen: list[Message] = []
        self._protocol = Protocol("server")

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hear(self) -> Message:
        """The next action; EOFError when the client has gone."""
        while (message := self._protocol.next_message()) is NEED_DATA:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._protocol.receive_data(data)
        assert isinstance(message, Message)
        self.seen.append(message)
        return message

    def answer(self, action: Message, *lines: str, response: str = "Success") -> None:
        head = [f"Response: {response}", f"ActionID: {action.action_id}"]
        self.say("".join(f"{line}\r\n" for line in [*head, *lines, ""]).encode())

    def log_in(self) -> None:
        """The usual greeting, challenge and login."""
        self.say(BANNER)
        self.answer(self.hear(), "Challenge: 123456789")
        self.answer(self.hear(), "Message: Authentication accepted")


@contextlib.contextmanager
def scripted(
    *scripts: Callable[[Peer], None], host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[TCP]:
    """Serve one script per connection, in order; a failed assertion in a script fails the test."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    failures: list[BaseException] = []
    accepted: list[socket.socket] = []

    def serve() -> None:
        for script in scripts:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            accepted.append(sock)
            with sock:
                try:
                    if tls is None:
                        script(Peer(sock))
                    else:
                        with tls.wrap_socket(sock, server_side=True) as wrapped:
                            accepted.append(wrapped)
                            script(Peer(wrapped))
                except (EOFError, OSError):
                    pass  # the client left: for its own reasons, which the test checks
                except BaseException as error:
                    failures.append(error)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield TCP(host, listener.getsockname()[1])
    finally:
        # shutdown wakes an accept() or recv() that waits; close alone doesn't.
        for sock in [listener, *accepted]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
    assert not thread.is_alive(), "the scripted PBX still waits for something"
    if failures:
        raise failures[0]


@contextlib.contextmanager
def served(script: Callable[[Peer], None], host: str = "127.0.0.1") -> Iterator[TCP]:
    """Serve the same script to every connection, each in a thread of its own."""
    listener = socket.create_server((host, 0), backlog=200)
    accepted: list[socket.socket] = []

    def serve_one(sock: socket.socket) -> None:
        with contextlib.suppress(EOFError, OSError), sock:
            script(Peer(sock))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                accepted.append(sock)
                threading.Thread(target=serve_one, args=(sock,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield TCP(host, listener.getsockname()[1])
    finally:
        for sock in [listener, *accepted]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
