"""The listener's event session with one server: stamps what comes and tells when nothing could come.

It reads and forwards, and waits for nobody: a reader that is slow for 100 ms is cut off by Asterisk. It
doesn't parse either, save what may hold a secret; the recorder does.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ami_integration.ami import (
    SSH,
    TCP,
    TLS,
    AMIError,
    AsyncAMIClient,
    Connected,
    ConnectFailed,
    Event,
    LoginFailed,
    ReconnectingClient,
    Resumed,
)
from ami_integration.ami import Gap as Lost
from ami_integration.events.entrance import BACKOFF, Entrance
from ami_integration.events.facts import facts_learn
from ami_integration.events.flusher import Flusher
from ami_integration.events.health import HealthReporter
from ami_integration.events.hiding import raw_hidden
from ami_integration.events.ids import IdSource, id_milliseconds
from ami_integration.events.models import Gap
from ami_integration.events.outbox import Outbox
from ami_integration.events.rate import Rate
from ami_integration.events.snapshots import Answer, Snapshots
from ami_integration.events.stream import (
    START,
    EventBatch,
    GapNote,
    Mark,
    SnapshotNote,
    StampedEvent,
    end_again,
    mark_of,
)
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.secrets.sources import ReadableSecret, Source
from ami_integration.servers.address import with_secrets
from ami_integration.servers.models import ServerHealth
from ami_integration.servers.uses import Login

logger = logging.getLogger(__name__)

#: Events in a batch at most.
BATCH_EVENTS = 500

_SEEN_INTERVAL = 10.0
_SAY_AGAIN = 30.0
#: Seconds after which a PBX is asked about itself again: it may have been reloaded.
_LEARN_AGAIN = 600.0
#: A connection that ended so soon (seconds) after we had fallen behind was cut for it.
_CUT_WITHIN = 3.0
#: Among the last events that came so many are searched for a Shutdown.
_FAREWELLS = 64
#: A PBX that starts lets people in before it knows its own actions; so it is asked for its state when it says
#: that it has booted, or, since not every login is told that, after so long (seconds).
_BOOTED = b"Event: FullyBooted\r"
_BOOTED_AFTER = 10.0
#: The first event behind a gap carries the very id at which the gap ends, if it comes so soon (seconds). Not
#: later, since an id tells the time: then the end is told again.
_RESERVED_FOR = 1.0

State = ServerHealth.State


@dataclass(frozen=True)
class Target:
    """A server as the listener knows it. Two that differ in more than their name need another session.

    A secret that was only encrypted anew is the same: a change of keys must cut no session.
    """

    server_id: int
    name: str = field(compare=False)
    way: TCP | TLS | SSH
    username: str
    secret: ReadableSecret = field(compare=False)
    ssh_key: ReadableSecret | None = field(default=None, compare=False)
    ssh_password: ReadableSecret | None = field(default=None, compare=False)
    source: str = field(default=Source.STORED, compare=False)
    marks: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        secrets = (self.secret, self.ssh_key, self.ssh_password)
        object.__setattr__(self, "marks", tuple(secret.mark if secret else "" for secret in secrets))

    @property
    def login(self) -> Login:
        """What the audit is told of a login."""
        through_ssh = isinstance(self.way, SSH)
        return Login(
            self.server_id, self.name, self.username, self.source, through_ssh, "listening", "listener"
        )

    def transport(self) -> TCP | TLS | SSH:
        """How to get there. Raises `SecretUnreadable` where no key opens the way through an SSH server."""
        return with_secrets(self.way, self.ssh_key, self.ssh_password)


@dataclass(frozen=True)
class Means:
    """What all sessions of a listener share.

    Attributes:
        ids: gives the events' ids.
        outbox: where batches go.
        flusher: has them go there.
        health: where states go.
        entrance: what attempts to connect wait for.
        snapshots: asks servers for their state after a gap.
        clock: seconds since 1970.
    """

    ids: IdSource
    outbox: Outbox
    flusher: Flusher
    health: HealthReporter
    entrance: Entrance
    snapshots: Snapshots
    clock: Callable[[], float] = time.time


class Session:
    """The session with one server, over as many connections as it takes.

    Args:
        target: where and as whom.
        means: what it shares with the others.
        epoch: of the lease under which this listener owns the server.
        mark: where the server's chain stands, by whomever it was written.
        gap: why nobody listened until now, for the gap after `mark`.

    Attributes:
        received: events that came, over all connections.
        dropped: events that came and could not even be numbered.
    """

    def __init__(
        self,
        target: Target,
        means: Means,
        *,
        epoch: int,
        mark: Mark = START,
        gap: Gap.Reason = Gap.Reason.LISTENER_STOPPED,
    ) -> None:
        self.target = target
        self.epoch = epoch
        self.mark = mark
        self.received = 0
        self.dropped = 0
        self._means = means
        self._client: ReconnectingClient | None = None
        self._session: AsyncAMIClient | None = None  # the live one, or the one that was lost last
        self._pending: list[StampedEvent] = []
        self._newest: list[StampedEvent] = []
        self._gap: GapNote | None = None
        self._before = gap
        self._unmet: tuple[GapNote, float] | None = None  # an end without an event yet, and when (monotonic)
        self._state = ""
        self._seen_at = 0.0
        self._said_at = 0.0
        self._learning: asyncio.Task[None] | None = None
        self._learnt_at = 0.0
        self._rate = Rate()
        self._unasked: tuple[int, asyncio.TimerHandle] | None = None  # the gap after which to ask

    async def run(self) -> None:
        """Listen until cancelled."""
        if self.mark.id:
            self._open_gap(self._before, "", started_at=id_milliseconds(self.mark.id) * 1000)
        try:
            secret, transport = self.target.secret.reveal(), self.target.transport()
        except SecretUnreadable as error:
            self._say(State.SECRET_UNREADABLE, error=str(error))
            logger.error("%s: %s", self.target.name, error)
            # Only another secret helps, and with that comes another session.
            await asyncio.Event().wait()
            return
        self._say(State.CONNECTING)
        client = self._client = ReconnectingClient(
            transport,
            username=self.target.username,
            secret=secret,
            events="on",
            backoff=BACKOFF,
            admission=self._means.entrance.admit,
        )
        try:
            async with contextlib.aclosing(client.batches()) as items:
                async for item in items:
                    match item:
                        case list():
                            self._take(item)
                        case Connected() | Resumed():
                            self._connected(client)
                        case ConnectFailed():
                            self._failed(item.error)
                        case Lost():
                            self._lost(item.since, item.error)
        finally:
            if self._learning is not None:
                self._learning.cancel()
            self._ask_no_more()
            self._flush()

    def close(self, reason: Gap.Reason, detail: str = "") -> None:
        """After the end of `run`: from here on nobody listens, and why."""
        if self.mark.id and self._gap is None:
            self._open_gap(reason, detail, started_at=self._now())

    def report_seen(self) -> None:
        """Note that the server still talks, at most every 10 s, or that it is as it was said 30 s ago.

        Who reads it shall see that somebody watches. To be called every few seconds.
        """
        self._rate.note(self.received)
        if self._state not in ("", State.ONLINE) and time.monotonic() - self._said_at >= _SAY_AGAIN:
            self._say(State(self._state))
            return
        client = self._client.client if self._client is not None else None
        if self._client is not None and client and time.monotonic() - self._learnt_at >= _LEARN_AGAIN:
            self._learn(self._client)
        if client is None or client.last_received <= self._seen_at:
            return
        if time.monotonic() - self._seen_at >= _SEEN_INTERVAL:
            self._seen_at = time.monotonic()
            self._say(State.ONLINE)

    @property
    def online(self) -> bool:
        """Whether there is a connection now."""
        return self._client is not None and self._client.client is not None

    @property
    def lag(self) -> float:
        """Seconds that the PBX is ahead of us at most."""
        client = self._client.client if self._client is not None else None
        return client.lag.seconds if client is not None else 0.0

    # What comes

    def _take(self, events: list[Event]) -> None:
        client = self._client
        assert client is not None
        now = self._now()
        note_id = self._means.ids.next() if client.dropped > self.dropped else 0
        ids = self._means.ids.take(len(events))
        if self._unmet is not None:
            ended, told_at = self._unmet
            self._unmet = None
            if note_id:
                pass  # what is missing between makes a gap that adjoins it: they end together
            elif time.monotonic() - told_at < _RESERVED_FOR and ended.before_id is not None:
                ids[0] = ended.before_id
            else:
                self._end_again(ended, ids[0])
        stamped = [StampedEvent(one, now, raw_hidden(event)) for one, event in zip(ids, events, strict=True)]
        if note_id:
            lost, self.dropped = client.dropped - self.dropped, client.dropped
            self._overload(note_id, lost, now, ids[0])
        self.received += len(events)
        self._newest = (self._newest + stamped[-_FAREWELLS:])[-_FAREWELLS:]
        if not self._pending:
            self._pending = stamped
            self._means.flusher.soon(self._flush)
        else:
            self._pending += stamped
        if len(self._pending) >= BATCH_EVENTS:
            self._flush()
        if self._unasked is not None and any(event.raw.startswith(_BOOTED) for event in stamped):
            self._ask_now()

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        for start in range(0, len(pending), BATCH_EVENTS):
            batch = EventBatch(self.target.server_id, *self.mark, pending[start : start + BATCH_EVENTS])
            self.mark = mark_of(batch)
            self._means.outbox.put(batch, epoch=self.epoch)

    def _connected(self, client: ReconnectingClient) -> None:
        session = self._session = client.client
        assert session is not None
        logger.info("%s: listening (%s)", self.target.name, session.banner)
        self._means.health.used(self.target.login.used(None))
        self._newest = []
        if self._gap is not None:
            self._end_gap(self._gap)
        elif not self.mark.id:
            # Nothing is known from before; what may be missing later is what comes after this moment.
            self.mark = Mark(self._means.ids.next(), self.mark.numbered)
        self._rate = Rate(self.received)
        self._seen_at = time.monotonic()
        self._say(State.ONLINE, ami_version=session.ami_version, certificate=session.certificate)
        self._learn(client)

    def _learn(self, client: ReconnectingClient) -> None:
        if self._learning is not None:
            self._learning.cancel()
        self._learnt_at = time.monotonic()
        self._learning = asyncio.create_task(self._learn_facts(client))

    async def _learn_facts(self, client: ReconnectingClient) -> None:
        session = client.client
        if session is None:
            return
        # A session that ends or is slow: the next one asks again.
        with contextlib.suppress(AMIError):
            async with contextlib.aclosing(facts_learn(session, self._means.clock)) as found:
                async for facts in found:
                    if self._state == State.ONLINE and client.client is session:
                        self._say(State.ONLINE, **facts)

    def _failed(self, error: AMIError) -> None:
        state = State.LOGIN_FAILED if isinstance(error, LoginFailed) else State.OFFLINE
        if state != self._state:
            logger.warning("%s: %s", self.target.name, error)
        self._means.health.used(self.target.login.used(error))
        self._say(state, error=str(error))

    def _lost(self, since: float, error: AMIError) -> None:
        self._flush()
        self._ask_no_more()
        self._rate.note(self.received)
        logger.warning("%s: %s", self.target.name, error)
        reason, detail = self._why(str(error))
        self._open_gap(reason, detail, started_at=int(since * 1_000_000))
        self._say(State.OFFLINE, error=str(error))

    def _why(self, said: str) -> tuple[Gap.Reason, str]:
        """Why the connection ended, as far as that can be known."""
        if any(event.raw.startswith(b"Event: Shutdown\r") for event in self._newest):
            self._rate = Rate(self.received)  # a PBX that is down says nothing
            return Gap.Reason.DISCONNECTED, f"Asterisk was shut down. {said}"
        session = self._session
        behind = session.behind_at if session is not None else None
        if behind is None or time.monotonic() - behind > _CUT_WITHIN:
            return Gap.Reason.DISCONNECTED, said
        middle = " in the middle of an event" if session and session.anomalies["truncated"] else ""
        return (
            Gap.Reason.CUT,
            f"The PBX ended the session{middle} while the listener was behind: it waits for a reader no "
            f"longer than writetimeout in manager.conf. {said}",
        )

    def _say(self, state: State, **values: Any) -> None:
        self._state = state
        self._said_at = time.monotonic()
        self._means.health.note(self.target.server_id, state=state, **values)

    # Gaps, and the PBX's state after them

    def _now(self) -> int:
        return int(self._means.clock() * 1_000_000)

    def _open_gap(self, reason: Gap.Reason, detail: str, *, started_at: int) -> None:
        self._unmet = None  # no event lies between the two, which their ids show
        self._gap = GapNote(
            id=self._means.ids.next(),
            server_id=self.target.server_id,
            reason=reason,
            detail=detail,
            started_at=started_at,
            after_id=self.mark.id,
            before_count=self.mark.numbered,
        )
        self._means.outbox.put(self._gap, epoch=self.epoch)

    def _end_gap(self, gap: GapNote) -> None:
        now = self._now()
        before_id = self._means.ids.next()
        lost, lost_kind = self._rate.guess((now - gap.started_at) / 1_000_000)
        ended = GapNote(
            id=gap.id,
            server_id=gap.server_id,
            reason=gap.reason,
            detail=gap.detail,
            started_at=gap.started_at,
            after_id=gap.after_id,
            ended_at=now,
            before_id=before_id,
            lost=lost,
            lost_kind=lost_kind,
            before_count=self.mark.numbered,
        )
        self._gap = None
        self._unmet = ended, time.monotonic()
        self.mark = mark_of(ended)
        self._means.outbox.put(ended, epoch=self.epoch)
        alarm = asyncio.get_running_loop().call_later(_BOOTED_AFTER, self._ask_now)
        self._unasked = gap.after_id, alarm

    def _end_again(self, ended: GapNote, before_id: int) -> None:
        note = end_again(ended, mark=self.mark, before_id=before_id)
        self.mark = mark_of(note)
        self._means.outbox.put(note, epoch=self.epoch)

    def _ask_now(self) -> None:
        if self._unasked is not None:
            gap_after_id, alarm = self._unasked
            self._unasked = None
            alarm.cancel()
            self.ask_state(gap_after_id)

    def _ask_no_more(self) -> None:
        """The session has ended, and the next one has a gap of its own before it."""
        if self._unasked is not None:
            self._unasked[1].cancel()
            self._unasked = None

    def ask_state(self, gap_after_id: int) -> None:
        """Have the PBX asked for its state, since events are missing."""
        self._means.snapshots.want(
            self.target.server_id, lambda answers: self._put_state(gap_after_id, answers)
        )

    def _put_state(self, gap_after_id: int, answers: list[Answer]) -> None:
        if not self.online:
            return  # lost again: after that gap it is asked again
        self._flush()
        now = self._now()
        for answer in answers:
            note = SnapshotNote(
                id=self._means.ids.next(),
                server_id=self.target.server_id,
                after_id=self.mark.id,
                at=now,
                gap_after_id=gap_after_id,
                action=answer.action,
                items=answer.items,
                error=answer.error,
                before_count=self.mark.numbered,
            )
            self._means.outbox.put(note, epoch=self.epoch)

    def _overload(self, note_id: int, lost: int, now: int, before_id: int) -> None:
        self._flush()
        note = GapNote(
            id=note_id,
            server_id=self.target.server_id,
            reason=Gap.Reason.OVERLOAD,
            detail="The PBX sent more than the listener could take.",
            started_at=now,
            ended_at=now,
            after_id=self.mark.id,
            before_id=before_id,
            lost=lost,
            lost_kind="exact",
            before_count=self.mark.numbered,
            numbered=lost,
        )
        self._means.outbox.put(note, epoch=self.epoch)
        self.mark = mark_of(note)
        self.ask_state(note.after_id)
