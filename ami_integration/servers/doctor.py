"""The connection doctor: why can't this server be reached, and what mends it?

It goes the way of every session, one step at a time, and says at each what was seen. It stops at the first
step that fails and tells how to mend that one, naming the line of manager.conf where that is the cure:
whoever reads it administers Asterisk, not Python. Once it is in, it asks what this login may do and how the
PBX is (`asking`), and with a second account it goes the way again.

`walk` yields whenever a step begins or ends, so that pages and the command line show it as it proceeds. It
blocks, and touches no database: many servers can be examined in threads.
"""

import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ami_integration.ami import (
    SSH,
    TLS,
    AMIClient,
    AMIError,
    Certificate,
    ConnectError,
    SSHFailed,
    Timeouts,
    TLSFailed,
    fetch_certificate,
)
from ami_integration.ami.printing import printable
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers import asking
from ami_integration.servers.advice import advice
from ami_integration.servers.findings import Finding, Trust
from ami_integration.servers.models import Server

#: Seconds for which the first events are awaited.
LISTEN = 2.0
#: A certificate that ends sooner is told of.
SOON = timedelta(days=30)
#: Stands where a PBX repeats a secret that it was sent; whoever tests with a stored one need not know it.
HIDDEN = "********"
#: Characters of the shortest text that is hidden so: shorter ones stand in any sentence.
_SHORTEST = 4
#: What is wrong with a certificate that a person may still want to trust, having looked at it.
_TO_BE_SHOWN = ("unknown_ca", "name", "expired", "pin")


@dataclass
class Step:
    """One step of the connection test.

    Attributes:
        name: what was tried.
        ok: how it went; None if it was not reached.
        seen: what was seen, in words.
        mend: what to do about it; "" if nothing.
        shown: what came, to be looked at, as pairs of a label and a text.
        trust: the pin that would accept what came; None where that is no question.
        running: whether it is under way.
        seconds: how long it took.
    """

    name: str
    ok: bool | None = None
    seen: str = ""
    mend: str = ""
    shown: list[tuple[str, str]] = field(default_factory=list)
    trust: Trust | None = None
    running: bool = False
    seconds: float = 0.0

    @property
    def state(self) -> str:
        """For pages: `waiting`, `running`, `failed`, `note` or `ok`."""
        if self.ok is None:
            return "running" if self.running else "waiting"
        return "failed" if not self.ok else "note" if self.mend else "ok"

    def take(self, finding: Finding, hidden: Iterable[str]) -> None:
        """Note what came of it, without the texts to hide."""

        def plain(text: str) -> str:
            for secret in hidden:
                text = text.replace(secret, HIDDEN)
            return printable(text)

        self.ok = finding.ok
        self.seen, self.mend = plain(finding.seen), plain(finding.mend)
        self.shown = [(label, plain(text)) for label, text in finding.shown]
        self.trust = finding.trust


@dataclass
class ConnectionTest:
    """The test of one server: its steps, and what the server said of itself."""

    server: Server
    steps: list[Step] = field(default_factory=list)
    asterisk_version: str | None = None
    ami_version: str | None = None
    certificate: Certificate | None = None

    @property
    def ok(self) -> bool:
        return all(step.ok for step in self.steps)

    @property
    def failed(self) -> Step | None:
        """The step at which it ended, if it did."""
        return next((step for step in self.steps if step.ok is False), None)


def examine(server: Server, timeouts: Timeouts, *, listen: float = LISTEN) -> ConnectionTest:
    """Go the whole way to `server`. Arguments as of `walk`."""
    test = ConnectionTest(server)
    for _ in walk(test, timeouts, listen=listen):
        pass
    return test


def walk(
    test: ConnectionTest, timeouts: Timeouts, *, listen: float = LISTEN
) -> Generator[ConnectionTest, None, None]:
    """Examine `test.server`; yields `test` whenever one of its steps has begun or ended.

    Never raises for what a server or a network does; the steps say it. Whoever stops iterating closes the
    generator, and with it the connection.

    Args:
        test: without steps yet.
        timeouts: time limits of the steps, in seconds.
        listen: seconds for which the first events are awaited.
    """
    visits = [_Visit(test, timeouts, listen)]
    if test.server.action_username:
        visits.append(_Visit(test, timeouts, listen, for_actions=True))
    ways = [(visit, [(Step(name), look) for name, look in visit.way()]) for visit in visits]
    test.steps = [step for _, way in ways for step, _ in way]
    for visit, way in ways:
        try:
            for step, look in way:
                step.running, started = True, time.monotonic()
                yield test
                try:
                    finding = look()
                except (AMIError, SecretUnreadable) as error:
                    finding = visit.failure(error)
                step.running, step.seconds = False, time.monotonic() - started
                step.take(finding, visit.hidden)
                yield test
                if not step.ok:
                    return
        finally:
            visit.client.close()


class _Visit:
    """One account's way into the PBX.

    Args:
        test, timeouts, listen: as of `walk`.
        for_actions: whether it is the second account, whose way is known already.
    """

    def __init__(
        self, test: ConnectionTest, timeouts: Timeouts, listen: float, *, for_actions: bool = False
    ) -> None:
        self.test, self.server, self._listen = test, test.server, listen
        self._for_actions = for_actions
        self._entrance = True  # on the way to the first machine
        self._inside = False  # logged in
        self.username, stored = self.server.action_account if for_actions else self.server.account
        # The way is tried all the same without a secret; nothing is sent with these stand-ins.
        self._unreadable: SecretUnreadable | None = None
        self._tunnel_unreadable: SecretUnreadable | None = None
        secret, transport = "", self.server.ami_way
        try:
            secret = stored.reveal()
        except SecretUnreadable as error:
            self._unreadable = error
        try:
            transport = self.server.ami_transport()
        except SecretUnreadable as error:
            self._tunnel_unreadable = error
        self.client = AMIClient(
            transport,
            username=self.username,
            secret=secret,
            events="off" if for_actions else "on",
            timeouts=timeouts,
        )
        self._hearing = asking.Hearing(self.client)
        sent = (secret, (transport.ssh_password or "") if isinstance(transport, SSH) else "")
        self.hidden = [text for text in sent if len(text) >= _SHORTEST]

    def way(self) -> list[tuple[str, Callable[[], Finding]]]:
        """The steps, by name."""
        if self._for_actions:
            return [("Login for actions", self._enter_to_act), ("Rights for actions", self._rights)]
        way: list[tuple[str, Callable[[], Finding]]] = [("Name", self._look_up), ("TCP", self._reach)]
        if self.server.transport == Server.Transport.TLS:
            way.append(("TLS", self._encrypt))
        if self.server.transport == Server.Transport.SSH:
            way.append(("SSH tunnel", self._tunnel))
        return [
            *way,
            ("Banner", self._greet),
            ("Challenge", self._challenge),
            ("Login and ACL", self._log_in),
            ("FullyBooted", self._booted),
            ("Version", self._version),
            ("Rights", self._rights),
            ("Latency and clock", lambda: asking.ask_clock(self.client)),
            ("First events", lambda: asking.ask_events(self._hearing, self._listen)),
        ]

    def failure(self, error: AMIError | SecretUnreadable) -> Finding:
        """What an error means, what mends it, and what a person may want to trust."""
        if self._inside:
            return Finding(
                str(error),
                "The login works, yet the PBX does not answer. Try again; if it stays so, look at its load.",
                ok=False,
            )
        if error is self._tunnel_unreadable:
            return Finding(
                str(error),
                "Nothing was sent. Edit the server and enter the SSH key or password anew.",
                ok=False,
            )
        shown: list[tuple[str, str]] = []
        trust = None
        if isinstance(error, TLSFailed) and error.reason in _TO_BE_SHOWN:
            shown, trust = self._certificate_to_look_at()
        if isinstance(error, SSHFailed) and error.host_key:
            shown = [("Host key", error.host_key)]
            trust = Trust("ssh_host_key", error.host_key, "Trust this host key")
        mend = advice(
            error,
            self.server,
            username=self.username,
            peer=self.client.peer,
            timeout=self.client.timeouts.tls,
            entrance=self._entrance,
        )
        return Finding(str(error), mend, ok=False, shown=shown, trust=trust)

    # -- the steps

    def _look_up(self) -> Finding:
        host, _ = self.client.transport.entrance
        addresses = list(dict.fromkeys(self.client.resolve()))
        if addresses == [host]:
            return Finding("It is an address already; there is nothing to look up.")
        return Finding(f"{host} is {', '.join(addresses)}.")

    def _reach(self) -> Finding:
        peer = self.client.open_tcp()
        self._entrance = False
        return Finding(f"{peer} accepted the connection on port {self.client.transport.entrance[1]}.")

    def _encrypt(self) -> Finding:
        version = self.client.open_tls()
        certificate = self.client.certificate
        self.test.certificate = certificate
        if certificate is None:
            return Finding(f"{version}.")
        trusted = (
            "it is the pinned certificate"
            if self.server.tls_pin
            else f"the certificate is valid for {self.server.host}"
        )
        end, mend = certificate.not_after, ""
        if end is not None and end - datetime.now(UTC) < SOON and not self.server.tls_pin:
            mend = (
                f"The certificate ends on {end:%Y-%m-%d}. Renew the file that tlscertfile= in manager.conf "
                "names, then run “manager reload”."
            )
        return Finding(f"{version}; {trusted}.", mend, shown=_described(certificate))

    def _tunnel(self) -> Finding:
        if self._tunnel_unreadable:
            raise self._tunnel_unreadable
        self.client.open_tls()
        assert isinstance(self.client.transport, SSH)
        return Finding(
            f"{self.server.ssh_username!r} is logged in at {self.client.transport.server}, whose host key is "
            f"the pinned one. It leads to {self.server.host} port {self.server.port}."
        )

    def _greet(self) -> Finding:
        self.client.read_banner()
        self.test.ami_version = self.client.ami_version
        return Finding(f"It greeted with “{self.client.banner}”.")

    def _challenge(self) -> Finding:
        if self._unreadable:
            raise self._unreadable
        reply = self.client.action("Challenge", {"AuthType": "MD5"}, timeout=self.client.timeouts.login)
        if reply.success:
            return Finding("It gave a challenge, so the secret itself is never sent.")
        # The login tells whether it goes on without: over TLS and a tunnel it does.
        return Finding(f"It gave no challenge: {reply.message or 'no reason given'}.")

    def _log_in(self) -> Finding:
        self.client.login()
        self._inside = True
        return Finding(
            f"The account {self.username!r} is logged in; its deny=, permit= and acl= let this machine in."
        )

    def _enter_to_act(self) -> Finding:
        if self._unreadable:
            raise self._unreadable
        self.client.resolve()
        self.client.open_tcp()
        self._entrance = False
        self.client.open_tls()
        self.client.read_banner()
        self.client.login()
        self._inside = True
        return Finding(f"The account {self.username!r} is logged in.")

    def _booted(self) -> Finding:
        return asking.ask_booted(self.client, self._hearing, self.username, self._listen)

    def _version(self) -> Finding:
        version, finding = asking.ask_version(self.client, self.username)
        self.test.asterisk_version = version or None
        return finding

    def _rights(self) -> Finding:
        return asking.ask_rights(
            self.client,
            self.username,
            listens=not self._for_actions,
            acts=self._for_actions or not self.server.action_username,
        )

    def _certificate_to_look_at(self) -> tuple[list[tuple[str, str]], Trust | None]:
        """Of the machine that answers, whoever that is. Nothing is sent to it."""
        try:
            certificate = fetch_certificate(TLS(self.server.host, self.server.port), self.client.timeouts)
        except ConnectError:
            return [], None
        trust = Trust("tls_pin", certificate.fingerprint, "Trust this certificate")
        return _described(certificate), trust


def _described(certificate: Certificate) -> list[tuple[str, str]]:
    """A certificate as a person looks at it before trusting it."""
    dates = [f"{moment:%Y-%m-%d}" for moment in (certificate.not_before, certificate.not_after) if moment]
    pairs = [
        ("Subject", certificate.subject),
        ("Names", ", ".join(certificate.names)),
        ("Signed by", certificate.issuer),
        ("Valid", " to ".join(dates)),
        ("SHA-256", certificate.fingerprint),
    ]
    return [(label, text) for label, text in pairs if text]
