"""The connection doctor against real sockets: each fault is named at its step, in time, and with its cure."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings

from ami_integration.ami import TCP, TLS, Timeouts
from ami_integration.servers.doctor import ConnectionTest, Step, examine
from ami_integration.servers.models import Server
from ami_integration.simulator.faults import Faults
from tests.ami.scripted import BANNER, Peer, scripted
from tests.certificates import make_certificates
from tests.servers.factories import SECRET, healthy
from tests.simulator.fixtures import Simulator

LIMITS = Timeouts(connect=1, tls=1, banner=0.5, login=1, action=1)
LONGEST = 5.0  # seconds: connect, banner, the look whether it is TLS, and room for a busy machine


def server_at(transport: TCP, /, **values: object) -> Server:
    values = {
        "name": "Berlin",
        "host": transport.host,
        "port": transport.port,
        "transport": "tls" if isinstance(transport, TLS) else "tcp",
        "username": "amiweb",
        "secret": SECRET,
    } | values
    return Server(**values)


def diagnose(transport: TCP, /, **values: object) -> ConnectionTest:
    started = time.monotonic()
    test = examine(server_at(transport, **values), LIMITS, listen=0.3)
    assert time.monotonic() - started < LONGEST
    assert SECRET not in repr(test)
    return test


def step_of(test: ConnectionTest, name: str) -> Step:
    return next(step for step in test.steps if step.name == name)


def assert_ends_at(test: ConnectionTest, name: str, *, seen: str, mend: str) -> None:
    names = [step.name for step in test.steps]
    position = names.index(name)
    assert [step.ok for step in test.steps] == [True] * position + [False] + [None] * (
        len(names) - position - 1
    )
    assert test.failed is not None
    assert seen in test.failed.seen
    assert mend in test.failed.mend
    assert "Traceback" not in test.failed.seen + test.failed.mend
    assert not test.ok


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """A TLS server's side, and the authority to trust."""
    made = make_certificates()
    file: Path = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(made.server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, made.ca.decode()


@contextlib.contextmanager
def listening(backlog: int = 5) -> Iterator[tuple[socket.socket, TCP]]:
    """A port that is open and that nobody serves."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as sock:
        yield sock, TCP("127.0.0.1", sock.getsockname()[1])


@contextlib.contextmanager
def in_a_thread(serve: Callable[[], object], *, end: Callable[[], object]) -> Iterator[None]:
    """Serve meanwhile; afterwards, also when the test fails, nothing of it runs on into the next one."""
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end()
        thread.join(10)
    assert not thread.is_alive()


class WebServer(http.server.ThreadingHTTPServer):
    """Waits at its end for the threads that still answer; what they think of the client goes nowhere."""

    daemon_threads = False

    def handle_error(self, request: object, client_address: object) -> None:
        """The doctor left in the middle, as it may."""


def test_a_healthy_server_passes_every_step() -> None:
    with scripted(healthy("Ping", "Originate", "Command")) as transport:
        test = diagnose(transport)
    assert test.ok
    assert [step.name for step in test.steps] == [
        *("Name", "TCP", "Banner", "Challenge", "Login and ACL", "FullyBooted", "Version", "Rights"),
        *("Latency and clock", "First events"),
    ]
    assert all(step.seen and not step.mend for step in test.steps)
    assert "Asterisk Call Manager/11.0.0" in step_of(test, "Banner").seen
    assert step_of(test, "Version").seen == "Asterisk 22.10.0."
    assert step_of(test, "Rights").seen == (
        "The account may run 3 actions, Originate and Command among them. Its write= has command, originate. "
        "Its read= has all."
    )
    assert step_of(test, "First events").seen == "They come: Hangup."
    assert (test.asterisk_version, test.ami_version) == ("22.10.0", "11.0.0")


def test_what_turns_or_hides_text_is_written_out() -> None:
    def script(peer: Peer) -> None:
        peer.say(b"Asterisk Call Manager/11.0.0\xe2\x80\xae\x1b[31m\r\n")
        peer.hear()

    with scripted(script) as transport:
        step = step_of(diagnose(transport), "Banner")
    assert r"11.0.0\u202e\x1b[31m" in step.seen and step.seen.isprintable()


def test_a_healthy_server_passes_over_tls_with_its_ca(certificates: tuple[ssl.SSLContext, str]) -> None:
    context, ca = certificates
    with scripted(healthy("Ping", "Originate", "Command"), tls=context) as transport:
        test = diagnose(TLS("127.0.0.1", transport.port), tls_ca=ca)
    assert test.ok, test
    assert test.steps[2].name == "TLS"
    assert "TLSv1.3" in test.steps[2].seen


def test_a_certificate_that_ends_within_a_month_is_told_though_all_is_well(
    certificates: tuple[ssl.SSLContext, str],
) -> None:
    context, ca = certificates  # made a moment ago, for thirty days
    with scripted(healthy("Ping", "Originate", "Command"), tls=context) as transport:
        step = step_of(diagnose(TLS("127.0.0.1", transport.port), tls_ca=ca), "TLS")
    assert step.ok
    assert "the certificate is valid for 127.0.0.1" in step.seen
    assert dict(step.shown)["Names"] == "localhost, 127.0.0.1"
    assert "Renew the file that tlscertfile= in manager.conf names, then run “manager reload”." in step.mend


def test_an_account_with_few_rights_works_and_is_told_what_is_missing() -> None:
    with scripted(healthy("Ping", settings="Error")) as transport:
        test = diagnose(transport)
    assert test.ok
    version, rights = step_of(test, "Version"), step_of(test, "Rights")
    assert "may not ask for the version" in version.seen
    assert "on the write= line of [amiweb], add system or reporting" in version.mend
    assert "no write class" in rights.seen
    for right in ("on the write= line of [amiweb]", "add originate", "add command"):
        assert right in rights.mend


def test_a_wrong_name_ends_at_the_name() -> None:
    test = diagnose(TCP("no-such-pbx.invalid", 5038))
    assert_ends_at(test, "Name", seen="'no-such-pbx.invalid' has no address", mend="spelling")


def test_a_closed_port_names_the_lines_of_manager_conf() -> None:
    with listening() as (_, transport):
        pass
    test = diagnose(transport)
    assert_ends_at(test, "TCP", seen="refused", mend="the lines enabled= (yes), port= and bindaddr=")


def test_a_machine_that_does_not_answer_ends_within_the_time_limit() -> None:
    with listening(backlog=0) as (_, transport), contextlib.ExitStack() as stack:
        for _ in range(3):  # fills the queue: the kernel drops what comes after, as a firewall does
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((transport.host, transport.port))
        test = diagnose(transport)
    assert_ends_at(test, "TCP", seen="didn't answer within 1 s", mend="firewall")
    assert "127.0.0.1 (this machine)" in test.steps[1].mend


def test_a_port_that_speaks_ssh_is_recognised() -> None:
    with scripted(lambda peer: peer.say(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")) as transport:
        test = diagnose(transport)
    assert_ends_at(test, "Banner", seen="SSH-2.0-OpenSSH", mend="port= and bindaddr= under [general]")


def test_a_web_server_that_waits_to_be_asked_is_another_service() -> None:
    with (
        WebServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web,
        in_a_thread(web.serve_forever, end=web.shutdown),
    ):
        test = diagnose(TCP("127.0.0.1", web.server_address[1]))
    assert_ends_at(test, "Banner", seen="said nothing for 0.5 s", mend="8088 is Asterisk's web server")


def test_a_port_of_sip_is_another_service_though_it_waits_to_be_asked() -> None:
    def sip(peer: Peer) -> None:
        """Says nothing until it is asked, and then what a SIP server thinks of AMI."""
        if peer.sock.recv(1024):
            peer.say(b"SIP/2.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with scripted(sip, sip) as transport:  # the second is asked whether it speaks TLS
        test = diagnose(transport)
    assert_ends_at(
        test,
        "Banner",
        seen="said nothing for 0.5 s",
        mend="port= and bindaddr= under [general] in manager.conf",
    )
    assert "5060 SIP" in step_of(test, "Banner").mend


def test_tls_to_a_port_of_sip_names_the_line_of_the_right_port() -> None:
    def sip(peer: Peer) -> None:
        if peer.sock.recv(1024):
            peer.say(b"SIP/2.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with scripted(sip) as transport:
        test = diagnose(TLS("127.0.0.1", transport.port))
    assert_ends_at(test, "TLS", seen="speaks clear text, not TLS", mend="tlsbindaddr= under [general]")


def test_a_port_that_speaks_at_length_without_a_line_is_another_service() -> None:
    with scripted(lambda peer: peer.say(bytes(range(256)) * 4000)) as transport:
        test = diagnose(transport)
    assert test.failed is not None and test.failed.name == "Banner"


def test_a_silent_port_ends_within_the_time_limit() -> None:
    with listening() as (_, transport):
        test = diagnose(transport)
    assert_ends_at(test, "Banner", seen="said nothing", mend="another service")


def test_a_port_that_closes_at_once_may_have_too_many_sessions() -> None:
    with scripted(lambda peer: None) as transport:
        test = diagnose(transport)
    assert_ends_at(test, "Banner", seen="closed the connection", mend="authlimit=")


def test_clear_text_to_a_tls_port_is_told_to_use_tls(certificates: tuple[ssl.SSLContext, str]) -> None:
    context, _ = certificates

    with listening() as (sock, transport):

        def serve() -> None:
            with contextlib.suppress(OSError):  # the listener is shut down
                while True:
                    raw, _ = sock.accept()
                    with raw, contextlib.suppress(OSError):  # whoever does not shake hands is sent away
                        raw.settimeout(5)
                        with context.wrap_socket(raw, server_side=True) as wrapped:
                            wrapped.recv(1)

        with in_a_thread(serve, end=lambda: sock.shutdown(socket.SHUT_RDWR)):
            test = diagnose(transport)
    assert_ends_at(test, "Banner", seen="said nothing", mend="The port speaks TLS. Choose TLS")


def test_tls_to_a_clear_port_is_told_to_use_tcp() -> None:
    with scripted(lambda peer: peer.say(BANNER)) as transport:
        test = diagnose(TLS("127.0.0.1", transport.port))
    assert_ends_at(test, "TLS", seen="speaks clear text, not TLS", mend="Choose TCP")


def test_tls_to_a_silent_port_ends_within_the_time_limit() -> None:
    with listening() as (_, transport):
        test = diagnose(TLS("127.0.0.1", transport.port))
    assert_ends_at(test, "TLS", seen="no TLS handshake came within 1 s", mend="tlsbindaddr")


def test_an_unknown_authority_asks_for_its_certificate(certificates: tuple[ssl.SSLContext, str]) -> None:
    context, _ = certificates
    with scripted(lambda peer: None, tls=context) as transport:
        test = diagnose(TLS("127.0.0.1", transport.port))
    assert_ends_at(test, "TLS", seen="unknown CA", mend="tlscertfile=")


def test_a_certificate_for_another_name_says_so(certificates: tuple[ssl.SSLContext, str]) -> None:
    context, ca = certificates
    with scripted(lambda peer: None, tls=context, host="127.0.0.2") as transport:
        test = diagnose(TLS("127.0.0.2", transport.port), tls_ca=ca)
    assert_ends_at(test, "TLS", seen="another name", mend="by a name that is in the certificate")


def test_tls_that_is_too_old_says_what_the_pbx_must_offer(
    certificates: tuple[ssl.SSLContext, str], tmp_path: Path
) -> None:
    _, ca = certificates
    (tmp_path / "server.pem").write_bytes(make_certificates().server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # which is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with scripted(lambda peer: None, tls=context) as transport:
        test = diagnose(TLS("127.0.0.1", transport.port), tls_ca=ca)
    assert_ends_at(test, "TLS", seen="no TLS of version 1.2 or newer", mend="Let the PBX offer TLS 1.2")


def refuse(message: str) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        for _ in ("the doctor's", "the login's"):
            peer.answer(peer.hear(), "Challenge: 123456789")
        peer.answer(peer.hear(), f"Message: {message}", response="Error")

    return script


def test_a_wrong_secret_names_what_asterisk_does_not_tell_apart() -> None:
    with scripted(refuse("Authentication failed")) as transport:
        test = diagnose(transport)
    assert_ends_at(test, "Login and ACL", seen="Authentication failed", mend="its secret= line")
    mend = step_of(test, "Login and ACL").mend
    assert "section [amiweb]" in mend
    assert "let 127.0.0.1 (this machine) in" in mend


def test_a_pbx_that_repeats_the_secret_is_not_repeated(certificates: tuple[ssl.SSLContext, str]) -> None:
    context, ca = certificates

    def repeat(peer: Peer) -> None:
        peer.say(BANNER)
        for _ in ("the doctor's", "the login's"):
            peer.answer(peer.hear(), "Message: No", response="Error")  # so it gets the secret itself
        secret = peer.hear().get("Secret")
        assert secret == SECRET
        peer.answer(peer.seen[-1], f"Message: {secret} is wrong", response="Error")

    with scripted(repeat, tls=context) as transport:
        test = diagnose(TLS("127.0.0.1", transport.port), tls_ca=ca)
    assert_ends_at(test, "Login and ACL", seen="******** is wrong", mend="")


def test_an_account_in_use_names_the_setting() -> None:
    with scripted(refuse("Login Already In Use")) as transport:
        test = diagnose(transport)
    assert_ends_at(test, "Login and ACL", seen="Login Already In Use", mend="allowmultiplelogin = yes")


def test_a_login_without_an_answer_ends_within_the_time_limit() -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 123456789")
        peer.hear()
        peer.hear()  # until the client leaves

    with scripted(script) as transport:
        test = diagnose(transport)
    assert_ends_at(test, "Login and ACL", seen="didn't answer the login within 1 s", mend="load")


def test_a_server_that_falls_silent_after_the_login_is_not_called_good() -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        for line in ("Challenge: 1", "Challenge: 1", "Message: Authentication accepted"):
            peer.answer(peer.hear(), line)
        with contextlib.suppress(EOFError):
            while True:  # until the client leaves
                peer.hear()

    with scripted(script) as transport:
        test = diagnose(transport)
    assert_ends_at(test, "Version", seen="didn't answer CoreSettings", mend="The login works")


def test_with_an_unreadable_secret_the_network_is_tested_and_nothing_is_sent(
    settings: Settings,
) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        assert peer.hear().name == "Logoff"

    with scripted(script) as transport:
        server = server_at(transport)
        settings.AMIWEB_ENCRYPTION_KEYS = {"other": Fernet.generate_key().decode()}
        test = examine(server, LIMITS, listen=0.3)
    assert_ends_at(
        test,
        "Challenge",
        seen="The stored secret can't be read",
        mend="enter the secret= of manager.conf anew",
    )


def test_a_second_account_is_tried_too_and_its_rights_are_told() -> None:
    names: list[str] = []

    def acting(peer: Peer) -> None:
        healthy("Ping", "Originate")(peer)
        names.extend(action.get("Username") or "" for action in peer.seen if action.name == "Login")

    with scripted(healthy("Ping"), acting) as transport:
        test = diagnose(transport, action_username="acting", action_secret="another-word")
    assert [step.name for step in test.steps[-3:]] == [
        "First events",
        "Login for actions",
        "Rights for actions",
    ]
    assert test.ok, test
    assert "The account may run 2 actions, Originate among them." in test.steps[-1].seen
    assert "on the write= line of [acting]" in test.steps[-1].mend
    assert names == ["acting"]


def test_a_second_account_that_is_refused_says_which_section_to_look_at() -> None:
    def refused(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Authentication failed", response="Error")

    with scripted(healthy("Ping"), refused) as transport:
        test = diagnose(transport, action_username="acting", action_secret="another-word")
    failed = test.failed
    assert failed is not None
    assert (failed.name, "[acting]" in failed.mend) == ("Login for actions", True)
    assert "another-word" not in failed.seen


def test_a_certificate_that_has_expired_says_what_to_renew(tmp_path: Path) -> None:
    made = make_certificates(expired=True)
    (tmp_path / "server.pem").write_bytes(made.server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with scripted(lambda peer: None, lambda peer: None, tls=context) as transport:
        test = diagnose(TLS("127.0.0.1", transport.port), tls_ca=made.ca.decode())
    assert_ends_at(test, "TLS", seen="expired", mend="Renew the certificate in the file that tlscertfile=")
    assert test.failed is not None and test.failed.trust is not None
    assert dict(test.failed.shown)["SHA-256"] == test.failed.trust.value


def test_another_certificate_than_the_pinned_one_asks_who_renewed_it(
    certificates: tuple[ssl.SSLContext, str],
) -> None:
    context, _ = certificates
    with scripted(lambda peer: None, lambda peer: None, tls=context) as transport:
        test = diagnose(TLS("127.0.0.1", transport.port), tls_pin="ab" * 32)
    assert_ends_at(test, "TLS", seen="isn't the pinned one", mend="Did somebody renew the PBX's certificate?")
    assert test.failed is not None and test.failed.trust is not None
    assert test.failed.trust.field == "tls_pin"
    assert "for the file of tlscertfile= in manager.conf" in test.failed.mend


def simulated(simulator: Simulator) -> ConnectionTest:
    values = {"username": simulator.username, "secret": simulator.secret}
    return examine(server_at(TCP("127.0.0.1", simulator.port), **values), LIMITS, listen=0.5)


def test_a_pbx_that_is_still_starting_is_told_to_be_waited_for(
    make_simulator: Callable[..., Simulator],
) -> None:
    test = simulated(make_simulator(faults=Faults(booting=True)))
    assert_ends_at(test, "FullyBooted", seen="still starting", mend="core waitfullybooted")


def test_a_clock_that_is_five_minutes_off_is_told(make_simulator: Callable[..., Simulator]) -> None:
    test = simulated(make_simulator(clock=lambda: time.time() - 300))
    assert test.ok, test
    clock = step_of(test, "Latency and clock")
    assert "The PBX's clock is 5 minutes behind this machine's." in clock.seen
    assert "timedatectl" in clock.mend
