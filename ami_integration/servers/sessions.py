"""Action sessions: connections with a login that a worker keeps for the next action.

A login costs an Asterisk as much as ten actions on TCP, twenty on TLS, and through an SSH tunnel a tenth of a
second (`tests/bench/bench_sessions.py`), and an idle session with events off costs it next to nothing. So a
process keeps a few per server, each used by one action at a time. How many a server has over all processes
is bounded (`slots.py`), a server that can't be reached isn't tried by everybody (`circuits.py`), and its
actions are counted (`rates.py`). Whoever can't have a session now gets a `MustWait` at once: nobody waits for
one inside a thread.

A kept session is looked at before it is used. One that the PBX closed says so without a byte being sent;
one that was idle for some seconds is asked by a Ping, since a firewall may have forgotten it without a word.
It is not kept when its action failed in any way (a late answer may still come), when the login was denied
something (rights are copied at login, so a corrected manager.conf counts from the next one on), or when the
server's address or account are no longer the ones that it was opened with. When a server is disabled, put
into maintenance or deleted, its idle sessions are closed within seconds: whoever works on a PBX wants it left
alone.
"""

import atexit
import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import redis
from django.conf import settings
from django.db import Error, connection

from ami_integration.ami import AMIClient, AMIError, LoginFailed, Timeouts
from ami_integration.outage import Outage
from ami_integration.servers import slots
from ami_integration.servers.address import ADDRESS_FIELDS
from ami_integration.servers.circuits import Circuit
from ami_integration.servers.models import Server
from ami_integration.servers.rates import rate_take
from ami_integration.servers.uses import Login, login_for_actions, use_told
from ami_integration.servers.waiting import LimitsUnknown, MustWait, SessionsBusy

logger = logging.getLogger(__name__)

#: Seconds without use after which a session is asked whether it lives, and the time for its answer.
ASK_AFTER, ASK_LIMIT = 5.0, 3.0
#: Seconds after which a session is opened anew even if it is in use all the time: rights are copied at login.
MAX_AGE = 600.0
#: Seconds between two rounds of the keeper: leases are renewed, idle sessions closed.
KEEPER_INTERVAL = 1.0
#: Seconds between two of its looks whether the servers are still to be reached at all.
LOOK_EVERY = 3.0
#: Bytes that an answer may have beyond what a result keeps: on the wire each line has a name before it.
ANSWER_MARGIN = 1024 * 1024
#: Seconds for which the end of a process waits for its keeper, which may be waiting for Valkey.
STOP_LIMIT = 5.0


@contextmanager
def open_session(server: Server, *, purpose: str, timeouts: Timeouts | None = None) -> Iterator[AMIClient]:
    """A session of its own for actions, beside all limits, for what is done by hand; closed with the block.

    Args:
        purpose: what for, for the audit.
        timeouts: time limits in seconds; the client's own by default.

    Raises:
        SecretUnreadable: the secret can't be read; nothing was sent.
        AMIError: connecting or logging in failed; its `phase` says where.
    """
    username, secret = server.action_account
    client = AMIClient(
        server.ami_transport(), username=username, secret=secret.reveal(), events="off", timeouts=timeouts
    )
    with ExitStack() as stack:
        with use_told(login_for_actions(server, purpose, origin="command")):
            stack.enter_context(client)
        yield client


@dataclass(eq=False)
class ActionSession:
    """A session for one action.

    Attributes:
        client: logged in, events off.
        reused: whether it was kept from an earlier action.
        connect_seconds, login_seconds: spent on opening it; None where it was kept.
    """

    client: AMIClient
    server_id: int
    fingerprint: str
    token: str
    login: Login
    reused: bool = False
    connect_seconds: float | None = None
    login_seconds: float | None = None
    keep: bool = True
    born: float = field(default_factory=time.monotonic)
    idle_since: float = field(default_factory=time.monotonic)

    def discard(self) -> None:
        """Don't keep it after this action."""
        self.keep = False

    def connect(self) -> None:
        """Open it, again if it was open, and tell the audit. Raises `AMIError`; its lease stays."""
        with use_told(self.login):
            began = time.monotonic()
            self.client.resolve()
            self.client.open()
            self.connect_seconds = time.monotonic() - began
            began = time.monotonic()
            self.client.login()
            self.login_seconds = time.monotonic() - began
        self.reused = False
        self.born = time.monotonic()

    def usable(self, fingerprint: str) -> bool:
        """Whether the next action may have it."""
        now = time.monotonic()
        if self.fingerprint != fingerprint or now - self.born > MAX_AGE or not self.client.alive():
            return False
        if now - self.idle_since > ASK_AFTER:
            try:
                return self.client.action("Ping", timeout=ASK_LIMIT).success
            except AMIError:
                return False
        return True


class Leased(Protocol):
    """What holds a lease that has to be renewed."""

    @property
    def server_id(self) -> int: ...

    @property
    def token(self) -> str: ...


@dataclass(frozen=True)
class Visitor:
    """A session beside the pool that counts all the same (`session_counted`)."""

    server_id: int
    token: str


class Pool:
    """The sessions of this process, in use and idle; its threads share them.

    A thread of its own, which lives as long as there are any, renews their leases and closes idle ones. It is
    ended before the process is (`stop`): a thread that outlives the rest would find Valkey gone, and nobody
    to tell it to.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[int, list[ActionSession]] = {}
        self._all: set[Leased] = set()
        self._keeper: threading.Thread | None = None
        self._stopped = threading.Event()  # the present keeper's own
        self._away = Outage(
            logger, "Valkey is away; leases of action sessions aren't renewed, and no session is opened"
        )
        self._unasked = Outage(
            logger, "the database is away; nobody knows whether servers with idle sessions were switched off"
        )
        #: Called with whoever waited longest for a session, when an idle one was closed for it.
        self.on_free: Callable[[str], object] = lambda waiter: None

    # -- for one action

    def take(self, server_id: int, fingerprint: str) -> ActionSession | None:
        """A kept session that is fit for use, the one used last first."""
        while True:
            with self._lock:
                idle = self._idle.get(server_id)
                session = idle.pop() if idle else None
            if session is None:
                return None
            if session.usable(fingerprint):
                session.reused = True
                session.connect_seconds = session.login_seconds = None
                return session
            self.close(session)

    def add(self, session: Leased) -> None:
        """A session was opened: its lease is kept from now on."""
        with self._lock:
            self._all.add(session)
            if self._keeper is None or not self._keeper.is_alive():
                self._stopped = threading.Event()
                self._keeper = threading.Thread(
                    target=self._work, args=(self._stopped,), name="action-sessions", daemon=True
                )
                self._keeper.start()

    def give_back(self, session: ActionSession) -> None:
        """Keep the session for the next action, or close it."""
        if session.keep and session.client.connected:
            session.idle_since = time.monotonic()
            with self._lock:
                idle = self._idle.setdefault(session.server_id, [])
                if len(idle) < settings.AMIWEB_IDLE_SESSIONS:
                    idle.append(session)
                    return
        self.close(session)

    def close(self, session: ActionSession) -> None:
        """Close a session that is in nobody's hands, and give its lease up."""
        session.client.close()
        self.remove(session)

    def remove(self, session: Leased) -> None:
        """A session is closed: give its lease up."""
        with self._lock:
            self._all.discard(session)
        with suppress(redis.RedisError):  # the lease ends by itself
            slots.slot_release(server_id=session.server_id, token=session.token)

    def close_idle(self, server_id: int | None = None) -> None:
        """Close every idle session, or those of one server."""
        with self._lock:
            servers = list(self._idle) if server_id is None else [server_id]
            closing = [session for one in servers for session in self._idle.pop(one, [])]
        for session in closing:
            self.close(session)

    def close_unwanted(self) -> None:
        """Close the idle sessions of servers that were disabled, put into maintenance or deleted."""
        with self._lock:
            servers = set(self._idle)
        if not servers:
            return
        try:
            wanted = Server.objects.enabled().filter(pk__in=servers, maintenance=False)
            servers -= set(wanted.values_list("pk", flat=True))
        except Error as error:
            self._unasked.failed(error)
            return
        self._unasked.ended()
        for server_id in servers:
            self.close_idle(server_id)

    def stop(self) -> None:
        """End the keeper without another word, and close what is idle. The next session begins anew."""
        with self._lock:
            keeper, self._keeper = self._keeper, None
            self._stopped.set()
        if keeper is not None:
            keeper.join(STOP_LIMIT)
        self.close_idle()

    def counts(self, server_id: int) -> tuple[int, int]:
        """How many sessions of a server this process has, and how many of them are idle."""
        with self._lock:
            mine = sum(session.server_id == server_id for session in self._all)
            return mine, len(self._idle.get(server_id, []))

    # -- the keeper

    def keep(self, stopped: threading.Event | None = None) -> None:
        """One round: renew the leases, close what is idle for too long or wanted elsewhere.

        Args:
            stopped: when it is set, nothing is said any more.
        """
        with self._lock:
            tokens: dict[int, list[str]] = {}
            for session in self._all:
                tokens.setdefault(session.server_id, []).append(session.token)
        for server_id, mine in tokens.items():
            try:
                waiting = slots.slots_renew(server_id=server_id, tokens=mine)
            except redis.RedisError as error:
                if stopped is not None and stopped.is_set():
                    return
                self._away.failed(error)
                waiting = 0
            else:
                self._away.ended()
            for session in self._outdated(server_id, waiting):
                self.close(session)
                if waiting:
                    self._tell(server_id)

    def _outdated(self, server_id: int, waiting: int) -> list[ActionSession]:
        """Take the idle sessions that are to be closed; the ones idle for longest go first."""
        now = time.monotonic()
        with self._lock:
            idle = self._idle.get(server_id, [])
            closing = [
                session
                for position, session in enumerate(idle)
                if position < waiting
                or now - session.idle_since > settings.AMIWEB_IDLE_SECONDS
                or now - session.born > MAX_AGE
            ]
            self._idle[server_id] = [session for session in idle if session not in closing]
            if not self._idle[server_id]:
                del self._idle[server_id]
        return closing

    def _tell(self, server_id: int) -> None:
        with suppress(redis.RedisError):  # who waits is found by the sweep
            waiter = slots.waiter_next(server_id=server_id)
            if waiter is not None:
                self.on_free(waiter)

    def _work(self, stopped: threading.Event) -> None:
        look_at = time.monotonic() + LOOK_EVERY
        while not stopped.wait(KEEPER_INTERVAL):
            try:
                self.keep(stopped)
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + LOOK_EVERY
                    self.close_unwanted()
            except Exception:
                # Whatever it is: without this thread the leases end, and others open sessions beside ours.
                if not stopped.is_set():
                    logger.exception("Looking after the action sessions failed; it is tried again.")
            finally:
                connection.close()
            with self._lock:
                if not self._all and not stopped.is_set():
                    # Under the lock, so that a session which is added now sees that it needs a new thread.
                    self._keeper = None
                    return


pool = Pool()
atexit.register(pool.stop)


@contextmanager
def action_session(
    server: Server, *, waiter: str = "", timeouts: Timeouts | None = None
) -> Iterator[ActionSession]:
    """A session of `server`'s action account for one action: a kept one, or a new one.

    Args:
        waiter: who is to be told (`Pool.on_free`, `waiter_take`) when there is none now.
        timeouts: time limits for a new one, in seconds.

    Raises:
        MustWait: none can be had now; the subclass says why. Nothing was sent.
        SecretUnreadable: no key opens the stored secret; nothing was sent.
        AMIError: connecting or logging in failed.
    """
    try:
        session = _session(server, waiter, timeouts)
    except redis.RedisError as error:
        raise LimitsUnknown(
            f"The limits of {server.name} can't be looked up: Valkey (or Redis) is away."
        ) from error
    try:
        yield session
    except BaseException:
        session.discard()
        raise
    finally:
        pool.give_back(session)


@contextmanager
def session_counted(server: Server) -> Iterator[str]:
    """Count a session that is opened beside the pool as one of the server's, while the block lasts.

    Yields:
        "" if it is counted, or if Valkey is away and nobody can count; else why not: the server has as many
        as it may. Whether to open one more is the caller's to decide.
    """
    visitor = Visitor(server.pk, secrets.token_hex(12))
    try:
        counted = slots.slot_take(server_id=server.pk, token=visitor.token, limit=server.max_sessions)
    except redis.RedisError:
        yield ""
        return
    if not counted:
        yield _all_in_use(server)
        return
    pool.add(visitor)
    try:
        yield ""
    finally:
        pool.remove(visitor)


def _all_in_use(server: Server) -> str:
    return f"All action sessions of {server.name} are in use: it may have {server.max_sessions} at once."


def circuit_reset(server: Server) -> None:
    """The server was reached just now, by other means: runs needn't wait for its circuit any more."""
    with suppress(redis.RedisError):
        Circuit(server.pk, server.name, _fingerprint(server)).succeeded()


def waiter_take(server_id: int) -> str | None:
    """Whoever has waited longest for a session of this server; it is off the list then."""
    try:
        return slots.waiter_next(server_id=server_id)
    except redis.RedisError:
        return None  # who waits is found by the sweep


def _session(server: Server, waiter: str, timeouts: Timeouts | None) -> ActionSession:
    username, secret = server.action_account
    fingerprint = _fingerprint(server)
    session = pool.take(server.pk, fingerprint)
    if session is not None:
        try:
            rate_take(server)
        except BaseException:
            pool.give_back(session)
            raise
        return session
    client = AMIClient(
        server.ami_transport(),
        username=username,
        secret=secret.reveal(),
        timeouts=timeouts,
        # No more than a result may keep: of what is longer, its beginning with a note.
        max_message=settings.AMIWEB_RESULT_LIMIT + ANSWER_MARGIN,
        cut_answers=True,
    )
    circuit = Circuit(server.pk, server.name, fingerprint)
    permit = circuit.ask()
    login = login_for_actions(server, "actions")
    session = ActionSession(client, server.pk, fingerprint, secrets.token_hex(12), login)
    try:
        if not slots.slot_take(
            server_id=server.pk, token=session.token, limit=server.max_sessions, waiter=waiter
        ):
            raise SessionsBusy(_all_in_use(server))
        pool.add(session)
        rate_take(server)
    except (MustWait, redis.RedisError):
        pool.close(session)
        if permit.probe:
            circuit.abstained()
        raise
    try:
        session.connect()
    except BaseException as error:
        pool.close(session)
        with suppress(redis.RedisError):
            # An account that is in use elsewhere is no server that is away.
            if isinstance(error, AMIError) and getattr(error, "reason", "") != "in_use":
                circuit.failed(str(error))
            elif permit.probe:
                circuit.abstained()
        if isinstance(error, LoginFailed) and error.reason == "in_use":
            raise LoginFailed(
                f"{error} It may be amiweb's own listener: give the server a second account for actions, or "
                "allow several logins of this one.",
                reason="in_use",
            ) from None
        raise
    if permit.failures:
        with suppress(redis.RedisError):
            circuit.succeeded()
    return session


def _fingerprint(server: Server) -> str:
    """Stands for the address and the account: another one, another session and another circuit."""
    username, secret = server.action_account
    ssh = [found and found.mark for found in server.ssh_secrets]
    way = [getattr(server, name) for name in ADDRESS_FIELDS]
    parts = (*way, *ssh, username, secret.mark)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
