"""How to reach a PBX: TCP, TLS, or through an SSH server, for the blocking and the asyncio client alike.

This is the one place that turns the operating system's errors into ours, each named by its phase (resolve,
connect, tls, ssh) and saying what was seen. Every transport goes the same three steps: `resolve` the name,
`connect` to one of its addresses, and `handshake`, after which both clients hold an ordinary socket.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ami_integration.ami.certificate import Certificate
from ami_integration.ami.errors import (
    ConnectError,
    ConnectRefused,
    ConnectTimeout,
    NameNotResolved,
    TLSFailed,
    seconds,
)

Address = tuple[socket.AddressFamily, tuple[Any, ...]]


@dataclass(frozen=True)
class Timeouts:
    """Time limits in seconds, each of its own phase.

    Attributes:
        connect: resolving the name, and reaching each of its addresses.
        tls: the handshake: of TLS, or of SSH with its login.
        banner: until the greeting line.
        login: the whole login. A refusal takes Asterisk 1 s.
        action: from sending an action to the end of its answer, where the call names no other.
        keepalive: the idle limit: silence after which a session is asked whether it still lives, and how
            long it may think.
    """

    connect: float = 5.0
    tls: float = 5.0
    banner: float = 5.0
    login: float = 10.0
    action: float = 30.0
    keepalive: float = 30.0


@dataclass(frozen=True)
class TCP:
    """A PBX in clear text.

    Args:
        host: a name or an IPv4 or IPv6 address.
        port: 5038 unless manager.conf says otherwise.
    """

    host: str
    port: int = 5038

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def entrance(self) -> tuple[str, int]:
        """The host and port that this machine connects to: the PBX's own, save behind an SSH server."""
        return self.host, self.port

    @property
    def private(self) -> bool:
        """Whether nobody on the way can read what is sent."""
        return False

    def tls_context(self) -> ssl.SSLContext | None:
        """None: nothing is encrypted."""
        return None

    @property
    def tls_name(self) -> str | None:
        """The name that the certificate must carry; None without TLS."""
        return None

    def check_certificate(self, der: bytes | None) -> None:
        """Called with the server's certificate after the handshake; refuses it by raising `TLSFailed`."""

    def tunnel(self, sock: socket.socket, timeout: float) -> socket.socket:
        """A socket that leads to the PBX by way of `sock`, which is connected to the entrance.

        Args:
            timeout: seconds.

        Raises:
            ConnectError: `sock` is closed then.
        """
        return sock

    async def tunnel_async(self, sock: socket.socket, timeout: float) -> socket.socket:
        """As `tunnel`, for asyncio."""
        return sock


@dataclass(frozen=True)
class TLS(TCP):
    """A PBX behind TLS, its certificate and name checked.

    Args:
        port: 5039 unless ``tlsbindaddr`` says otherwise.
        ca_file: a file of PEM certificates to trust; without it and `ca_pem`, the system's.
        ca_pem: the same as text.
        server_name: the name that the certificate must carry, where it isn't the host.
        pin: the SHA-256 of the one certificate to accept, 64 hex digits (what openssl or
            `Certificate.fingerprint` print is fine too). Then who signed it, its name and its dates don't
            matter, and `ca_file` and `ca_pem` are not used: most PBXs sign their own.
    """

    port: int = 5039
    ca_file: str | None = None
    ca_pem: str | None = field(default=None, repr=False)
    server_name: str | None = None
    pin: str | None = None

    @property
    def private(self) -> bool:
        return True

    def tls_context(self) -> ssl.SSLContext:
        """The rules of the handshake.

        Raises:
            TLSFailed: the CA file can't be read or holds no certificate, or the pin is none.
        """
        if self.pin:
            _pin_digits(self.pin)
            return _trusting_context()
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None, cadata=self.ca_pem or None)
        except (OSError, ValueError, TypeError) as error:  # TypeError: not ASCII
            raise TLSFailed(f"The CA certificate can't be used: {error}.") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    @property
    def tls_name(self) -> str:
        return self.server_name or self.host

    def check_certificate(self, der: bytes | None) -> None:
        if not self.pin:
            return  # the handshake has checked it
        came = hashlib.sha256(der or b"").hexdigest()
        if came != _pin_digits(self.pin):
            raise TLSFailed(
                f"The certificate of {self} isn't the pinned one: what came has the SHA-256 {came}.",
                reason="pin",
            )


Transport = TCP


def _trusting_context() -> ssl.SSLContext:
    """For a certificate that is judged after the handshake, or only looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _pin_digits(pin: str) -> str:
    """The 64 hex digits of a pin.

    Raises:
        TLSFailed: it isn't one.
    """
    digits = re.sub(r"^sha-?256( fingerprint)?[:=]|[:\s]", "", pin.strip().lower())
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise TLSFailed("The pin can't be used: it isn't a SHA-256, which has 64 hex digits.")
    return digits


def is_private(transport: Transport, peer: str) -> bool:
    """Whether nobody else can read the link: TLS, a tunnel, or an address of this machine."""
    if transport.private:
        return True
    try:
        return ipaddress.ip_address(peer.partition("%")[0]).is_loopback
    except ValueError:
        return False


def resolve(transport: Transport, timeout: float) -> list[Address]:
    """The addresses of a transport's host, in the system's order of preference.

    Args:
        timeout: seconds; the system's resolver has no limit of its own, so it runs in a thread.

    Raises:
        NameNotResolved: there are none.
        ConnectTimeout: the resolver didn't answer.
    """
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
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.to_thread(_getaddrinfo, transport)
    except TimeoutError:
        raise _resolve_timeout(transport, timeout) from None


def _getaddrinfo(transport: Transport) -> list[Address]:
    host, port = transport.entrance
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
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
    # The kernel notices a peer that is gone even while no Ping is under way.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


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


def handshake(transport: Transport, sock: socket.socket, timeout: float) -> socket.socket:
    """TLS or a tunnel over a connected socket where the transport wants it, else the socket itself.

    Args:
        timeout: seconds, for each of the two.

    Raises:
        TLSFailed, SSHFailed, ConnectTimeout, ConnectRefused: the socket is closed then.
    """
    sock = transport.tunnel(sock, timeout)
    try:
        context = transport.tls_context()
        if context is None:
            return sock
        sock.settimeout(timeout)
        # wrap_socket empties `sock`: from here on the wrapped one is what has to be closed.
        sock = wrapped = context.wrap_socket(sock, server_hostname=transport.tls_name)
        transport.check_certificate(wrapped.getpeercert(binary_form=True))
        return wrapped
    except OSError as error:  # ssl.SSLError and TimeoutError are OSErrors
        sock.close()
        raise tls_error(transport, error, timeout) from None
    except BaseException:
        sock.close()
        raise


async def handshake_async(
    transport: Transport,
    sock: socket.socket,
    protocol: Callable[[], asyncio.Protocol],
    timeout: float,
) -> asyncio.Transport:
    """As `handshake`, for asyncio: gives the socket to a protocol.

    Args:
        protocol: a factory, as for `asyncio.loop.create_connection`.
    """
    loop = asyncio.get_running_loop()
    sock = await transport.tunnel_async(sock, timeout)
    started = time.monotonic()
    try:
        context = transport.tls_context()
        if context is None:
            made, _ = await loop.create_connection(protocol, sock=sock)
            return made
        made, gate = await loop.create_connection(
            lambda: _Gate(transport, protocol),
            sock=sock,
            ssl=context,
            server_hostname=transport.tls_name,
            ssl_handshake_timeout=timeout,
        )
    except OSError as error:
        sock.close()
        if isinstance(error, ConnectionAbortedError) and time.monotonic() - started >= timeout:
            # asyncio reports its own handshake limit as an aborted connection.
            error = TimeoutError()
        raise tls_error(transport, error, timeout) from None
    except BaseException:
        sock.close()
        raise
    if gate.refusal is not None:
        made.abort()
        raise gate.refusal
    return made


class _Gate(asyncio.Protocol):
    """Judges the certificate before the client sees a byte of the one who showed it."""

    def __init__(self, transport: Transport, protocol: Callable[[], asyncio.Protocol]) -> None:
        self.refusal: TLSFailed | None = None
        self._transport = transport
        self._protocol = protocol

    def connection_made(self, made: asyncio.BaseTransport) -> None:
        try:
            self._transport.check_certificate(made.get_extra_info("ssl_object").getpeercert(binary_form=True))
        except TLSFailed as error:
            self.refusal = error
            return  # what comes is received here, where nobody reads it
        inner = self._protocol()
        assert isinstance(made, asyncio.Transport)
        made.set_protocol(inner)
        inner.connection_made(made)


def fetch_certificate(transport: Transport, timeouts: Timeouts | None = None) -> Certificate:
    """The certificate that a server shows, to be looked at by a person before it is trusted or pinned.

    It is not verified, nothing is sent through the connection, and it is closed again at once.

    Args:
        transport: where; of a `TLS` only the address and the name are used.
        timeouts: `connect` and `tls` of it hold.

    Raises:
        ConnectError: there is none to be had; the error says at what it ended.
    """
    limits = timeouts or Timeouts()
    sock = connect(transport, resolve(transport, limits.connect), limits.connect)
    sock = transport.tunnel(sock, limits.tls)
    try:
        sock.settimeout(limits.tls)
        sock = wrapped = _trusting_context().wrap_socket(
            sock, server_hostname=transport.tls_name or transport.host
        )
        return Certificate.from_der(wrapped.getpeercert(binary_form=True) or b"")
    except OSError as error:
        raise tls_error(transport, error, limits.tls) from None
    finally:
        sock.close()


def tls_error(transport: Transport, error: OSError, timeout: float) -> ConnectError:
    """What a failed handshake means, in words."""
    where = str(transport)
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message.rstrip(".")
        if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            return TLSFailed(f"The certificate of {where} is for another name: {said}.", reason="name")
        if error.verify_code == 10:  # X509_V_ERR_CERT_HAS_EXPIRED
            return TLSFailed(f"The certificate of {where} has expired.", reason="expired")
        if error.verify_code in (2, 18, 19, 20, 21):  # issuer missing, self-signed, chain not verified
            return TLSFailed(
                f"The certificate of {where} comes from an unknown CA: {said}.", reason="unknown_ca"
            )
        return TLSFailed(f"The certificate of {where} can't be trusted: {said}.")
    if isinstance(error, TimeoutError):
        return ConnectTimeout(
            f"{where} accepted the connection, and then no TLS handshake came within {seconds(timeout)}.",
            phase="tls",
        )
    if isinstance(error, ssl.SSLError) and error.reason in (
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "HTTP_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
    ):
        return TLSFailed(f"{where} speaks clear text, not TLS.", reason="clear_text")
    if isinstance(error, ssl.SSLError) and error.reason in (
        "UNSUPPORTED_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
    ):
        return TLSFailed(f"{where} offers no TLS of version 1.2 or newer.", reason="version")
    if isinstance(error, ssl.SSLError):
        return TLSFailed(f"The TLS handshake with {where} failed: {error.reason or error}.")
    return TLSFailed(f"{where} closed the connection during the TLS handshake: {error.strerror or error}.")
