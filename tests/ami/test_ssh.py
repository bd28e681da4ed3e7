"""The SSH tunnel, through a real OpenSSH server, to a PBX that says what each test wrote down.

tests/pbx/test_transports.py goes through the same server to a real Asterisk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ami_integration.ami import (
    SSH,
    AMIClient,
    AsyncAMIClient,
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    ConnectTimeout,
    LoginFailed,
    NameNotResolved,
    SSHFailed,
    Timeouts,
    transports,
)
from ami_integration.ami.transports import is_private
from tests.ami.conftest import MakeClient
from tests.ami.scripted import BANNER, Peer, scripted
from tests.polling import wait_until
from tests.sshd import Sshd, keygen, running

#: Linux takes it for this machine. To anybody who reads it, it is some address that isn't a loopback one.
ANOTHER = "0.0.0.0"  # noqa: S104 - nobody listens here
LIMITS = Timeouts(connect=5, tls=10, banner=5, login=5, action=10)


def pinging(peer: Peer) -> None:
    peer.log_in()
    while True:
        peer.answer(peer.hear(), "Ping: Pong")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def agent(key: str, path: Path) -> Iterator[Path]:
    """An ssh-agent that holds `key` and listens at `path`."""
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        wait_until(path.exists, seconds=15, what="the agent listens")
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        subprocess.run(["ssh-add", "-q", "-"], input=key.encode(), env=environment, check=True)
        yield path
    finally:
        process.terminate()
        process.wait(10)


def refused(make_client: MakeClient, transport: SSH) -> SSHFailed:
    with pytest.raises(SSHFailed) as caught:
        make_client(transport, timeouts=LIMITS).connect()
    assert caught.value.phase == "ssh"
    assert caught.value.sent is False
    return caught.value


# -- ways in


@pytest.mark.parametrize("way", ["key", "password"])
def test_a_pbx_is_reached_through_an_ssh_server(sshd: Sshd, make_client: MakeClient, way: str) -> None:
    with scripted(pinging) as pbx:
        transport = sshd.transport(pbx.port)
        if way == "password":
            transport = replace(transport, ssh_key=None, ssh_password=sshd.password)
        client = make_client(transport, timeouts=LIMITS)
        client.connect()
        assert client.action("Ping").response.get("Ping") == "Pong"
        assert client.client.peer == "127.0.0.1"
        client.close()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("form", ["{key}", "[pbx]:22 {key}"], ids=["public key", "line of known_hosts"])
def test_any_host_key_of_the_server_may_be_pinned(
    sshd: Sshd, make_client: MakeClient, kind: str, form: str
) -> None:
    with scripted(pinging) as pbx:
        pinned = form.format(key=sshd.host_keys[kind])
        client = make_client(sshd.transport(pbx.port, host_key=pinned), timeouts=LIMITS)
        client.connect()
        assert client.action("Ping").success


def test_a_fingerprint_pins_the_key_that_the_server_shows(sshd: Sshd, make_client: MakeClient) -> None:
    fingerprint = sshd.fingerprint("ed25519")
    with scripted(pinging) as pbx:
        client = make_client(sshd.transport(pbx.port, host_key=fingerprint), timeouts=LIMITS)
        client.connect()
        assert client.action("Ping").success


def test_a_plain_login_may_go_through_the_tunnel(sshd: Sshd, make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Message: Must specify AuthType", response="Error")
        peer.answer(peer.hear())
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(sshd.transport(pbx.port), timeouts=LIMITS)
        client.connect()
        assert client.client.connected


def test_no_plain_login_goes_through_the_tunnel_to_a_machine_behind_it(
    sshd: Sshd, make_client: MakeClient
) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Message: Must specify AuthType", response="Error")
        with pytest.raises((EOFError, OSError)):
            peer.hear()

    # The SSH server is at a loopback address itself, which says nothing of the way from there on.
    with scripted(script) as pbx:
        client = make_client(sshd.transport(pbx.port, ANOTHER), timeouts=LIMITS)
        with pytest.raises(LoginFailed, match="SSH tunnel to the PBX itself") as caught:
            client.connect()
    assert caught.value.reason == "no_challenge"


def test_a_login_by_challenge_goes_through_the_tunnel_to_a_machine_behind_it(
    sshd: Sshd, make_client: MakeClient
) -> None:
    with scripted(pinging) as pbx:
        client = make_client(sshd.transport(pbx.port, ANOTHER), timeouts=LIMITS)
        client.connect()
        assert client.action("Ping").success


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("pbx.localhost", True),
        ("192.0.2.10", False),
        ("2001:db8::10", False),
        ("0.0.0.0", False),  # noqa: S104 - nobody listens here
        ("pbx.example.com", False),
        ("localhost.example.com", False),
        ("notlocalhost", False),
        ("", False),
    ],
)
def test_a_tunnel_is_private_where_it_ends_on_the_pbx(host: str, private: bool) -> None:
    transport = SSH(host, ssh_host="192.0.2.1", ssh_username="tunnel", host_key="")
    assert is_private(transport, "192.0.2.1") is private
    assert is_private(replace(transport, ssh_host="127.0.0.1"), "127.0.0.1") is private


# -- whom it trusts


@pytest.mark.parametrize("pin", ["another key", "another kind", "another fingerprint", "nothing"])
def test_a_host_key_that_is_not_pinned_is_refused_and_shown_and_learns_nothing(
    sshd: Sshd, make_client: MakeClient, tmp_path: Path, pin: str
) -> None:
    keygen(tmp_path / "other", "ed25519")
    other = (tmp_path / "other.pub").read_text()
    pinned = {
        "another key": other,
        "another kind": other,
        "another fingerprint": "SHA256:" + "A" * 43,
        "nothing": "",
    }[pin]
    transport = sshd.transport(1, host_key=pinned, ssh_password=sshd.password)
    before = len(sshd.log())
    error = refused(make_client, transport)
    assert error.reason == "host_key"
    assert error.host_key == sshd.host_keys["ed25519"].rsplit(" ", 2)[0]
    assert error.host_key in str(error)
    fingerprint = sshd.fingerprint("ed25519")
    assert fingerprint in str(error)
    assert "ssh_host_ed25519_key.pub" in str(error)
    log = sshd.log()[before:]
    assert "Accepted" not in log and "Failed" not in log
    # What the error shows is what may be pinned.
    with scripted(pinging) as pbx:
        make_client(sshd.transport(pbx.port, host_key=error.host_key), timeouts=LIMITS).connect()


def test_the_known_hosts_and_the_settings_of_the_user_count_for_nothing(
    sshd: Sshd, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    key = sshd.host_keys["ed25519"]
    (home / ".ssh" / "known_hosts").write_text(f"127.0.0.1 {key}\n[127.0.0.1]:{sshd.port} {key}\n")
    (home / ".ssh" / "config").write_text(f'Match exec "touch {tmp_path}/config-was-read"\n')
    (home / ".ssh" / "id_ed25519").write_text(sshd.key)
    monkeypatch.setenv("HOME", str(home))
    with agent(sshd.key, tmp_path / "agent") as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        assert refused(make_client, sshd.transport(1, host_key="")).reason == "host_key"
        wrong = sshd.transport(1, ssh_key=None, ssh_password="wrong")
        assert refused(make_client, wrong).reason == "auth"
        with scripted(pinging) as pbx:
            make_client(sshd.transport(pbx.port), timeouts=LIMITS).connect()
    assert not (tmp_path / "config-was-read").exists()


def test_a_server_without_a_key_of_the_pinned_kind_shows_the_one_it_has(
    ssh_account: tuple[str, str], sshd: Sshd, make_client: MakeClient
) -> None:
    with running(*ssh_account, "HostKeyAlgorithms rsa-sha2-512") as other:
        error = refused(make_client, other.transport(1))
        assert error.host_key == other.host_keys["rsa"].rsplit(" ", 2)[0]
    assert error.reason == "host_key"


@pytest.mark.parametrize("pin", ["MD5:aa:bb", "ssh-ed25519", "ssh-ed25519 ???", "ssh-dss AAAA", "hello"])
def test_a_host_key_that_is_none_is_named_before_anything_is_sent(
    sshd: Sshd, make_client: MakeClient, pin: str
) -> None:
    error = refused(make_client, sshd.transport(1, host_key=pin))
    assert error.reason == "host_key"
    assert "can't be used" in str(error)


# -- who is let in


def test_a_login_that_the_ssh_server_refuses_is_named_without_its_secrets(
    sshd: Sshd, make_client: MakeClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keygen(tmp_path / "other", "ed25519")
    key = (tmp_path / "other").read_text()
    transport = sshd.transport(1, ssh_key=key, ssh_password="pass-not-right")
    error = refused(make_client, transport)
    assert error.reason == "auth"
    assert sshd.username in str(error) and "key or password" in str(error)
    shown = "".join(traceback.format_exception(error)) + repr(transport) + str(transport) + repr(vars(error))
    shown += repr(make_client(transport).client) + caplog.text
    assert "pass-not-right" not in shown
    assert key.splitlines()[2] not in shown


def test_a_password_alone_that_is_wrong_is_named(sshd: Sshd, make_client: MakeClient) -> None:
    error = refused(make_client, sshd.transport(1, ssh_key=None, ssh_password="wrong"))
    assert error.reason == "auth"
    assert "with this password" in str(error)


def test_a_transport_without_key_and_password_asks_nobody(sshd: Sshd, make_client: MakeClient) -> None:
    error = refused(make_client, sshd.transport(1, ssh_key=None))
    assert "neither a key nor a password" in str(error)


def test_a_key_that_can_not_be_used_is_named_and_not_quoted(
    sshd: Sshd, make_client: MakeClient, tmp_path: Path
) -> None:
    keygen(tmp_path / "locked", "ed25519", passphrase="open sesame")
    error = refused(make_client, sshd.transport(1, ssh_key=(tmp_path / "locked").read_text()))
    assert error.reason == "key" and "passphrase" in str(error)
    for broken in (sshd.key[:-60], "not-a-key", sshd.key.replace("\n", "")):
        error = refused(make_client, sshd.transport(1, ssh_key=broken))
        assert error.reason == "key"
        assert broken not in "".join(traceback.format_exception(error))


def test_an_ssh_server_that_does_not_forward_is_named(
    ssh_account: tuple[str, str], make_client: MakeClient
) -> None:
    with running(*ssh_account, "AllowTcpForwarding no") as strict:
        error = refused(make_client, strict.transport(1))
    assert error.reason == "forbidden"
    assert "AllowTcpForwarding" in str(error)


# -- what else can be in the way


def test_a_pbx_that_the_ssh_server_can_not_reach_is_named(sshd: Sshd, make_client: MakeClient) -> None:
    port = free_port()
    with pytest.raises(
        ConnectRefused, match=f"SSH server 127.0.0.1:{sshd.port} can't reach 127.0.0.1:{port}"
    ):
        make_client(sshd.transport(port), timeouts=LIMITS).connect()
    with pytest.raises(ConnectRefused, match="can't reach no-such-host.invalid:5038"):
        make_client(sshd.transport(5038, "no-such-host.invalid"), timeouts=LIMITS).connect()


def test_an_ssh_server_that_is_not_there_is_named(sshd: Sshd, make_client: MakeClient) -> None:
    port = free_port()
    with pytest.raises(ConnectRefused, match=f"Nothing listens on 127.0.0.1 port {port}"):
        make_client(sshd.transport(1, ssh_port=port)).connect()
    with pytest.raises(NameNotResolved, match="no-such-host.invalid"):
        make_client(sshd.transport(1, ssh_host="no-such-host.invalid")).connect()


def test_a_port_that_speaks_no_ssh_ends_within_the_limit(sshd: Sshd, make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        while peer.sock.recv(1000):
            pass

    with scripted(script) as pbx, pytest.raises(ConnectTimeout, match="no SSH login was done") as caught:
        make_client(sshd.transport(1, ssh_port=pbx.port), timeouts=Timeouts(tls=0.3)).connect()
    assert caught.value.phase == "ssh"


def test_a_port_that_hangs_up_is_named(sshd: Sshd, make_client: MakeClient) -> None:
    with scripted(lambda peer: None) as pbx:
        assert "No SSH connection" in str(refused(make_client, sshd.transport(1, ssh_port=pbx.port)))


def test_a_pbx_that_does_not_answer_the_ssh_server_ends_within_the_limit(
    sshd: Sshd, make_client: MakeClient
) -> None:
    # A full backlog: the kernel drops further SYNs, like a firewall would.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        transport = sshd.transport(listener.getsockname()[1])
        with pytest.raises(ConnectTimeout, match="reached nobody at") as caught:
            make_client(transport, timeouts=replace(LIMITS, tls=2)).connect()
        assert caught.value.phase == "connect"
        for filler in fillers:
            filler.close()


def test_without_asyncssh_the_error_says_what_to_install(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    with scripted(lambda peer: None) as anything:
        transport = SSH(
            "127.0.0.1",
            ssh_host="127.0.0.1",
            ssh_port=anything.port,
            ssh_username="someone",
            ssh_password="something",
            host_key="",
        )
        error = refused(make_client, transport)
    assert error.reason == "extra"
    assert "pip install 'amiweb[ssh]'" in str(error)


def test_an_ssh_error_survives_pickling_with_its_facts() -> None:
    error = pickle.loads(pickle.dumps(SSHFailed("no", reason="host_key", host_key="ssh-rsa AAAA")))  # noqa: S301
    assert (str(error), error.phase, error.reason, error.host_key) == (
        "no",
        "ssh",
        "host_key",
        "ssh-rsa AAAA",
    )


# -- what flows through


def test_much_arrives_whole(sshd: Sshd, make_client: MakeClient) -> None:
    lines = 120_000  # 12 MB: more than every buffer on the way, less than a message may have

    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.say(f"Response: Success\r\nActionID: {action.action_id}\r\n".encode())
        for first in range(0, lines, 1000):
            peer.say(b"".join(b"Output: %092d\r\n" % number for number in range(first, first + 1000)))
        peer.say(b"\r\n")
        peer.answer(peer.hear())
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(sshd.transport(pbx.port), timeouts=replace(LIMITS, action=60))
        client.connect()
        output = client.command("much").output
        assert len(output) == lines
        assert all(int(line) == number for number, line in enumerate(output))
        assert client.action("Ping").success


def test_an_ssh_session_that_is_killed_is_a_lost_connection(sshd: Sshd, make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.hear()
        sshd.kill_sessions()
        with pytest.raises((EOFError, OSError)):
            peer.hear()

    with scripted(script) as pbx:
        client = make_client(sshd.transport(pbx.port), timeouts=LIMITS)
        client.connect()
        started = time.monotonic()
        with pytest.raises(ConnectionLost) as caught:
            client.action("Originate")
        assert caught.value.sent is True
        assert time.monotonic() - started < 5


def test_a_pbx_that_hangs_up_ends_the_tunnel(sshd: Sshd, make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.say(b"Event: Shutdown\r\n\r\n")

    with scripted(script) as pbx:
        client = make_client(sshd.transport(pbx.port), events="on", timeouts=LIMITS)
        client.connect()
        assert client.next_event().name == "Shutdown"
        with pytest.raises(ConnectionLost):
            client.next_event()
    wait_until(lambda: not sshd.sessions(), seconds=15, what="the tunnel is gone from the SSH server")


def test_a_blocking_client_leaves_no_thread_and_no_session_behind(sshd: Sshd) -> None:
    files = len(os.listdir("/proc/self/fd"))
    with scripted(*[pinging] * 5) as pbx:
        for _ in range(5):
            transport = sshd.transport(pbx.port)
            with AMIClient(transport, username="someone", secret="hunter2", timeouts=LIMITS) as client:
                assert client.action("Ping").success
        with pytest.raises(ConnectError):
            AMIClient(sshd.transport(free_port()), username="someone", secret="hunter2").connect()
        wait_until(
            lambda: "ami-ssh" not in {thread.name for thread in threading.enumerate()},
            seconds=15,
            what="the tunnels' threads have ended",
        )
    wait_until(lambda: not sshd.sessions(), seconds=15, what="the tunnels are gone from the SSH server")
    assert len(os.listdir("/proc/self/fd")) <= files


@pytest.mark.parametrize("client", ["blocking", "asyncio"])
def test_a_reader_that_pauses_stops_the_pbx_and_not_the_memory(sshd: Sshd, client: str) -> None:
    total, sent = 64 * 1024 * 1024, 0

    def script(peer: Peer) -> None:
        nonlocal sent
        while sent < total:
            peer.say(b"x" * 65536)
            sent += 65536

    with scripted(script) as pbx, asyncio.Runner() as runner:
        transport = sshd.transport(pbx.port)
        raw = transports.connect(transport, transports.resolve(transport, 5), 5)
        if client == "blocking":
            sock = transports.handshake(transport, raw, 10)
        else:
            sock = runner.run(transport.tunnel_async(raw, 10))
        with sock:
            stalled = 0

            def has_stalled() -> bool:
                nonlocal stalled
                before, stalled = stalled, sent
                runner.run(asyncio.sleep(0.1))  # the tunnel lives in this loop, or in its own thread
                return before == sent > 0

            wait_until(has_stalled, seconds=15, what="the PBX can't send any more", step=0.2)
            assert sent < total / 2

            async def read_all() -> int:
                sock.setblocking(False)
                got = 0
                while got < total:
                    got += len(await asyncio.get_running_loop().sock_recv(sock, 1 << 20))
                return got

            assert runner.run(read_all()) == total
        runner.run(asyncio.sleep(0.1))


async def until(condition: Callable[[], bool], what: str) -> None:
    """As `wait_until`, while this test's own loop runs on."""
    await asyncio.to_thread(wait_until, condition, seconds=15, what=what)


async def test_an_asyncio_client_leaves_no_task_and_no_session_behind(sshd: Sshd) -> None:
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    loop = asyncio.get_running_loop()
    with scripted(*[pinging] * 5) as pbx:
        for _ in range(5):
            transport = sshd.transport(pbx.port)
            async with AsyncAMIClient(
                transport, username="someone", secret="hunter2", timeouts=LIMITS
            ) as client:
                assert (await client.action("Ping")).success
                assert threading.active_count() <= threads + 2, "the tunnel lives in the client's loop"
        with pytest.raises(ConnectError):
            await AsyncAMIClient(sshd.transport(free_port()), username="someone", secret="hunter2").connect()
        await until(lambda: len(asyncio.all_tasks(loop)) == 1, "no task but the test's own")
        await until(lambda: not sshd.sessions(), "the tunnels are gone from the SSH server")
    await until(lambda: len(os.listdir("/proc/self/fd")) <= files + 2, "the sockets are closed")


async def test_a_connect_that_is_cancelled_in_the_middle_leaves_nothing_behind(sshd: Sshd) -> None:
    arrived = threading.Event()

    def silent(peer: Peer) -> None:
        arrived.set()
        while peer.sock.recv(1000):
            pass

    with scripted(silent) as nobody:
        transport = sshd.transport(1, ssh_port=nobody.port)
        client = AsyncAMIClient(transport, username="someone", secret="hunter2", timeouts=LIMITS)
        connecting = asyncio.create_task(client.connect())
        await until(arrived.is_set, "the SSH handshake is under way")
        files = len(os.listdir("/proc/self/fd"))
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: len(os.listdir("/proc/self/fd")) <= files - 3, "all three sockets are closed")
        assert len(asyncio.all_tasks()) == 1
