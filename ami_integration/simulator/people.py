"""
The people: who calls whom, when, and what they do with the call. All of it by the office's seeded chance.
"""

from ami_integration.simulator.calls import Call
from ami_integration.simulator.channels import State
from ami_integration.simulator.company import CALLERS, ROOMS, OfficeSettings, Plan
from ami_integration.simulator.dialling import Steps
from ami_integration.simulator.dialplan import run_dialplan
from ami_integration.simulator.office import Office


def open_office(*, seed: int, start: float, settings: OfficeSettings | None = None) -> Office:
    """An office that people call, at ``calls_per_second`` of its settings; 0 leaves it quiet."""
    office = Office(seed=seed, start=start, settings=settings)
    if office.settings.calls_per_second > 0:
        Call(office).start(_arrivals(office), delay=min(1.0, 1 / office.settings.calls_per_second))
    return office


def _arrivals(office: Office) -> Steps:
    while True:
        start_some_call(office)
        yield office.rng.expovariate(office.settings.calls_per_second)


def start_some_call(office: Office) -> None:
    """One call of a random kind, if there is a free phone for it."""
    rng = office.rng
    kind = rng.choices(("internal", "queue", "direct", "conference"), (45, 35, 15, 5))[0]
    plan = some_plan(office)
    wanted = {"internal": 2, "conference": rng.randint(2, 4)}.get(kind, 0)
    free = office.free_phones(wanted)
    if len(free) < wanted:
        office.skipped_calls += 1
    elif kind == "internal":
        call_from_phone(office, free[0].number, free[1].number, plan)
    elif kind == "conference":
        room = next((room for room in ROOMS if room not in office.conferences), None)
        if room is None:
            office.skipped_calls += 1
            return
        for index, phone in enumerate(free):
            call_from_phone(office, phone.number, room, some_plan(office), delay=index * rng.uniform(1, 4))
    else:
        queue = rng.choice(list(office.queues.values()))
        # However many people call, few more of them wait in a queue than its members can bear.
        crowded = len(queue.callers) > max(2, len(queue.members) // 2)
        exten = rng.choice(office.numbers) if kind == "direct" or crowded else queue.exten
        number = f"+4930{rng.randrange(1_000_000, 10_000_000)}"
        call_from_trunk(office, (number, rng.choice(CALLERS)), f"5550{exten}", plan)


def some_plan(office: Office) -> Plan:
    """What people happen to do."""
    rng = office.rng
    answer = round(rng.uniform(1.5, 6.0), 3)
    talk = round(rng.uniform(5.0, 40.0), 3)
    end = rng.choice(("caller", "callee"))
    outcome = rng.random()
    if outcome < 0.08:
        return Plan(busy=True)
    if outcome < 0.18:
        return Plan(answer=None)
    if outcome < 0.25:
        return Plan(answer=None, patience=round(rng.uniform(3.0, 15.0), 3))
    hold = (round(talk * 0.3, 3), round(talk * 0.4, 3)) if outcome < 0.35 else None
    return Plan(answer=answer, talk=talk, ended_by=end, hold=hold, missed=int(outcome > 0.93), patience=90.0)


def call_from_phone(office: Office, number: str, exten: str, plan: Plan, *, delay: float = 0.0) -> Call:
    """The user of a phone dials."""
    phone = office.phones[number]
    call = Call(office)
    call.start(_incoming(call, phone.device, (phone.number, phone.name), "office", exten, plan), delay)
    return call


def call_from_trunk(office: Office, caller: tuple[str, str], exten: str, plan: Plan) -> Call:
    """Somebody calls from outside."""
    call = Call(office)
    call.start(_incoming(call, "PJSIP/trunk", caller, "from-trunk", exten, plan))
    return call


def _incoming(
    call: Call, device: str, caller: tuple[str, str], context: str, exten: str, plan: Plan
) -> Steps:
    switch = call.office.switch
    channel = switch.new_channel(device, call, state=State.RING, context=context, exten=exten, caller=caller)
    switch.set_variable(channel, ("SIPDOMAIN", call.office.settings.sip_domain))
    switch.calls_processed += 1
    yield from run_dialplan(call, channel, plan)
