"""The blocking client's socket, TCP or TLS: it is waited for in one place, with a deadline."""

from __future__ import annotations

import math
import select
import socket
import ssl
import time

#: What the processor's cache holds along with what is made of it: more at once is slower.
READ = 64 * 1024

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Link:
    """A connected socket, its handshake done.

    Args:
        sock: made non-blocking, so that no call of its own waits.

    Its methods raise OSError when the connection has ended. Deadlines are `time.monotonic`'s.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._readable: select.poll | None = None
        if hasattr(select, "poll"):
            self._readable = select.poll()
            self._readable.register(sock, select.POLLIN)

    def receive(self, deadline: float) -> bytes | None:
        """What has come, at most `READ` bytes; nothing at the end of input; None when the deadline passes."""
        wanted = select.POLLIN
        while True:
            # What is left of a TLS record has left the kernel already.
            if not (self.tls and self.tls.pending()) and not self._wait(wanted, deadline):
                return None
            try:
                return self.sock.recv(READ)
            except _NOT_NOW as not_now:
                wanted = _wanted(not_now, select.POLLIN)

    def send(self, data: bytes, deadline: float) -> int:
        """How many of these bytes the kernel has taken; 0 when it took none until the deadline."""
        while True:
            try:
                return self.sock.send(data)
            except _NOT_NOW as not_now:
                if not self._wait(_wanted(not_now, select.POLLOUT), deadline):
                    return 0

    def close(self, last_words: bytes = b"") -> None:
        """Close it, after an attempt of a second at most to send the last words."""
        try:
            if last_words:
                self.sock.settimeout(1.0)
                self.sock.sendall(last_words)
        except OSError:
            pass  # the connection was gone already, which is what close() is for
        finally:
            self.sock.close()

    def _wait(self, event: int, deadline: float) -> bool:
        """Wait until it can be read or written (POLLIN, POLLOUT), or the deadline has passed."""
        left = max(0.0, deadline - time.monotonic())
        if self._readable is not None:
            poll = self._readable
            if event != select.POLLIN:
                poll = select.poll()
                poll.register(self.sock, event)
            return bool(poll.poll(None if left == math.inf else math.ceil(left * 1000)))
        readers, writers = ([self.sock], []) if event == select.POLLIN else ([], [self.sock])
        return any(select.select(readers, writers, [], None if left == math.inf else left))


def _wanted(not_now: OSError, usual: int) -> int:
    """What to wait for: TLS may have to read before it can write, and the reverse."""
    if isinstance(not_now, ssl.SSLWantReadError):
        return select.POLLIN
    if isinstance(not_now, ssl.SSLWantWriteError):
        return select.POLLOUT
    return usual
