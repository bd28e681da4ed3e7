"""How to reach a PBX: TCP, TLS, or through an SSH server (ssh.py), for both clients alike.

A transport says where and by which rules. Every one goes the same three steps: `resolve` the name, `connect`
to one of its addresses (both in reaching.py), and `handshake` (handshakes.py), after which both clients hold
an ordinary socket. Those two are the places that turn the operating system's errors into ours.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass, field

from ami_integration.ami.certificate import Certificate
from ami_integration.ami.errors import TLSFailed
from ami_integration.ami.handshakes import handshake, handshake_async, tls_error, wrap
from ami_integration.ami.reaching import Address, connect, connect_async, resolve, resolve_async

__all__ = [
    "TCP",
    "TLS",
    "Address",
    "Timeouts",
    "Transport",
    "connect",
    "connect_async",
    "fetch_certificate",
    "handshake",
    "handshake_async",
    "is_private",
    "resolve",
    "resolve_async",
]


@dataclass(frozen=True)
class Timeouts:
    """Time limits in seconds, each of its own phase.

    Attributes:
        connect: resolving the name, and reaching each of its addresses.
        tls: the handshake: of TLS, or of SSH with its login.
        banner: until the greeting line.
        login: the whole login. A refusal takes Asterisk 1 s.
        action: from sending an action to the end of its answer, where the call names no other.
        keepalive: within this, a PBX that is gone is given up: after half of it in silence it is asked
            whether it still lives, and has the other half to answer. While an action runs that may take it
            long (`Command`, an `Originate` without ``Async``) it can't answer: then the kernel still notices
            a host that is gone, and of a PBX that merely stands still, the action's own limit tells.
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

    def private_from(self, peer: str) -> bool:
        """Whether nobody else can read what is sent, on the whole way to the PBX.

        Args:
            peer: the address that this machine is connected to.
        """
        return is_loopback(peer)

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

    def private_from(self, peer: str) -> bool:
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
    """Whether nobody else can read the link: see `TCP.private_from`."""
    return transport.private_from(peer)


def is_loopback(host: str) -> bool:
    """Whether a name or an address always means the machine that looks it up."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


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
        sock = wrapped = wrap(_trusting_context(), sock, transport.tls_name or transport.host)
        return Certificate.from_der(wrapped.getpeercert(binary_form=True) or b"")
    except OSError as error:
        raise tls_error(transport, error, limits.tls) from None
    finally:
        sock.close()
