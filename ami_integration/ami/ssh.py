"""A PBX behind an SSH server: AMI that listens on the PBX's loopback only, and is reached through its sshd.

To both clients the tunnel is an ordinary socket, one end of a pair; what comes out of the other end travels
through one forwarded channel (RFC 4254, section 7.2) and back. For asyncio it runs in the client's own loop;
for the blocking client in a private thread with a loop of its own, which ends with the connection. Each
connection has its own tunnel, and nothing of it outlives the client's socket.

asyncssh does the protocol (the extra ``[ssh]``); it is told to use nothing of the user's: no configuration,
no agent, no keys, no known hosts. What counts is written in the transport, above all the server's host key.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import concurrent.futures
import contextlib
import hashlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ami_integration.ami.errors import ConnectError, ConnectRefused, ConnectTimeout, SSHFailed, seconds
from ami_integration.ami.transports import TCP, is_loopback

if TYPE_CHECKING:
    import asyncssh

#: Kinds of host keys, the preferred first, and the signatures to accept of them (none with SHA-1).
_KINDS = {
    "ssh-ed25519": ["ssh-ed25519"],
    "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
    "ecdsa-sha2-nistp384": ["ecdsa-sha2-nistp384"],
    "ecdsa-sha2-nistp521": ["ecdsa-sha2-nistp521"],
    "ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"],
}
#: Seconds between questions whether a silent SSH server still lives, and how many may go unanswered.
_ALIVE_INTERVAL, _ALIVE_COUNT = 30, 3


@dataclass(frozen=True)
class SSH(TCP):
    """A PBX in clear text, as seen from an SSH server that this machine reaches.

    The way to the SSH server is private. From there on the bytes are in clear: let the SSH server be the PBX
    itself (``host="127.0.0.1"``), or trust the network behind it. Only a loopback `host` is taken as private:
    to any other, the login is by MD5 challenge or not at all.

    Args:
        host: the PBX as the SSH server sees it; ``127.0.0.1`` where they are one machine.
        port: AMI's port there.
        ssh_host: the SSH server, a name or an address.
        ssh_port: its port.
        ssh_username: the account there. It needs no shell, only ``AllowTcpForwarding``.
        ssh_key: the text of a private key without a passphrase, as ssh-keygen writes it.
        ssh_password: for an account without a key.
        host_key: the server's public host key, ``ssh-ed25519 AAAA…`` as in its
            ``/etc/ssh/ssh_host_ed25519_key.pub`` or in a known_hosts file, or its fingerprint, ``SHA256:…``.
            Of several keys a server shows ed25519 first: take that one's fingerprint. Without the right one
            no connection is made, and the error shows the key that came.
    """

    ssh_host: str = field(kw_only=True)
    ssh_port: int = field(default=22, kw_only=True)
    ssh_username: str = field(kw_only=True)
    ssh_key: str | None = field(default=None, repr=False, kw_only=True)
    ssh_password: str | None = field(default=None, repr=False, kw_only=True)
    host_key: str = field(kw_only=True)

    def __str__(self) -> str:
        return f"{super().__str__()} through {self.server}"

    @property
    def server(self) -> str:
        """The SSH server, for messages."""
        return f"the SSH server {TCP(self.ssh_host, self.ssh_port)}"

    @property
    def entrance(self) -> tuple[str, int]:
        return self.ssh_host, self.ssh_port

    def private_from(self, peer: str) -> bool:
        # The peer is the SSH server. It's the way on from there that is in clear, unless it stays inside.
        return is_loopback(self.host)

    def tunnel(self, sock: socket.socket, timeout: float) -> socket.socket:
        near, far = socket.socketpair()
        opened: concurrent.futures.Future[None] = concurrent.futures.Future()

        async def hold_open() -> None:
            try:
                connection = await _open(self, sock, far, timeout)
            except BaseException as error:  # handed to the caller's thread, whatever it is
                opened.set_exception(error)
                return
            opened.set_result(None)
            await connection.wait_closed()

        # A daemon: a program that forgets to close its client may end all the same.
        threading.Thread(target=asyncio.run, args=(hold_open(),), name="ami-ssh", daemon=True).start()
        try:
            opened.result()
        except BaseException:
            near.close()
            raise
        return near

    async def tunnel_async(self, sock: socket.socket, timeout: float) -> socket.socket:
        near, far = socket.socketpair()
        try:
            await _open(self, sock, far, timeout)
        except BaseException:
            near.close()
            raise
        return near


def fingerprint(key: str) -> str:
    """Of a public key, ``ssh-ed25519 AAAA…``, as ``ssh-keygen -l`` prints it: ``SHA256:…``."""
    return _fingerprint(base64.b64decode(key.split()[1]))


def _fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _pinned(transport: SSH) -> tuple[str, bytes | str]:
    """The kind of the pinned key ("" if unknown), and its blob or its fingerprint.

    Raises:
        SSHFailed: it is neither a key nor a fingerprint.
    """
    words = transport.host_key.split()
    if len(words) == 1 and words[0].startswith("SHA256:"):
        return "", words[0].rstrip("=")
    for kind, text in zip(
        words, words[1:], strict=False
    ):  # perhaps with the host before it, a comment behind
        if kind in _KINDS:
            with contextlib.suppress(binascii.Error, ValueError):
                return kind, base64.b64decode(text, validate=True)
    if not words:
        return "", ""  # refused like a wrong one, so that the error shows the key that came
    raise SSHFailed(
        f"The host key for {transport.server} can't be used: give a public key (ssh-ed25519 AAAA…) of a kind "
        f"known here ({', '.join(_KINDS)}), or a fingerprint (SHA256:…).",
        reason="host_key",
    )


async def _open(
    transport: SSH, sock: socket.socket, far: socket.socket, timeout: float
) -> asyncssh.SSHClientConnection:
    """Log in to the SSH server over `sock`, and join `far` to the PBX behind it.

    The connection closes itself when either side does. Both sockets are closed when this fails.
    """
    judge = _Judge()
    connection: asyncssh.SSHClientConnection | None = None
    try:
        try:
            async with asyncio.timeout(timeout):
                connection = await _connect(transport, sock, judge)
                await _join(transport, connection, sock, far)
                return connection
        except ConnectError:
            raise
        except Exception as error:
            raise _ssh_error(transport, error, timeout, judge) from None
    except BaseException:
        if connection is not None:
            connection.abort()
        sock.close()
        far.close()
        raise


@dataclass
class _Judge:
    """What the handshake has seen.

    Attributes:
        came: the server's host key, once it has shown one.
        trusted: whether it is the pinned one.
        logged_in: whether the server let us in.
    """

    came: bytes = b""
    trusted: bool = False
    logged_in: bool = False


async def _connect(transport: SSH, sock: socket.socket, judge: _Judge) -> asyncssh.SSHClientConnection:
    try:
        import asyncssh
    except ImportError:
        raise SSHFailed(
            "An SSH tunnel needs the package asyncssh: pip install 'amiweb[ssh]'.", reason="extra"
        ) from None

    kind, pin = _pinned(transport)
    keys: list[Any] = []
    if transport.ssh_key:
        try:
            keys = [asyncssh.import_private_key(transport.ssh_key)]
        except ValueError as error:
            if "assphrase" in str(error):
                raise SSHFailed("The SSH key has a passphrase: store one without.", reason="key") from None
            # What the library says could quote the key.
            raise SSHFailed(
                "The SSH key can't be read: it has to be the whole text of a private key, from -----BEGIN to "
                "END-----.",
                reason="key",
            ) from None
    elif not transport.ssh_password and pin:  # without a pin nobody logs in: the key that came is shown
        raise SSHFailed(f"There is neither a key nor a password for {transport.server}.", reason="auth")

    class Client(asyncssh.SSHClient):
        def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            judge.came = key.public_data
            judge.trusted = pin in (judge.came, _fingerprint(judge.came))
            return judge.trusted

        def auth_completed(self) -> None:
            judge.logged_in = True

    # The pinned kind first: a server shows one key only, and any other is refused.
    kinds = sorted(_KINDS, key=lambda known: known != kind)
    return await asyncssh.connect(
        transport.ssh_host,
        transport.ssh_port,
        sock=sock,
        client_factory=Client,
        username=transport.ssh_username,
        client_keys=keys or None,
        password=transport.ssh_password or None,
        # Three empty lists: nothing but our own check. (Something false, such as an empty list, would mean
        # the user's known_hosts file, and None would mean that any key will do.)
        known_hosts=([], [], []),
        server_host_key_algs=[name for kind in kinds for name in _KINDS[kind]],
        x509_trusted_certs=None,
        config=None,
        agent_path=None,
        gss_host=None,
        compression_algs=["none"],
        keepalive_interval=_ALIVE_INTERVAL,
        keepalive_count_max=_ALIVE_COUNT,
    )


async def _join(
    transport: SSH, connection: asyncssh.SSHClientConnection, sock: socket.socket, far: socket.socket
) -> None:
    """Let bytes flow between `far` and the PBX, neither side faster than the other takes them."""
    import asyncssh

    def acknowledge() -> None:
        # An answer is many small writes. sshd leaves Nagle's algorithm on for a connection without a
        # terminal, so the second write waits until we acknowledge the first, which kernels put off for 40 ms.
        # The option asks Linux for it now; it isn't lasting. Others have no such option.
        if hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):  # the connection has just ended, and says so by itself
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    class Channel(asyncssh.SSHTCPSession[bytes]):
        def data_received(self, data: bytes, datatype: int | None) -> None:
            pipe.wire.write(data)
            acknowledge()

        def pause_writing(self) -> None:
            pipe.wire.pause_reading()

        def resume_writing(self) -> None:
            pipe.wire.resume_reading()

        def connection_lost(self, error: Exception | None) -> None:
            pipe.wire.close()  # when the client has taken what there is, it sees the end
            connection.close()

    class Pipe(asyncio.Protocol):
        wire: asyncio.Transport
        channel: asyncssh.SSHTCPChannel[bytes]

        def connection_made(self, made: asyncio.BaseTransport) -> None:
            assert isinstance(made, asyncio.Transport)
            self.wire = made
            made.pause_reading()  # until there is a channel

        def data_received(self, data: bytes) -> None:
            self.channel.write(data)

        def pause_writing(self) -> None:
            self.channel.pause_reading()

        def resume_writing(self) -> None:
            self.channel.resume_reading()

        def connection_lost(self, error: Exception | None) -> None:
            connection.close()

    pipe = Pipe()
    await asyncio.get_running_loop().create_connection(lambda: pipe, sock=far)
    try:
        pipe.channel, _ = await connection.create_connection(Channel, transport.host, transport.port)
    except BaseException:
        pipe.wire.abort()
        raise
    pipe.wire.resume_reading()


def _ssh_error(transport: SSH, error: Exception, timeout: float, judge: _Judge) -> ConnectError:
    """What ended the way into the tunnel, in words. Never the library's own words about keys or passwords."""
    import asyncssh

    server = transport.server
    target = TCP(transport.host, transport.port)
    if judge.came and not judge.trusted:
        return _wrong_host_key(transport, judge.came)
    if isinstance(error, TimeoutError) and judge.logged_in:
        return ConnectTimeout(f"{_capital(server)} reached nobody at {target} within {seconds(timeout)}.")
    if isinstance(error, TimeoutError):
        return ConnectTimeout(
            f"{_capital(server)} accepted the connection, and then no SSH login was done within "
            f"{seconds(timeout)}.",
            phase="ssh",
        )
    if isinstance(error, asyncssh.PermissionDenied):
        how = " or ".join(
            way for way, given in (("key", transport.ssh_key), ("password", transport.ssh_password)) if given
        )
        return SSHFailed(
            f"{_capital(server)} refuses the login of {transport.ssh_username!r} with this {how}.",
            reason="auth",
        )
    if isinstance(error, asyncssh.ChannelOpenError):
        if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
            return SSHFailed(
                f"{_capital(server)} forbids {transport.ssh_username!r} to forward connections to {target} "
                f"(AllowTcpForwarding and PermitOpen in sshd_config).",
                reason="forbidden",
            )
        return ConnectRefused(f"{_capital(server)} can't reach {target}: {error.reason}.")
    said = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return SSHFailed(f"No SSH connection to {server}: {said or type(error).__name__}.")


def _wrong_host_key(transport: SSH, came: bytes) -> SSHFailed:
    size = int.from_bytes(came[:4])
    kind = came[4 : 4 + size].decode("ascii", "replace")
    short = kind.removeprefix("ssh-").partition("-")[0]
    key = f"{kind} {base64.b64encode(came).decode()}"
    what = (
        "shows another host key than the pinned one"
        if transport.host_key.strip()
        else "can't be trusted, since no host key is pinned"
    )
    return SSHFailed(
        f"{_capital(transport.server)} {what}. What came is {_fingerprint(came)}, {key} . If "
        f"“ssh-keygen -lf /etc/ssh/ssh_host_{short}_key.pub” on the server itself prints the same, pin it; "
        f"if not, somebody is in between.",
        reason="host_key",
        host_key=key,
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
