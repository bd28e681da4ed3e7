"""From a connected socket to one that carries AMI: the tunnel, the TLS handshake, and what failed in it.

The error names what is wrong with a certificate or a port; how the socket came about is in reaching.py.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ami_integration.ami.errors import ConnectError, ConnectTimeout, TLSFailed, seconds

if TYPE_CHECKING:
    from ami_integration.ami.transports import Transport


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
        # This empties `sock`: from here on the wrapped one is what has to be closed.
        sock = wrapped = wrap(context, sock, transport.tls_name)
        transport.check_certificate(wrapped.getpeercert(binary_form=True))
        return wrapped
    except OSError as error:  # ssl.SSLError and TimeoutError are OSErrors
        sock.close()
        raise tls_error(transport, error, timeout) from None
    except BaseException:
        sock.close()
        raise


def wrap(context: ssl.SSLContext, sock: socket.socket, name: str | None) -> ssl.SSLSocket:
    """A client's TLS handshake over a connected socket, which is empty afterwards or closed.

    Args:
        name: whom the server shall show a certificate of.

    Raises:
        OSError: as `ssl.SSLContext.wrap_socket`.
    """
    # Of a connection that was reset already, wrap_socket would leave a socket that nobody can close.
    sock.getpeername()
    return context.wrap_socket(sock, server_hostname=name)


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
