"""
Records what a real Asterisk says in the situations that the simulator plays: ``python -m
tests.simulator.recording.record [--to FOLDER] [scenario ...]``.

Needs root and a provisioned Asterisk (``make pbx``). It starts one with the simulated office's own
dialplan, lets SIP phones call each other, and writes the raw bytes of an AMI session with all classes, one
file for each scenario, to tests/simulator/captures/<version>/. Run it again when the scenarios or Asterisk
change; the tests only read the files.

It differs from tests/pbx/capture.py in its office and its people; Asterisk and recorder are the same.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from tests.pbx.asterisk import Asterisk, free_ports, modules_folder
from tests.pbx.recorder import Recorder, Wire, save
from tests.simulator.recording.exchanges import BEFORE_LOGIN, EXCHANGES, PING, TO_101, WAIT, action
from tests.simulator.recording.sip_phone import Dialog, SipPhone

HERE = Path(__file__).parent
CAPTURES = HERE.parent / "captures"
NUMBERS = ("100", "101", "102", "103", "trunk")


class Listener:
    """A recorder for people who live in an event loop: it waits in a thread of its own."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    @classmethod
    async def log_in(cls, asterisk: Asterisk, events: str = "on") -> "Listener":
        return cls(await asyncio.to_thread(Recorder, asterisk, events=events))

    @property
    def data(self) -> bytes:
        """What has come since `forget`."""
        return self.wire.received

    def forget(self) -> None:
        self.wire.received = b""

    def send(self, text: str) -> None:
        self.wire.send(text.encode())

    async def wait_for(self, pattern: str) -> str:
        """Until this has come, as a regular expression; returns its group, if it has one."""
        found = await asyncio.to_thread(self.wire.wait, pattern)
        return found[found.re.groups].decode()

    async def channel_of(self, number: str) -> str:
        return await self.wait_for(rf"Channel: (PJSIP/{number}-\w{{8}})")

    async def quiet(self, seconds: float = 0.4) -> None:
        """Until nothing has come for a while."""
        await asyncio.to_thread(self.wire.drain, seconds)

    async def answer_to(self, text: str, quiet: float = 0.2) -> bytes:
        """Send, and return what comes until it is quiet."""
        self.forget()
        self.send(text)
        await self.quiet(quiet)
        return self.data

    def close(self) -> None:
        self.wire.close()


class OfficeAsterisk(Asterisk):
    """An Asterisk with the configuration beside this file, and phones at these ports."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports
        super().__init__("sid")

    def _configure(self) -> None:
        self.users = {"admin": ("recorder", "recorder")}
        values = {"RUN": self._inside, "MODULES": modules_folder(self.chroot)}
        values |= {"AMI_PORT": str(self.port), "SIP_PORT": str(self.sip_port)}
        values |= {f"PHONE_{number.upper()}": str(port) for number, port in self._ports.items()}
        self._write_configuration(HERE / "conf", values)
        for name in ("lib", "moh"):
            (self.folder / name).mkdir()
        (self.folder / "moh" / "silence.sln").write_bytes(bytes(8000 * 2 * 60))
        self._hand_over()


class Office:
    """The real office: an Asterisk and its phones."""

    def __init__(self, asterisk: Asterisk, ports: dict[str, int]) -> None:
        self.asterisk = asterisk
        self.phones = {number: SipPhone(number, port, asterisk.sip_port) for number, port in ports.items()}
        self.phones["trunk"].name = "Dana Caller"

    async def start(self) -> None:
        for phone in self.phones.values():
            await phone.start()

    def reset(self) -> None:
        for phone in self.phones.values():
            phone.behaviour, phone.delay = "answer", 0.5
            while not phone.incoming.empty():
                phone.incoming.get_nowait()

    # What people do

    def all_ring(self, *numbers: str) -> None:
        """From now on nobody answers these."""
        for number in numbers:
            self.phones[number].behaviour = "ring"

    async def hang_up(self, caller: str, call: Dialog) -> None:
        """The caller hangs up, and the call has ended."""
        self.phones[caller].hang_up(call)
        await call.ended.wait()

    def leave(self, number: str) -> None:
        """A phone hangs up whatever it is in."""
        for dialog in list(self.phones[number].dialogs.values()):
            self.phones[number].hang_up(dialog)

    async def talk(self, ami: Listener, caller: str, number: str) -> Dialog:
        """A call that has been answered."""
        call = self.phones[caller].call(number)
        await call.answered.wait()
        await ami.quiet()
        return call

    async def call_until(self, ami: Listener, caller: str, number: str, pattern: str) -> Dialog:
        """A call, from which this was heard."""
        call = self.phones[caller].call(number)
        await ami.wait_for(pattern)
        await ami.quiet()
        return call


@contextlib.asynccontextmanager
async def running_office() -> AsyncIterator[Office]:
    """An office that works; at the end all is stopped and cleaned up."""
    ports = dict(zip(NUMBERS, free_ports(len(NUMBERS)), strict=True))
    asterisk = OfficeAsterisk(ports)
    office = Office(asterisk, ports)
    try:
        await office.start()
        await asyncio.to_thread(asterisk.start)
        yield office
        for phone in office.phones.values():
            phone.close()
    finally:
        await asyncio.to_thread(asterisk.close)


Scenario = Callable[[Office, Listener], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(play: Scenario) -> Scenario:
    SCENARIOS[play.__name__.replace("_", "-")] = play
    return play


def hangup(channel: str, *lines: str) -> str:
    return action("Hangup", f"Channel: {channel}", *lines, action_id="h1")


def originate(*lines: str) -> str:
    return action("Originate", *lines, action_id="o1")


@scenario
async def call_callee_hangs_up(office: Office, ami: Listener) -> None:
    call = office.phones["100"].call("101")
    callee = await office.phones["101"].incoming.get()
    await call.answered.wait()
    await ami.quiet()
    office.phones["101"].hang_up(callee)
    await call.ended.wait()


@scenario
async def call_caller_hangs_up(office: Office, ami: Listener) -> None:
    call = await office.talk(ami, "100", "101")
    await office.hang_up("100", call)


@scenario
async def call_busy(office: Office, ami: Listener) -> None:
    office.phones["101"].behaviour = "busy"
    await office.phones["100"].call("101").ended.wait()


@scenario
async def call_unanswered(office: Office, ami: Listener) -> None:
    office.all_ring("101")
    await office.phones["100"].call("101").ended.wait()


@scenario
async def call_cancelled(office: Office, ami: Listener) -> None:
    office.all_ring("101")
    call = office.phones["100"].call("101")
    await office.phones["101"].incoming.get()
    await ami.quiet()
    await office.hang_up("100", call)


@scenario
async def call_held(office: Office, ami: Listener) -> None:
    call = await office.talk(ami, "100", "101")
    for on in (True, False):
        office.phones["100"].hold(call, on=on)
        await ami.quiet()
    await office.hang_up("100", call)


@scenario
async def call_ami_hangup(office: Office, ami: Listener) -> None:
    call = await office.talk(ami, "100", "101")
    ami.send(hangup("/^PJSIP\\/100-.*$/", "Cause: 16"))
    await call.ended.wait()


@scenario
async def call_ami_hangup_without_cause(office: Office, ami: Listener) -> None:
    call = await office.talk(ami, "100", "101")
    ami.send(hangup(await ami.channel_of("101")))
    await call.ended.wait()


@scenario
async def call_ami_hangup_while_ringing(office: Office, ami: Listener) -> None:
    office.all_ring("101")
    call = await office.call_until(ami, "100", "101", "DialStatus: RINGING")
    ami.send(hangup(await ami.channel_of("100"), "Cause: 16"))
    await call.ended.wait()


@scenario
async def call_ami_hangup_of_ringing_phone(office: Office, ami: Listener) -> None:
    office.all_ring("101")
    call = await office.call_until(ami, "100", "101", "DialStatus: RINGING")
    ami.send(hangup(await ami.channel_of("101")))
    await call.ended.wait()


@scenario
async def call_from_outside(office: Office, ami: Listener) -> None:
    call = await office.talk(ami, "trunk", "5550100")
    await office.hang_up("trunk", call)


@scenario
async def queue_answered_caller_hangs_up(office: Office, ami: Listener) -> None:
    office.phones["102"].behaviour = "busy"
    call = await office.call_until(ami, "trunk", "5550600", "Event: AgentConnect")
    await office.hang_up("trunk", call)


@scenario
async def queue_answered_agent_hangs_up(office: Office, ami: Listener) -> None:
    call = await office.call_until(ami, "trunk", "5550600", "Event: AgentConnect")
    office.leave("101")
    office.leave("102")
    await call.ended.wait()


@scenario
async def queue_member_does_not_answer(office: Office, ami: Listener) -> None:
    office.all_ring("101", "102")
    call = office.phones["trunk"].call("5550600")
    await ami.wait_for("Event: AgentRingNoAnswer")
    office.phones["101"].behaviour = office.phones["102"].behaviour = "answer"
    await ami.wait_for("Event: AgentConnect")
    await ami.quiet()
    await office.hang_up("trunk", call)


@scenario
async def queue_ringall(office: Office, ami: Listener) -> None:
    office.all_ring("102")
    call = await office.call_until(ami, "trunk", "5550601", "Event: AgentConnect")
    await office.hang_up("trunk", call)


@scenario
async def queue_ami_hangup_while_waiting(office: Office, ami: Listener) -> None:
    office.all_ring("101", "102")
    call = await office.call_until(ami, "trunk", "5550600", "DialStatus: RINGING")
    ami.send(hangup("/^PJSIP\\/trunk-.*$/"))
    await call.ended.wait()


@scenario
async def queue_abandoned(office: Office, ami: Listener) -> None:
    office.all_ring("101", "102")
    call = await office.call_until(ami, "trunk", "5550600", "Event: AgentCalled")
    await office.hang_up("trunk", call)


@scenario
async def queue_timeout(office: Office, ami: Listener) -> None:
    office.all_ring("101", "102")
    await office.phones["trunk"].call("5550600").ended.wait()


@scenario
async def conference(office: Office, ami: Listener) -> None:
    calls = []
    for number in ("100", "101", "102"):
        calls.append((number, office.phones[number].call("700")))
        await calls[-1][1].answered.wait()
        await ami.quiet(1)  # without sound, Answer() waits half a second for it
    for number, call in calls:
        await office.hang_up(number, call)
        await ami.quiet()


@scenario
async def conference_ami_hangup(office: Office, ami: Listener) -> None:
    call = await office.call_until(ami, "100", "700", "Event: ConfbridgeJoin")
    ami.send(hangup("/^PJSIP\\/100-.*$/"))
    await call.ended.wait()


@scenario
async def originate_to_phone(office: Office, ami: Listener) -> None:
    more = (
        "CallerID: Front Desk <100>",
        "Variable: COLOUR=blue",
        "Variable: SIZE=10",
        "ChannelId: my-own-id",
    )
    ami.send(originate("Channel: PJSIP/100", *TO_101, "Async: true", *more))
    await ami.wait_for("Event: OriginateResponse")
    await ami.wait_for("Event: BridgeEnter")
    await ami.quiet()
    office.leave("100")


@scenario
async def originate_application(office: Office, ami: Listener) -> None:
    ami.send(originate("Channel: PJSIP/100", *WAIT, "Async: true"))
    await ami.wait_for("Event: Hangup")


@scenario
async def originate_busy(office: Office, ami: Listener) -> None:
    office.phones["100"].behaviour = "busy"
    ami.send(originate("Channel: PJSIP/100", *TO_101, "Async: true"))
    await ami.wait_for("Event: OriginateResponse")


@scenario
async def originate_unanswered(office: Office, ami: Listener) -> None:
    office.all_ring("100")
    ami.send(originate("Channel: PJSIP/100", *TO_101, "Async: true", "Timeout: 1000"))
    await ami.wait_for("Event: OriginateResponse")


@scenario
async def originate_unknown_phone(office: Office, ami: Listener) -> None:
    ami.send(originate("Channel: PJSIP/999", *TO_101, "Async: true"))
    await ami.wait_for("Event: OriginateResponse")


@scenario
async def originate_sync(office: Office, ami: Listener) -> None:
    ami.send(originate("Channel: PJSIP/100", *WAIT, "", "Action: Ping", "ActionID: p1"))
    await ami.wait_for("Event: Hangup")


@scenario
async def originate_sync_busy(office: Office, ami: Listener) -> None:
    office.phones["100"].behaviour = "busy"
    ami.send(originate("Channel: PJSIP/100", *WAIT))
    await ami.wait_for("Event: Hangup")
    await ami.wait_for("Originate failed")


@scenario
async def originate_ami_hangup_while_ringing(office: Office, ami: Listener) -> None:
    office.all_ring("100")
    ami.send(originate("Channel: PJSIP/100", *WAIT, "Async: true"))
    await ami.wait_for("DialStatus: RINGING")
    await ami.quiet()
    ami.send(hangup("/^PJSIP\\/100-.*$/"))
    await ami.wait_for("Event: OriginateResponse")


@scenario
async def originate_local(office: Office, ami: Listener) -> None:
    ami.send(originate("Channel: Local/800@office", *WAIT, "Async: true"))
    await ami.wait_for("Event: OriginateResponse")
    await ami.quiet(2)


@scenario
async def originate_local_phone(office: Office, ami: Listener) -> None:
    ami.send(
        originate("Channel: Local/101@office", "Context: office", "Exten: 102", "Priority: 1", "Async: true")
    )
    await ami.wait_for("Event: OriginateResponse")
    await ami.wait_for("Channel: PJSIP/102")
    await ami.quiet(1)
    for number in ("101", "102"):
        office.leave(number)
        await ami.quiet()


@scenario
async def originate_local_nobody_answers(office: Office, ami: Listener) -> None:
    office.all_ring("101")
    ami.send(originate("Channel: Local/101@office", *WAIT, "Async: true", "Timeout: 2000"))
    await ami.wait_for("Event: OriginateResponse")


@scenario
async def originate_local_busy(office: Office, ami: Listener) -> None:
    office.phones["101"].behaviour = "busy"
    ami.send(originate("Channel: Local/101@office", *WAIT, "Async: true"))
    await ami.wait_for("Event: OriginateResponse")


def pause(name: str) -> float:
    """How long Asterisk may be silent before its answer is whole: a refused login takes it a second."""
    return 1.4 if name.startswith("login") or name == "originate-errors" else 0.25


async def record_exchanges(office: Office, folder: Path) -> None:
    for name, text in EXCHANGES.items():
        ami = await Listener.log_in(office.asterisk, events="off")
        save(folder / f"{name}.ami", await ami.answer_to(text + PING, pause(name)))
        ami.close()
    for name, text in BEFORE_LOGIN.items():
        ami = Listener(await asyncio.to_thread(Wire, office.asterisk))
        ami.send(text)
        await ami.quiet(pause(name))
        save(folder / f"{name}.ami", ami.data)
        ami.close()

    ami = await Listener.log_in(office.asterisk)
    call = await office.call_until(ami, "trunk", "5550600", "Event: BridgeEnter")
    ami.send("Action: Events\r\nEventMask: off\r\n\r\n")
    await ami.quiet()
    in_a_call = {
        "core-show-channels": EXCHANGES["core-show-channels-none"],
        **{name: EXCHANGES[name] for name in ("core-status", "queue-status", "command-core-show-channels")},
    }
    for name, text in in_a_call.items():
        save(folder / f"{name}-in-a-call.ami", await ami.answer_to(text))
    office.phones["trunk"].hang_up(call)
    office.all_ring("101", "102")
    call = office.phones["trunk"].call("5550600")
    await ami.quiet(1.5)
    save(folder / "queue-status-with-a-caller.ami", await ami.answer_to(EXCHANGES["queue-status"]))
    office.phones["trunk"].hang_up(call)
    await ami.quiet(0.5)
    ami.close()


async def warm_up(office: Office) -> None:
    """Let every phone ring once: a queue tells of its device at first sight, and then of changes."""
    ami = await Listener.log_in(office.asterisk)
    for number in ("100", "101", "102", "103"):
        office.all_ring(number)
        caller, exten = ("trunk", "5550100") if number == "100" else ("100", number)
        call = office.phones[caller].call(exten)
        await office.phones[number].incoming.get()
        await office.hang_up(caller, call)
    await ami.quiet()
    ami.close()


async def record(names: list[str], to: Path) -> None:
    async with running_office() as office:
        folder = to / office.asterisk.version
        if not names or "exchanges" in names:
            await record_exchanges(office, folder / "exchanges")
        await warm_up(office)
        for name in [name for name in names if name != "exchanges"] if names else SCENARIOS:
            office.reset()
            ami = await Listener.log_in(office.asterisk)
            await ami.quiet(0.2)
            ami.forget()
            try:
                await asyncio.wait_for(SCENARIOS[name](office, ami), 40)
            except TimeoutError as error:
                print(f"{name}: not finished: {error}")
            await ami.quiet(0.8)
            save(folder / f"{name}.ami", ami.data)
            ami.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator.recording.record")
    parser.add_argument("--to", type=Path, default=CAPTURES, metavar="FOLDER", help="instead of %(default)s")
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help='or "exchanges"; all by default')
    options = parser.parse_args(arguments)
    asyncio.run(record(options.scenarios, options.to))
    return 0


if __name__ == "__main__":
    sys.exit(main())
