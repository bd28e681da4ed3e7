"""Ways to a PBX, through both clients: addresses, TLS and its checks, and a time limit for each phase.

The SSH tunnel has test_ssh.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import os
import socket
import ssl
import struct
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ami_integration.ami import (
    TCP,
    TLS,
    ActionTimeout,
    AMIError,
    AsyncAMIClient,
    ConnectRefused,
    ConnectTimeout,
    LoginTimeout,
    NoBanner,
    Timeouts,
    TLSFailed,
    fetch_certificate,
)
from ami_integration.ami.transports import connect, handshake, handshake_async, resolve
from tests.ami.conftest import MakeClient
from tests.ami.scripted import BANNER, Peer, scripted
from tests.certificates import make_certificates


def idle(peer: Peer) -> None:
    peer.log_in()
    while True:
        peer.hear()


@contextlib.contextmanager
def unanswering(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port whose backlog is full: the kernel drops further SYNs, as a firewall would."""
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(3):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


# -- addresses


def test_ipv6_works(make_client: MakeClient) -> None:
    with scripted(idle, host="::1") as pbx:
        client = make_client(pbx)
        client.connect()
        assert client.client.peer == "::1"


@pytest.fixture
def name_with(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the name pbx.test have these addresses; no resolver of a test machine could be told to."""
    real = socket.getaddrinfo

    def set_addresses(*addresses: str) -> str:
        def getaddrinfo(host: str, *args: Any, **options: Any) -> list[Any]:
            hosts = addresses if host == "pbx.test" else (host,)
            return [found for one in hosts for found in real(one, *args, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return "pbx.test"

    return set_addresses


def test_addresses_of_a_name_are_tried_in_turn(make_client: MakeClient, name_with: Any) -> None:
    with scripted(idle) as pbx, unanswering("127.0.0.3", pbx.port):
        # Refused, silent, refused by the other protocol, and then the one that listens.
        name = name_with("127.0.0.2", "127.0.0.3", "::1", "127.0.0.1")
        client = make_client(TCP(name, pbx.port), timeouts=Timeouts(connect=0.3))
        client.connect()
        assert client.client.peer == "127.0.0.1"


def test_an_error_tells_what_each_address_said(make_client: MakeClient, name_with: Any) -> None:
    with unanswering("127.0.0.3") as port:
        client = make_client(TCP(name_with("127.0.0.3", "127.0.0.2"), port), timeouts=Timeouts(connect=0.3))
        with pytest.raises(ConnectRefused) as caught:
            client.connect()
    assert str(caught.value) == (
        "None of the 2 addresses of pbx.test let us in. "
        f"127.0.0.3 port {port} didn't answer within 0.3 s. "
        f"Nothing listens on 127.0.0.2 port {port}: the connection was refused."
    )
    assert caught.value.sent is False


# -- TLS


def serve_tls(folder: Path, **options: Any) -> tuple[ssl.SSLContext, str]:
    """A server's side of TLS, and the file of the CA that it comes from."""
    made = make_certificates(**options)
    (folder / "ca.pem").write_bytes(made.ca)
    (folder / "server.pem").write_bytes(made.server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context, str(folder / "ca.pem")


def sha256_of_server(folder: Path) -> str:
    pem = (folder / "server.pem").read_text().partition("-----BEGIN CERTIFICATE-----")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[1] + pem[2])).hexdigest()


def test_tls_with_a_ca_file(make_client: MakeClient, tmp_path: Path) -> None:
    context, ca = serve_tls(tmp_path)
    with scripted(idle, tls=context) as pbx:
        client = make_client(TLS("localhost", pbx.port, ca_file=ca))
        client.connect()
        assert client.client.connected


def test_tls_with_a_ca_as_text_and_another_name_than_the_host(
    make_client: MakeClient, tmp_path: Path
) -> None:
    context, ca = serve_tls(tmp_path, name="pbx.example")
    with scripted(idle, tls=context) as pbx:
        client = make_client(
            TLS("localhost", pbx.port, ca_pem=Path(ca).read_text(), server_name="pbx.example")
        )
        client.connect()
        assert client.client.connected


def test_tls_trusts_the_authorities_of_the_system(
    make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, ca = serve_tls(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", ca)  # where OpenSSL looks for them
    with scripted(idle, tls=context) as pbx:
        client = make_client(TLS("127.0.0.1", pbx.port))
        client.connect()
        assert client.client.connected


@pytest.mark.parametrize(
    ("options", "trusted", "reason"),
    [
        ({}, False, "unknown_ca"),
        ({"name": "elsewhere.example"}, True, "name"),
        ({"expired": True}, True, "expired"),
    ],
)
def test_a_certificate_that_can_not_be_trusted_is_refused_by_its_reason(
    make_client: MakeClient, tmp_path: Path, options: dict[str, object], trusted: bool, reason: str
) -> None:
    context, ca = serve_tls(tmp_path, **options)
    with scripted(idle, tls=context) as pbx:
        transport = TLS("localhost", pbx.port, ca_file=ca if trusted else None)
        with pytest.raises(TLSFailed) as caught:
            make_client(transport).connect()
        assert caught.value.reason == reason
        assert caught.value.phase == "tls"


def test_tls_older_than_1_2_is_refused(make_client: MakeClient, tmp_path: Path) -> None:
    context, ca = serve_tls(tmp_path)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # which is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with scripted(idle, tls=context) as pbx:
        with pytest.raises(TLSFailed, match=r"version 1\.2") as caught:
            make_client(TLS("localhost", pbx.port, ca_file=ca)).connect()
        assert caught.value.reason == "version"


@pytest.mark.parametrize("pin", [None, "0" * 64])
def test_this_side_offers_nothing_older_than_tls_1_2(pin: str | None) -> None:
    assert TLS("pbx", pin=pin).tls_context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_tls_to_a_clear_port_says_so(make_client: MakeClient) -> None:
    with scripted(idle) as pbx, pytest.raises(TLSFailed, match="clear text") as caught:
        make_client(TLS("127.0.0.1", pbx.port)).connect()
    assert caught.value.reason == "clear_text"


def test_a_connection_that_was_reset_before_the_handshake_leaves_no_socket_open(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport = TLS("127.0.0.1", listener.getsockname()[1], pin="0" * 64)
        sock = connect(transport, resolve(transport, 5), 5)
        theirs, _ = listener.accept()
        # A lingering time of 0: close() resets.
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            with pytest.raises(TLSFailed, match="closed the connection during the TLS handshake"):
                handshake(transport, sock, 5)
        assert sock.fileno() == -1


@pytest.mark.parametrize(
    "options",
    [{"ca_file": "/nowhere/ca.pem"}, {"ca_pem": "no certificate"}, {"ca_pem": "nö"}],
    ids=["no such file", "no certificate", "not ASCII"],
)
def test_a_ca_that_can_not_be_used_is_named(make_client: MakeClient, options: dict[str, str]) -> None:
    with scripted(lambda peer: None) as pbx, pytest.raises(TLSFailed, match="CA certificate"):
        make_client(TLS("127.0.0.1", pbx.port, **options)).connect()


# -- a pinned certificate


@pytest.mark.parametrize("form", ["{}", "SHA256 Fingerprint={}", "sha256:{}"])
def test_a_pinned_certificate_is_accepted_whatever_its_authority_name_and_dates_say(
    make_client: MakeClient, tmp_path: Path, form: str
) -> None:
    context, _ = serve_tls(tmp_path, name="elsewhere.example", expired=True)
    digits = sha256_of_server(tmp_path)
    if form.startswith("SHA256"):  # as openssl prints it
        digits = ":".join(digits[at : at + 2] for at in range(0, 64, 2)).upper()
    with scripted(idle, tls=context) as pbx:
        client = make_client(TLS("localhost", pbx.port, pin=form.format(digits)))
        client.connect()
        assert client.client.connected


def test_another_certificate_than_the_pinned_one_is_refused_even_from_a_trusted_authority(
    make_client: MakeClient, tmp_path: Path
) -> None:
    context, ca = serve_tls(tmp_path)
    came = sha256_of_server(tmp_path)

    def eager(peer: Peer) -> None:
        # All at once, so that it would be there before anybody has looked at the certificate.
        peer.say(BANNER + b"Event: Forged\r\n\r\n")
        with pytest.raises((EOFError, OSError)):
            peer.hear()
        assert not peer.seen, "the client spoke to a server that it doesn't trust"

    with scripted(eager, tls=context) as pbx:
        client = make_client(TLS("localhost", pbx.port, ca_file=ca, pin="0" * 64), events="on")
        with pytest.raises(TLSFailed, match=came) as caught:
            client.connect()
        assert caught.value.reason == "pin"
        assert client.client.banner == ""
        with pytest.raises((AMIError, StopAsyncIteration)):
            client.next_event()


def test_no_protocol_is_even_made_for_a_certificate_that_is_refused(tmp_path: Path) -> None:
    # A server can send with its half of the handshake, before the client has looked at the certificate.
    context, _ = serve_tls(tmp_path)

    def made() -> asyncio.Protocol:
        raise AssertionError("what the stranger sends would be read")

    with scripted(no_banner, tls=context) as pbx, asyncio.Runner() as runner:
        sock = socket.create_connection((pbx.host, pbx.port))
        sock.setblocking(False)
        transport = TLS(pbx.host, pbx.port, pin="0" * 64)
        with pytest.raises(TLSFailed):
            runner.run(handshake_async(transport, sock, made, 5))


def test_a_pin_that_is_no_sha256_is_named(make_client: MakeClient) -> None:
    with scripted(lambda peer: None) as pbx, pytest.raises(TLSFailed, match="64 hex digits"):
        make_client(TLS("127.0.0.1", pbx.port, pin="AB:CD")).connect()


def test_a_server_shows_its_certificate_before_it_is_trusted(tmp_path: Path) -> None:
    context, _ = serve_tls(tmp_path, name="pbx.example", expired=True)

    def silent(peer: Peer) -> None:
        with pytest.raises((EOFError, OSError)):
            peer.hear()

    with scripted(silent, tls=context) as pbx:
        certificate = fetch_certificate(TLS("127.0.0.1", pbx.port))
    assert certificate.sha256 == sha256_of_server(tmp_path)
    assert (certificate.subject, certificate.issuer) == ("CN=pbx.example", "CN=amiweb test authority")
    assert certificate.names == ("pbx.example", "127.0.0.1")
    assert certificate.not_after is not None
    assert certificate.not_after < datetime.datetime.now(datetime.UTC)


def test_a_certificate_can_not_be_fetched_where_clear_text_is_spoken() -> None:
    with scripted(idle) as pbx, pytest.raises(TLSFailed) as caught:
        fetch_certificate(TLS("127.0.0.1", pbx.port))
    assert caught.value.reason == "clear_text"


# -- time limits


def silent_to_tls(peer: Peer) -> None:
    while peer.sock.recv(10_000):
        pass


def no_banner(peer: Peer) -> None:
    peer.hear()


def no_login(peer: Peer) -> None:
    peer.say(BANNER)
    while True:
        peer.hear()


@pytest.mark.parametrize(
    ("phase", "script", "error"),
    [
        ("connect", None, ConnectTimeout),
        ("tls", silent_to_tls, ConnectTimeout),
        ("banner", no_banner, NoBanner),
        ("login", no_login, LoginTimeout),
        ("action", idle, ActionTimeout),
    ],
)
def test_each_phase_ends_by_its_own_time_limit(
    make_client: MakeClient, phase: str, script: Any, error: type[AMIError]
) -> None:
    limits = dict.fromkeys(("connect", "tls", "banner", "login", "action"), 60.0) | {phase: 0.2}
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(unanswering() if script is None else _port_of(script))
        transport = TLS("127.0.0.1", port) if phase == "tls" else TCP("127.0.0.1", port)
        client = make_client(transport, timeouts=Timeouts(**limits))
        started = time.monotonic()
        with pytest.raises(error) as caught:
            client.connect()
            client.action("Ping")
        assert 0.2 <= time.monotonic() - started < 5
        assert "0.2 s" in str(caught.value) or phase == "action"
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
        if isinstance(caught.value, ConnectTimeout):
            assert caught.value.phase == phase


@contextlib.contextmanager
def _port_of(script: Any) -> Iterator[int]:
    with scripted(script) as pbx:
        yield pbx.port


async def test_a_closed_client_holds_no_socket_though_the_pbx_goes_on_with_tls(tmp_path: Path) -> None:
    """The end of TLS is a word of both sides, and a PBX may not say its own."""
    done = threading.Event()

    def deaf(peer: Peer) -> None:
        peer.log_in()
        done.wait(20)

    context, ca = serve_tls(tmp_path)
    with scripted(deaf, tls=context) as pbx:
        client = AsyncAMIClient(TLS("localhost", pbx.port, ca_file=ca), username="u", secret="s")
        await client.connect()
        before = open_sockets()
        await client.close()
        assert open_sockets() == before - 1
        done.set()


def open_sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the folder's own, which is closed again
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count
