"""What a small company consists of: its people, phones, queues and rooms, as plain data."""

from dataclasses import dataclass, field

from ami_integration.simulator.channels import Bridge, Channel

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
    """A queue's member and what the queue remembers of it. No ``state_interface``: the interface itself."""

    interface: str
    name: str
    login_time: int
    state_interface: str = ""
    dynamic: bool = False
    penalty: int = 0
    paused: bool = False
    reason: str = ""
    last_pause: int = 0
    calls_taken: int = 0
    last_call: int = 0
    in_call: bool = False

    @property
    def watched(self) -> str:
        """The device whose state tells whether the member is free."""
        return self.state_interface or self.interface


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
    muted: list[Channel] = field(default_factory=list)
