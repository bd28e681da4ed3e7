"""From a name to a connected TCP socket: the first two steps of every transport.

What the operating system says on the way is told in our own errors, each with its phase (resolve, connect)
and what was seen. The handshake that follows is in handshakes.py.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from typing import TYPE_CHECKING, Any

from ami_integration.ami.errors import (
    ConnectError,
    ConnectRefused,
    ConnectTimeout,
    NameNotResolved,
    seconds,
)

if TYPE_CHECKING:
    from ami_integration.ami.transports import Transport

Address = tuple[socket.AddressFamily, tuple[Any, ...]]


def resolve(transport: Transport, timeout: float) -> list[Address]:
    """The addresses of a transport's host, in the system's order of preference.

    Args:
        timeout: seconds; the system's resolver has no limit of its own, so it runs in a thread.

    Raises:
        NameNotResolved: there are none.
        ConnectTimeout: the resolver didn't answer.
    """
    if numeric := _numeric(transport):
        return numeric
    result: list[Address] = []
    failure: list[Exception] = []

    def look_up() -> None:
        try:
            result.extend(_getaddrinfo(transport))
        except Exception as error:  # handed to the caller's thread, whatever it is
            failure.append(error)

    thread = threading.Thread(target=look_up, name="ami-resolve", daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        raise _resolve_timeout(transport, timeout)
    if failure:
        raise failure[0]
    return result


async def resolve_async(transport: Transport, timeout: float) -> list[Address]:
    """As `resolve`, for asyncio."""
    if numeric := _numeric(transport):
        return numeric
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.to_thread(_getaddrinfo, transport)
    except TimeoutError:
        raise _resolve_timeout(transport, timeout) from None


def _numeric(transport: Transport) -> list[Address]:
    """The address of a host that is given by one, which nobody need be asked for; else nothing."""
    try:
        return _getaddrinfo(transport, socket.AI_NUMERICHOST)
    except NameNotResolved:
        return []


def _getaddrinfo(transport: Transport, flags: int = 0) -> list[Address]:
    host, port = transport.entrance
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise NameNotResolved(f"The name {host!r} has no address: {reason}.") from None
    return [(family, address) for family, _, _, _, address in found]


def _resolve_timeout(transport: Transport, timeout: float) -> ConnectTimeout:
    return ConnectTimeout(
        f"The name {transport.entrance[0]!r} could not be looked up within {seconds(timeout)}.",
        phase="resolve",
    )


def connect(transport: Transport, addresses: list[Address], timeout: float) -> socket.socket:
    """A connected TCP socket; the addresses are tried in turn, each within the time limit (seconds).

    Raises:
        ConnectRefused, ConnectTimeout: what each address said, by the kind of the last.
    """
    failures: list[ConnectError] = []
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(address)
            _set_options(sock)
            return sock
        except OSError as error:
            sock.close()
            failures.append(_connect_error(address, error, timeout))
    raise _unreachable(transport, failures)


async def connect_async(transport: Transport, addresses: list[Address], timeout: float) -> socket.socket:
    """As `connect`, for asyncio; the socket is non-blocking."""
    loop = asyncio.get_running_loop()
    failures: list[ConnectError] = []
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            async with asyncio.timeout(timeout):
                await loop.sock_connect(sock, address)
            _set_options(sock)
            return sock
        except OSError as error:  # TimeoutError is one
            sock.close()
            failures.append(_connect_error(address, error, timeout))
        except BaseException:
            sock.close()
            raise
    raise _unreachable(transport, failures)


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The kernel notices a peer that is gone even while no Ping is under way; `watch_peer` says when.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _unreachable(transport: Transport, failures: list[ConnectError]) -> ConnectError:
    """The end of trying all addresses."""
    host = transport.entrance[0]
    if not failures:
        return NameNotResolved(f"The name {host!r} has no address.")
    if len(failures) == 1:
        return failures[0]
    said = " ".join(str(failure) for failure in failures)
    return type(failures[-1])(f"None of the {len(failures)} addresses of {host} let us in. {said}")


def _connect_error(address: tuple[Any, ...], error: OSError, timeout: float) -> ConnectError:
    where = f"{address[0]} port {address[1]}"
    if isinstance(error, TimeoutError):
        return ConnectTimeout(f"{where} didn't answer within {seconds(timeout)}.")
    if error.errno == errno.ECONNREFUSED:
        return ConnectRefused(f"Nothing listens on {where}: the connection was refused.")
    return ConnectRefused(f"{where} can't be reached: {error.strerror or error}.")
