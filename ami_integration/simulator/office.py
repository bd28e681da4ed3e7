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
from collections.abc import Callable, Iterator

from ami_integration.simulator.calls import Call
from ami_integration.simulator.channels import DEVICE_STATES
from ami_integration.simulator.company import PEOPLE, ROOMS, Conference, Member, OfficeSettings, Phone, Queue
from ami_integration.simulator.database import Database
from ami_integration.simulator.telephony import Switch
from ami_integration.simulator.wire import Event, EventClass, Header


class Office:
    """The simulated company. Single-threaded; all times are seconds since the epoch."""

    def __init__(self, *, seed: int = 0, start: float, settings: OfficeSettings | None = None) -> None:
        """``start``: when it opens. Nobody calls by themselves until people.open_office() sends them."""
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
                self.join(queue, member)
        self.database = Database()
        self.globals: dict[str, str] = {}

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
        for name, exten, strategy, staff in (
            ("sales", "600", "rrmemory", sales),
            ("support", "601", "ringall", support),
        ):
            members = [Member(phone.device, phone.name, int(self.started)) for phone in staff]
            yield Queue(name, exten, strategy, members)

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
        phone = self.phone_of(device)
        if phone is not None:
            about: list[Header] = [("Exten", phone.number), ("Context", "office"), ("Hint", device)]
            self.switch.tell("ExtensionStatus", EventClass.CALL, [*about, *self.hint_state(phone)])
        for queue, member in self._memberships.get(device, ()):
            self.tell_member("QueueMemberStatus", queue, member)
            self.switch.set_device(self.availability_device(queue), self.availability(queue))

    def hint_state(self, phone: Phone) -> list[Header]:
        """What the hint of a phone's extension tells."""
        status, text, _ = DEVICE_STATES[self.switch.known_device_state(phone.device)]
        return [("Status", str(status)), ("StatusText", text)]

    def tell_member(self, name: str, queue: Queue, member: Member) -> None:
        """QueueMemberStatus and its like."""
        self.switch.tell(
            name,
            EventClass.AGENT,
            [
                ("Queue", queue.name),
                ("MemberName", member.name),
                ("Interface", member.interface),
                *self.member_headers(member),
                ("Ringinuse", "0"),
                ("Wrapuptime", "0"),
            ],
        )

    def availability(self, queue: Queue) -> str:
        """What the queue's device for its free members does."""
        return "NOT_INUSE" if any(map(self.is_available, queue.members)) else "INUSE"

    @staticmethod
    def availability_device(queue: Queue) -> str:
        """The device that tells whether the queue has a free member."""
        return f"Queue:{queue.name}_avail"

    def is_available(self, member: Member) -> bool:
        """Whether the queue may call the member."""
        return not member.paused and self.member_status(member) == 1

    def join(self, queue: Queue, member: Member) -> None:
        """The queue hears of the member's device from now on."""
        self._memberships.setdefault(member.watched, []).append((queue, member))

    def leave(self, queue: Queue, member: Member) -> None:
        """And no more."""
        self._memberships[member.watched].remove((queue, member))

    def state_of(self, device: str) -> str:
        """What a device does, whatever kind of device it is."""
        technology, _, address = device.partition("/")
        if technology == "Local":
            exten, _, context = address.partition("/")[0].partition("@")
            if not self.extension_exists(context or "default", exten):
                return "INVALID"
        elif self.phone_of(device) is None and device not in self.switch.devices:
            return "UNKNOWN" if device.startswith("Custom:") else "INVALID"
        return self.switch.known_device_state(device)

    def member_status(self, member: Member) -> int:
        """app_queue's number for what the member's device does."""
        return DEVICE_STATES[self.state_of(member.watched)][2]

    def member_headers(self, member: Member) -> list[Header]:
        """What QueueMemberStatus and QueueMember have in common."""
        return [
            ("StateInterface", member.watched),
            ("Membership", "dynamic" if member.dynamic else "static"),
            ("Penalty", str(member.penalty)),
            ("CallsTaken", str(member.calls_taken)),
            ("LastCall", str(member.last_call)),
            ("LastPause", str(member.last_pause)),
            ("LoginTime", str(member.login_time)),
            ("InCall", str(int(member.in_call))),
            ("Status", str(self.member_status(member))),
            ("Paused", str(int(member.paused))),
            ("PausedReason", member.reason),
        ]

    def phone_of(self, device: str) -> Phone | None:
        """The phone that a device is, if it is one."""
        technology, _, number = device.partition("/")
        return self.phones.get(number) if technology == "PJSIP" else None

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

    def can_ring(self, member: Member) -> bool:
        """Whether the member is called now: it has a free phone of the office."""
        phone = self.phone_of(member.interface)
        return phone is not None and self.is_free(phone)

    def is_free(self, phone: Phone) -> bool:
        """Whether a phone has no channel at all."""
        return not self.switch.channels_of(phone.device)

    def extension_exists(self, context: str, exten: str, priority: int = 1) -> bool:
        """Whether the dialplan has it."""
        return 1 <= priority <= self.last_priority(context, exten)

    def last_priority(self, context: str, exten: str) -> int:
        """The extension's last priority in the dialplan, 0 if there is no such extension."""
        if context == "from-trunk":
            return int(exten.startswith("5550") and self.last_priority("office", exten[4:]) > 0)
        if context != "office":
            return 0
        if exten in self.phones:
            return 2
        queues = {queue.exten for queue in self.queues.values()}
        return 3 if exten in queues or exten in ROOMS or exten == "800" else 0
