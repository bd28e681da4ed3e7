"""The connection doctor: why can't this server be reached, and what mends it?

It goes the way of every session, one step at a time, and says at each what was seen. It stops at the first
step that fails and tells how to mend that one, naming the line of manager.conf where that is the cure:
whoever reads it administers Asterisk, not Python.

It touches no database, so that many servers can be examined in threads.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ami_integration.ami import AMIClient, AMIError, Timeouts
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.advice import advice
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
                step.mend = advice(
                    error, server, username=server.username, peer=client.peer, timeout=timeouts.tls
                )
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
        login.mend = advice(error, server, username=username, peer=client.peer, timeout=timeouts.tls)
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
