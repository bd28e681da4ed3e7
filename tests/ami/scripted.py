"""A PBX that says exactly what a test wrote down: for what no well-behaved server would do.

It is a real socket with real bytes; only the words are the test's.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

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
def _listening(
    host: str, serve: Callable[[Callable[[], socket.socket]], None], **options: Any
) -> Iterator[tuple[TCP, list[socket.socket]]]:
    """A port whose connections `serve` takes in a thread, by calling what it is given.

    Gives the port, and the connections that were taken; `serve` adds what it makes of them.
    """
    listener = socket.create_server((host, 0), **options)
    accepted: list[socket.socket] = []

    def accept() -> socket.socket:
        accepted.append(listener.accept()[0])
        return accepted[-1]

    def work() -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            serve(accept)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield TCP(host, listener.getsockname()[1]), accepted
    finally:
        # shutdown wakes an accept() or recv() that waits; close alone doesn't.
        for sock in [listener, *accepted]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
    assert not thread.is_alive(), "the scripted PBX still waits for something"


@contextlib.contextmanager
def scripted(
    *scripts: Callable[[Peer], None], host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[TCP]:
    """Serve one script per connection, in order; a failed assertion in a script fails the test."""
    failures: list[BaseException] = []
    wrapped: list[socket.socket] = []

    def serve(accept: Callable[[], socket.socket]) -> None:
        for script in scripts:
            with accept() as sock:
                try:
                    if tls is None:
                        script(Peer(sock))
                    else:
                        with tls.wrap_socket(sock, server_side=True) as secured:
                            wrapped.append(secured)
                            script(Peer(secured))
                except (EOFError, OSError):
                    pass  # the client left: for its own reasons, which the test checks
                except BaseException as error:
                    failures.append(error)

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with _listening(host, serve, family=family) as (transport, accepted):
        try:
            yield transport
        finally:
            accepted += wrapped  # to be woken, too
    if failures:
        raise failures[0]


@contextlib.contextmanager
def served(
    script: Callable[[Peer], None], host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[TCP]:
    """Serve the same script to every connection, each in a thread of its own."""

    def serve_one(sock: socket.socket) -> None:
        with contextlib.suppress(EOFError, OSError), sock:
            if tls is None:
                script(Peer(sock))
            else:
                with tls.wrap_socket(sock, server_side=True) as secured:
                    script(Peer(secured))

    def serve(accept: Callable[[], socket.socket]) -> None:
        while True:
            threading.Thread(target=serve_one, args=(accept(),), daemon=True).start()

    with _listening(host, serve, backlog=200) as (transport, _):
        yield transport
