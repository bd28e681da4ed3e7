"""The connection doctor: why can't this server be reached, and what mends it?

It goes the way of every session, one step at a time, and says at each what was seen. It stops at the first
step that fails and tells how to mend that one, naming the line of manager.conf where that is the cure:
whoever reads it administers Asterisk, not Python.

It touches no database, so that many servers can be examined in threads.
"""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ami_integration.ami import (
    AMIClient,
    AMIError,
    ConnectError,
    ConnectRefused,
    ConnectTimeout,
    LoginFailed,
    NameNotResolved,
    NoBanner,
    NotAMI,
    Timeouts,
    TLSFailed,
)
from ami_integration.servers.encryption import SecretUnreadable
from ami_integration.servers.models import Server


@dataclass
class Step:
    """One step of the connection test.

    Attributes:
        name: what was tried.
        ok: how it went; None if it was not reached.
        seen: what was seen, in words.
        mend: what to do about it; "" if nothing.
        seconds: how long it took.
    """

    name: str
    ok: bool | None = None
    seen: str = ""
    mend: str = ""
    seconds: float = 0.0


@dataclass
class ConnectionTest:
    """The test of one server: its steps, and what the server said of itself."""

    server: Server
    steps: list[Step] = field(default_factory=list)
    asterisk_version: str | None = None
    ami_version: str | None = None

    @property
    def ok(self) -> bool:
        return all(step.ok for step in self.steps)

    @property
    def failed(self) -> Step | None:
        """The step at which it ended, if it did."""
        return next((step for step in self.steps if step.ok is False), None)


def examine(server: Server, timeouts: Timeouts) -> ConnectionTest:
    """Go the whole way to `server`. Never raises for what a server or a network does; the steps say it."""
    test = ConnectionTest(server)
    try:
        secret = server.secret.reveal()
        unreadable = ""
    except SecretUnreadable as error:
        # The network is tested all the same; nothing is sent with this stand-in.
        secret, unreadable = "", str(error)
    client = AMIClient(server.ami_transport(), username=server.username, secret=secret, timeouts=timeouts)

    def look_up() -> str:
        addresses = list(dict.fromkeys(client.resolve()))
        if addresses == [server.host]:
            return "It is an address already; there is nothing to look up."
        return f"{server.host} is {', '.join(addresses)}."

    def reach() -> str:
        peer = client.open_tcp()
        return f"{peer} accepted the connection on port {server.port}."

    def encrypt() -> str:
        return f"{client.open_tls()}; the certificate is valid for {server.host}."

    def greet() -> str:
        client.read_banner()
        test.ami_version = client.ami_version
        return f"It greeted with “{client.banner}”."

    def log_in() -> str:
        if unreadable:
            raise SecretUnreadable(unreadable)
        client.login()
        return f"The account {server.username!r} is logged in."

    way: list[tuple[str, Callable[[], str]]] = [("Name", look_up), ("TCP", reach)]
    if server.transport == Server.Transport.TLS:
        way.append(("TLS", encrypt))
    way += [("Banner", greet), ("Login", log_in)]
    version, log_in_to_act, rights = (
        Step(name) for name in ("Version and rights", "Login for actions", "Rights for actions")
    )
    test.steps = [*(Step(name) for name, _ in way), version]
    if server.action_username:
        test.steps += [log_in_to_act, rights]
    try:
        for step, (_, walk) in zip(test.steps, way, strict=False):
            started = time.monotonic()
            try:
                step.seen = walk()
                step.ok = True
            except (AMIError, SecretUnreadable) as error:
                step.ok, step.seen = False, str(error)
                step.mend = _mend(error, server, server.username, client, timeouts)
                return test
            finally:
                step.seconds = time.monotonic() - started
        _ask_version(test, version, server.username, client)
        client.close()
        if server.action_username:
            _try_second_account(test, log_in_to_act, rights, timeouts)
    finally:
        client.close()
        for step in test.steps:
            step.seen, step.mend = printable(step.seen), printable(step.mend)
    return test


def printable(text: str) -> str:
    """`text` from a PBX, fit for a page and for a database.

    Bytes that are not UTF-8 arrive as surrogates, which no page can be encoded with, and PostgreSQL stores no
    NUL.
    """
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _try_second_account(test: ConnectionTest, login: Step, rights: Step, timeouts: Timeouts) -> None:
    """The account that actions use, where there is one of its own: whether it gets in, and what it may do."""
    server = test.server
    username, stored = server.action_account
    client = AMIClient(server.ami_transport(), username=username, secret="", timeouts=timeouts)
    started = time.monotonic()
    try:
        client = AMIClient(
            server.ami_transport(), username=username, secret=stored.reveal(), timeouts=timeouts
        )
        client.connect()
        login.ok, login.seen = True, f"The account {username!r} is logged in."
    except (AMIError, SecretUnreadable) as error:
        login.ok, login.seen = False, str(error)
        login.mend = _mend(error, server, username, client, timeouts)
        return
    finally:
        login.seconds = time.monotonic() - started
    try:
        _ask_version(test, rights, username, client)
    finally:
        client.close()


def _ask_version(test: ConnectionTest, step: Step, username: str, client: AMIClient) -> None:
    """What Asterisk is, and what this account may do there."""
    started = time.monotonic()
    try:
        settings = client.action("CoreSettings")
        actions = {name.lower() for name, _ in client.action("ListCommands").response.items()}
    except AMIError as error:
        step.ok, step.seen = False, str(error)
        step.mend = (
            "The login works, yet the PBX does not answer. Try again; if it stays so, look at its load."
        )
        return
    finally:
        step.seconds = time.monotonic() - started
    step.ok = True
    actions -= {"response", "actionid", "message"}
    can = [name for name in ("Originate", "Command") if name.lower() in actions]
    cannot = [name for name in ("Originate", "Command") if name.lower() not in actions]
    rights = f"The account may run {len(actions)} actions"
    rights += f", {' and '.join(can)} among them." if can else "."
    mends = []
    if settings.success:
        test.asterisk_version = settings.response.get("AsteriskVersion", "") or test.asterisk_version
        step.seen = f"Asterisk {test.asterisk_version}. {rights}"
    else:
        step.seen = f"The account may not ask for the version ({settings.message}). {rights}"
        mends.append("to show the version, add system or reporting")
    classes = {"Originate": "originate", "Command": "command"}
    mends += [f"for {name}, add {classes[name]}" for name in cannot]
    if mends:
        step.mend = (
            "It works as it is. If you want more: in manager.conf, on the write= line of "
            f"[{username}], {'; '.join(mends)}. Then run “manager reload” in Asterisk's CLI."
        )


def _mend(error: Exception, server: Server, username: str, client: AMIClient, timeouts: Timeouts) -> str:
    """What the administrator can do about `error`, which the account `username` met."""
    section = f"[{username}]"
    clear = server.transport == Server.Transport.TCP
    if isinstance(error, NameNotResolved):
        return (
            "Check the spelling of the host, or give its IP address. This machine's name server must know it."
        )
    if isinstance(error, ConnectTimeout) and error.phase == "resolve":
        return "This machine's name server does not answer. Mend that, or give the PBX's IP address."
    if isinstance(error, ConnectRefused):
        return (
            f"In manager.conf under [general] check {_listening_lines(server)}; with 127.0.0.1 as its bind "
            "address, Asterisk lets in only programs on the PBX itself. Then run “manager reload” and "
            "“manager show settings” in Asterisk's CLI. A firewall may refuse too."
        )
    if isinstance(error, TLSFailed):
        return _mend_tls(error, server)
    if isinstance(error, ConnectTimeout) and error.phase == "tls":
        return (
            "The port is open, but no TLS is spoken there. Check the port against tlsbindaddr under "
            "[general] in manager.conf, or choose TCP as the transport."
        )
    if isinstance(error, ConnectTimeout):
        return (
            "Check the host. If it is right, the machine is off, or a firewall on the way drops the packets: "
            f"allow {_own_address(server)}to reach TCP port {server.port}."
        )
    if (
        isinstance(error, NoBanner)
        and clear
        and client.peer
        and _speaks_tls(client.peer, server.port, timeouts.tls)
    ):
        return (
            "The port speaks TLS. Choose TLS as the transport, or the port= of [general] in manager.conf, "
            "which speaks clear text."
        )
    if isinstance(error, (NotAMI, NoBanner)):
        return (
            "AMI greets first and at once, so this seems to be another service: check the port against "
            f"{_listening_lines(server)} under [general] in manager.conf (8088 is Asterisk's web server, "
            "5060 SIP). If the port is right, the PBX may have too many sessions that never logged in: "
            "see authlimit= there and “manager show connected” in Asterisk's CLI."
        )
    if isinstance(error, SecretUnreadable):
        return "Nothing was sent to the PBX. Edit the server and enter the secret= of manager.conf anew."
    if isinstance(error, LoginFailed) and "already in use" in str(error).lower():
        return (
            f"Another session uses {section}. Set allowmultiplelogin = yes under [general] in "
            "manager.conf, or give this server a second account for actions if amiweb's own listener is that "
            "session, or end it: “manager show connected”, then “manager kick session <id>” in Asterisk's "
            "CLI."
        )
    if isinstance(error, LoginFailed):
        return (
            "Asterisk says the same for a wrong username, a wrong secret and an address that is shut out. "
            f"In manager.conf check that the section {section} exists, its secret= line, and that its "
            f"deny= and permit= lines (or acl=) let {_own_address(server) or 'this machine '}in. Then run "
            "“manager reload” in Asterisk's CLI, whose log says which of these it was."
        )
    if isinstance(error, ConnectError):
        return "Check host, port and transport."
    return (
        "The PBX stopped answering during the login. Try again; if it stays so, look at its load and its log."
    )


def _mend_tls(error: TLSFailed, server: Server) -> str:
    if error.reason == "unknown_ca":
        return (
            "Paste the certificate of the authority that signed it into “CA certificate”. If it signed "
            "itself, paste the certificate: the tlscertfile= line in manager.conf names its file."
        )
    if error.reason == "name":
        return (
            "Give the host by a name that is in the certificate, or make a certificate for "
            f"{server.host} and name it in the tlscertfile= line of manager.conf."
        )
    if error.reason == "expired":
        return "Renew the certificate in the file that tlscertfile= in manager.conf names; “manager reload”."
    if error.reason == "clear_text":
        return (
            "Choose TCP as the transport, or the port of tlsbindaddr= under [general] in manager.conf "
            "(tlsenable = yes, usually port 5039)."
        )
    return (
        "Check that the port is that of tlsbindaddr= under [general] in manager.conf, with tlsenable = "
        "yes, and that the file of tlscertfile= holds the certificate and its key."
    )


def _listening_lines(server: Server) -> str:
    if server.transport == Server.Transport.TLS:
        return "the lines tlsenable= (yes) and tlsbindaddr="
    return "the lines enabled= (yes), port= and bindaddr="


def _own_address(server: Server) -> str:
    """This machine's address towards the server, as a word for a sentence; "" if unknown. Sends nothing."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            server.host, server.port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)  # for UDP this only chooses a route
            return f"{probe.getsockname()[0]} (this machine) "
    except OSError:
        return ""


def _speaks_tls(host: str, port: int, timeout: float) -> bool:
    """Whether a TLS handshake succeeds there, whatever the certificate. Nothing is sent through it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only the protocol is asked for, no trust follows from the answer
    with suppress(OSError), socket.create_connection((host, port), timeout) as raw, context.wrap_socket(raw):
        return True
    return False
