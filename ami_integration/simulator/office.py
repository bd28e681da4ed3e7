"""
A small company: its phones, queues and conference, the people who call, and the time that passes for them.

The office is a discrete-event simulation without I/O: advance(now) plays everything that is due and hands
each event to ``publish``. Its clock stands at the planned moment of what it plays, not at the wall's, so
the same seed and start give the same history byte by byte, however late or in what portions advance() is
called.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from ami_integration.simulator.telephony import DEVICE_STATES, Bridge, Channel, Switch
from ami_integration.simulator.wire import Event, EventClass, Header

Script = Generator[float | None, None, None]
"""A call's course: it yields the seconds to wait, None for "until woken"."""

PEOPLE = (
    "Anna Aalto", "Ben Brook", "Chloe Carr", "David Demir", "Elena Ek", "Farid Fuchs", "Grace Gómez",
    "Hugo Hahn", "Ines Ivanova", "Jonas Jørgensen", "Katya Kowalczyk", "Leon Łukasik", "Mina Müller",
    "Noah Nagy", "Olga Ortiz", "Pavel Peña", "Quentin Quist", "Rosa Ruiz", "Samir Sørensen", "Tara Tóth",
)  # fmt: skip
CALLERS = (
    "Dana Caller", "Björk & Söhne GmbH", "O'Neill, Patrick", "Żaneta Wójcik", "Fahrrad Österreicher",
    "Acme Inc.", 'José "Pepe" Núñez', "WITHHELD", "Taxi 24/7", "山田太郎",
)  # fmt: skip


ROOMS = tuple(str(number) for number in range(700, 800))
"""Conference rooms, which are extensions too."""


@dataclass(frozen=True)
class OfficeSettings:
    """Times in seconds. ``phones`` 0: as many as the rate of calls needs."""

    calls_per_second: float = 0.2
    phones: int = 0
    ring_seconds: int = 20
    member_timeout: int = 15
    retry: int = 5
    queue_timeout: int = 60
    sip_domain: str = "127.0.0.1"


@dataclass(frozen=True)
class Plan:
    """What the people of one call will do. Times in seconds.

    answer: when the called one picks up; None: not at all. busy: refuses instead. patience: when the caller
    gives up waiting; None: never. talk, ended_by: how long they talk, and who ends it. hold: when the caller
    holds the other one, and for how long. missed: how many queue members let it ring before one picks up.
    """

    answer: float | None = 3.0
    busy: bool = False
    patience: float | None = None
    talk: float = 20.0
    ended_by: str = "caller"
    hold: tuple[float, float] | None = None
    missed: int = 0


@dataclass(eq=False)
class Phone:
    """A telephone on a desk."""

    number: str
    name: str

    @property
    def device(self) -> str:
        return f"PJSIP/{self.number}"


@dataclass(eq=False)
class Member:
    """A queue's member and what the queue remembers of it."""

    phone: Phone
    login_time: int
    calls_taken: int = 0
    last_call: int = 0
    in_call: bool = False


@dataclass(eq=False)
class Waiting:
    """A caller in a queue."""

    channel: Channel
    since: float
    original_position: int


@dataclass(eq=False)
class Queue:
    """A queue, its members and its callers, and the figures that QueueStatus shows."""

    name: str
    exten: str
    strategy: str
    members: list[Member]
    callers: list[Waiting] = field(default_factory=list)
    next_member: int = 0
    hold_time: int = 0
    talk_time: int = 0
    completed: int = 0
    abandoned: int = 0


@dataclass(eq=False)
class Conference:
    """A conference room in use."""

    room: str
    bridge: Bridge
    announcer: str
    channels: list[Channel] = field(default_factory=list)


class HungUp(Exception):
    """Thrown into a call's script: one of its channels is asked to end."""

    def __init__(self, channel: Channel, cause: int, *, by_user: bool = False) -> None:
        super().__init__(channel.name)
        self.channel = channel
        self.cause = cause
        self.by_user = by_user


class Call:
    """A running script and the owner of its channels."""

    def __init__(self, office: "Office") -> None:
        self.office = office
        self.script: Script | None = None
        self._turn = 0
        self._running = False
        self.listening = False
        """Whether a change of a channel ends the script's wait early."""
        self._hung_up: list[HungUp] = []

    def start(self, script: Script, delay: float = 0.0) -> None:
        """Give the call its script and let it begin."""
        self.script = script
        self.wake(delay)

    def wake(self, delay: float = 0.0) -> None:
        """Take the next step after ``delay`` seconds, whatever was planned before."""
        self._turn += 1
        self.office.plan(delay, self, self._turn)

    def step(self, turn: int) -> None:
        """Let the script run to its next wait, unless this turn was overtaken by another."""
        if turn != self._turn or self.script is None:
            return
        self._hung_up = [one for one in self._hung_up if not one.channel.gone]
        hung_up = self._hung_up.pop(0) if self._hung_up else None
        self._running = True
        try:
            if hung_up:
                wait = self.script.throw(hung_up)
            else:
                wait = next(self.script)
        except StopIteration:
            self.script = None
            return
        finally:
            self._running = False
        if self._hung_up:
            self.wake()
        elif wait is not None:
            self.wake(wait)

    def channel_changed(self, channel: Channel) -> None:
        """A channel that this call owns changed."""
        if self.listening and not self._running:
            self.wake()

    def hang_up_requested(self, channel: Channel, cause: int) -> None:
        """End a channel, as AMI's Hangup asks; takes effect at the script's next step."""
        if channel.gone or any(hung_up.channel is channel for hung_up in self._hung_up):
            return
        self._hung_up.append(HungUp(channel, cause))
        if not self._running:
            self.wake()


class Office:
    """The simulated company. Single-threaded; all times are seconds since the epoch."""

    def __init__(self, *, seed: int = 0, start: float, settings: OfficeSettings | None = None) -> None:
        """``start``: when it opens. Nobody calls by themselves until calls.open_office() sends them."""
        self.settings = settings or OfficeSettings()
        self.rng = random.Random(seed)
        self.time = start
        self.started = start
        self.publish: Callable[[Event], None] = lambda event: None
        self.on_planned: Callable[[], None] = lambda: None
        self.skipped_calls = 0
        self._agenda: list[tuple[float, int, Call, int]] = []
        self._order = itertools.count()
        self.switch = Switch(now=lambda: self.time, emit=self._emit, rng=self.rng)
        self.switch.on_device = self._device_changed
        self.phones = {phone.number: phone for phone in self._make_phones()}
        self.numbers = list(self.phones)
        self.queues = {queue.name: queue for queue in self._make_queues()}
        self.conferences: dict[str, Conference] = {}
        self._memberships: dict[str, list[tuple[Queue, Member]]] = {}
        for queue in self.queues.values():
            for member in queue.members:
                self._memberships.setdefault(member.phone.device, []).append((queue, member))

    def _make_phones(self) -> Iterator[Phone]:
        # A call lasts about half a minute and takes up to two phones; the rest are free ones to choose from.
        count = self.settings.phones or max(12, math.ceil(self.settings.calls_per_second * 90))
        first = 100 if count <= 100 else 1000 if count <= 5000 else 10000
        names = itertools.cycle(PEOPLE)
        for number in range(first, first + count):
            yield Phone(str(number), next(names))

    def _make_queues(self) -> Iterator[Queue]:
        phones = list(self.phones.values())[1:]
        share = max(2, len(phones) // 4)
        # All of a ringall queue's phones ring at once, so it stays small. One member is in both queues.
        sales, support = phones[:share][:40], phones[share - 1 : 2 * share - 1][:5]
        yield Queue("sales", "600", "rrmemory", [Member(phone, int(self.started)) for phone in sales])
        yield Queue("support", "601", "ringall", [Member(phone, int(self.started)) for phone in support])

    # -- time -------------------------------------------------------------------------------------

    @property
    def uptime(self) -> int:
        """Seconds since the office opened."""
        return int(self.time - self.started)

    @property
    def next_at(self) -> float | None:
        """When the next thing is due; None if nothing is planned."""
        return self._agenda[0][0] if self._agenda else None

    def plan(self, delay: float, call: Call, turn: int) -> None:
        """Put a step on the agenda."""
        heapq.heappush(self._agenda, (self.time + max(0.0, delay), next(self._order), call, turn))
        self.on_planned()

    def advance(self, now: float, *, most: int | None = None) -> bool:
        """Play what is due until ``now``, at most ``most`` steps of it. True when nothing due is left."""
        count = 0
        while self._agenda and self._agenda[0][0] <= now:
            if most is not None and count >= most:
                return False
            count += 1
            at, _, call, turn = heapq.heappop(self._agenda)
            self.time = max(self.time, at)
            call.step(turn)
        self.time = max(self.time, now)
        return True

    # -- what the switch tells --------------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        self.publish(event)

    def _device_changed(self, device: str, state: str) -> None:
        phone = self.phones.get(device.partition("/")[2]) if device.startswith("PJSIP/") else None
        if phone is None:
            return
        status, text, _ = DEVICE_STATES[state]
        self.switch.tell(
            "ExtensionStatus",
            EventClass.CALL,
            [
                ("Exten", phone.number),
                ("Context", "office"),
                ("Hint", device),
                ("Status", str(status)),
                ("StatusText", text),
            ],
        )
        for queue, member in self._memberships.get(device, ()):
            self.tell_member(queue, member)

    def tell_member(self, queue: Queue, member: Member) -> None:
        """QueueMemberStatus, and the queue's device when its last free member went or the first came back."""
        self.switch.tell(
            "QueueMemberStatus",
            EventClass.AGENT,
            [
                ("Queue", queue.name),
                ("MemberName", member.phone.name),
                ("Interface", member.phone.device),
                *self.member_headers(member),
                ("Ringinuse", "0"),
                ("Wrapuptime", "0"),
            ],
        )
        free = any(self.member_status(other) == 1 for other in queue.members)
        self.switch.set_device(f"Queue:{queue.name}_avail", "NOT_INUSE" if free else "INUSE")

    def member_status(self, member: Member) -> int:
        """app_queue's number for what the member's phone does."""
        return DEVICE_STATES[self.switch.known_device_state(member.phone.device)][2]

    def member_headers(self, member: Member) -> list[Header]:
        """What QueueMemberStatus and QueueMember have in common."""
        return [
            ("StateInterface", member.phone.device),
            ("Membership", "static"),
            ("Penalty", "0"),
            ("CallsTaken", str(member.calls_taken)),
            ("LastCall", str(member.last_call)),
            ("LastPause", "0"),
            ("LoginTime", str(member.login_time)),
            ("InCall", str(int(member.in_call))),
            ("Status", str(self.member_status(member))),
            ("Paused", "0"),
            ("PausedReason", ""),
        ]

    def free_phones(self, count: int) -> list[Phone]:
        """So many different phones without a channel, by chance; fewer if hardly any is free."""
        found: dict[str, Phone] = {}
        for _ in range(50 * count):
            phone = self.phones[self.rng.choice(self.numbers)]
            if phone.number not in found and self.is_free(phone):
                found[phone.number] = phone
                if len(found) == count:
                    break
        return list(found.values())

    def is_free(self, phone: Phone) -> bool:
        """Whether a phone has no channel at all."""
        return not self.switch.channels_of(phone.device)

    def extension_exists(self, context: str, exten: str) -> bool:
        """Whether the dialplan has it."""
        if context == "from-trunk":
            return exten.startswith("5550") and self.extension_exists("office", exten[4:])
        if context != "office":
            return False
        queues = {queue.exten for queue in self.queues.values()}
        return exten in self.phones or exten in queues or exten in ROOMS or exten == "800"
