"""
The scenarios of recording/record.py, played by the simulator's office with the same people doing the same.
"""

from collections.abc import Callable

from ami_integration.simulator import originating, people
from ami_integration.simulator.actions.originate import read_variables
from ami_integration.simulator.company import OfficeSettings, Plan
from ami_integration.simulator.office import Office
from ami_integration.simulator.wire import Event

START = 1_700_000_000.0
SETTINGS = OfficeSettings(
    calls_per_second=0,
    phones=4,
    ring_seconds=5,
    member_timeout=3,
    retry=1,
    queue_timeout=10,
    sip_domain="127.0.0.1",
)
DANA = ("trunk", "Dana Caller")


class Stage:
    """An office with nobody in it, and what it told."""

    def __init__(self, settings: OfficeSettings = SETTINGS, seed: int = 1) -> None:
        self.office = Office(seed=seed, start=START, settings=settings)
        self.told: list[Event] = []
        self.office.publish = self.told.append

    def first_member(self, device: str) -> None:
        """The queue ``sales`` rings this member next."""
        sales = self.office.queues["sales"]
        sales.next_member = [member.interface for member in sales.members].index(device)

    def data(self) -> bytes:
        return b"".join(event.encoded for event in self.told)

    def play(self, seconds: float) -> None:
        self.office.advance(self.office.time + seconds)

    def play_to_the_end(self) -> None:
        while (due := self.office.next_at) is not None:
            self.office.advance(due)

    def channel(self, start: str) -> str:
        return next(name for name in self.office.switch.channels if name.startswith(start))

    def hang_up(self, start: str, cause: int = 0) -> None:
        channel = self.office.switch.channels[self.channel(start)]
        channel.owner.hang_up_requested(channel, cause)


def _call(plan: Plan) -> Callable[[Stage], None]:
    return lambda stage: _void(people.call_from_phone(stage.office, "100", "101", plan))


def _queue(plan: Plan, exten: str = "5550600") -> Callable[[Stage], None]:
    return lambda stage: _void(people.call_from_trunk(stage.office, DANA, exten, plan))


def _void(_: object) -> None:
    """Drop a value."""


def _then_hang_up(
    start: Callable[[Stage], None], after: float, channel: str, cause: int = 0
) -> Callable[[Stage], None]:
    def scene(stage: Stage) -> None:
        start(stage)
        stage.play(after)
        stage.hang_up(channel, cause)

    return scene


def _conference(stage: Stage) -> None:
    for index, number in enumerate(("100", "101", "102")):
        people.call_from_phone(stage.office, number, "700", Plan(talk=5), delay=index)


def _conference_alone(stage: Stage) -> None:
    people.call_from_phone(stage.office, "100", "700", Plan(talk=50))


def _originate(
    wanted: dict[str, object], plan: Plan, *, asynchronous: bool = True
) -> Callable[[Stage], None]:
    def scene(stage: Stage) -> None:
        fields = dict(wanted)
        if "variables" in fields:
            fields["variables"] = read_variables(fields["variables"])  # type: ignore[arg-type]
        request = originating.Originate(**fields)  # type: ignore[arg-type]
        if asynchronous:
            request.done = originating.tell_outcome(stage.office, "o1")
        originating.originate(stage.office, request, plan)

    return scene


TO_PHONE = {"channel": "PJSIP/100", "context": "office", "exten": "101"}
WAIT = {"application": "Wait", "data": "1"}
TALK = Plan(answer=0.5, talk=0.5)

SCENES: dict[str, Callable[[Stage], None]] = {
    "call-callee-hangs-up": _call(Plan(answer=0.5, talk=0.5, ended_by="callee")),
    "call-caller-hangs-up": _call(TALK),
    "call-busy": _call(Plan(busy=True)),
    "call-unanswered": _call(Plan(answer=None)),
    "call-cancelled": _call(Plan(answer=None, patience=0.5)),
    "call-held": _call(Plan(answer=0.5, talk=2, hold=(0.5, 0.5))),
    "call-ami-hangup": _then_hang_up(_call(Plan(answer=0.5, talk=50)), 2, "PJSIP/100", 16),
    "call-ami-hangup-without-cause": _then_hang_up(_call(Plan(answer=0.5, talk=50)), 2, "PJSIP/101"),
    "call-ami-hangup-while-ringing": _then_hang_up(_call(Plan(answer=None)), 1, "PJSIP/100", 16),
    "call-ami-hangup-of-ringing-phone": _then_hang_up(_call(Plan(answer=None)), 1, "PJSIP/101"),
    "call-from-outside": _queue(TALK, "5550100"),
    "queue-answered-caller-hangs-up": _queue(TALK),
    "queue-answered-agent-hangs-up": _queue(Plan(answer=0.5, talk=0.5, ended_by="callee")),
    "queue-member-does-not-answer": _queue(Plan(answer=0.5, talk=0.5, missed=1)),
    "queue-ringall": _queue(TALK, "5550601"),
    "queue-abandoned": _queue(Plan(answer=None, patience=1)),
    "queue-timeout": _queue(Plan(answer=None)),
    "queue-ami-hangup-while-waiting": _then_hang_up(_queue(Plan(answer=None)), 1, "PJSIP/trunk"),
    "conference": _conference,
    "conference-ami-hangup": _then_hang_up(_conference_alone, 2, "PJSIP/100"),
    "originate-to-phone": _originate(
        TO_PHONE
        | {
            "caller": ("100", "Front Desk"),
            "channel_id": "my-own-id",
            "variables": ["COLOUR=blue", "SIZE=10"],
        },
        TALK,
    ),
    "originate-application": _originate({"channel": "PJSIP/100"} | WAIT, TALK),
    "originate-busy": _originate(TO_PHONE, Plan(busy=True)),
    "originate-unanswered": _originate(TO_PHONE | {"timeout": 1.0}, Plan(answer=None)),
    "originate-ami-hangup-while-ringing": _then_hang_up(
        _originate({"channel": "PJSIP/100"} | WAIT, Plan(answer=None)), 1, "PJSIP/100"
    ),
    "originate-sync": _originate({"channel": "PJSIP/100"} | WAIT, TALK, asynchronous=False),
    "originate-sync-busy": _originate({"channel": "PJSIP/100"} | WAIT, Plan(busy=True), asynchronous=False),
    "originate-local": _originate({"channel": "Local/800@office"} | WAIT, TALK),
    "originate-local-phone": _originate(
        {"channel": "Local/101@office", "context": "office", "exten": "102"},
        Plan(answer=0.5, talk=1.5, ended_by="callee"),
    ),
    "originate-local-nobody-answers": _originate(
        {"channel": "Local/101@office", "timeout": 2.0} | WAIT, Plan(answer=None)
    ),
    "originate-local-busy": _originate({"channel": "Local/101@office"} | WAIT, Plan(busy=True)),
}
