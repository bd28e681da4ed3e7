"""A network between two processes that a test can let stand still: nothing is refused, nothing arrives."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self


class Relay:
    """Forwards each connection to a port of this machine.

    Args:
        target: the port.

    Attributes:
        port: where it listens.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._moving = threading.Event()
        self._moving.set()
        self._closed = False
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def stall(self) -> None:
        """From now on nothing arrives on either side."""
        self._moving.clear()

    def heal(self) -> None:
        """What stood still goes on, also what came meanwhile."""
        self._moving.set()

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return  # closed
            self._start(self._connect, near)

    def _connect(self, near: socket.socket) -> None:
        """Both directions of a connection; both ends close together, as those of a cut wire never would."""
        with near:
            self._moving.wait()  # what stands still lets nobody in either
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return  # nobody is there; who asked sees its connection end
            with far, self._known(near, far):
                back = threading.Thread(target=self._forward, args=(far, near), daemon=True)
                back.start()
                self._forward(near, far)
                back.join()

    @contextlib.contextmanager
    def _known(self, *ends: socket.socket) -> Iterator[None]:
        with self._lock:
            self._sockets.update(ends)
            if self._closed:
                _shut(*ends)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.difference_update(ends)

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._moving.wait()
                sink.sendall(data)
        self._moving.wait()
        _shut(source, sink)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._server.close()
        with self._lock:
            self._closed = True
            _shut(*self._sockets)
        self._moving.set()
        for thread in self._threads:
            thread.join(10)


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
