"""
Records what a real Asterisk says in the situations that the simulator plays: ``python -m
tests.simulator.recording.record``.

Needs root and a provisioned Asterisk (``make pbx``). It starts one with the simulated office's own
dialplan, lets SIP phones call each other, and writes the raw bytes of an AMI session with all classes, one
file for each scenario, to tests/simulator/captures/<version>/. Run it again when the scenarios or Asterisk
change; the tests only read the files.
"""
# ruff: noqa: ASYNC110, ASYNC221, ASYNC240 - a script with one task: nothing else waits

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from tests.pbx import provision
from tests.simulator.recording.exchanges import BEFORE_LOGIN, EXCHANGES, PING, WAIT, action
from tests.simulator.recording.sip_phone import SipPhone

HERE = Path(__file__).parent
CAPTURES = HERE.parent / "captures"


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Recorder:
    """An AMI session that keeps every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.data = b""
        self._last = time.monotonic()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, port: int, *, login: bool = True, mask: str = "on") -> "Recorder":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        recorder = cls(reader, writer)
        if login:
            recorder.send(
                f"Action: Login\r\nUsername: recorder\r\nSecret: recorder\r\nEvents: {mask}\r\n\r\n"
            )
            await recorder.wait_for(b"Fully Booted" if mask == "on" else b"accepted")
        return recorder

    async def _read(self) -> None:
        while data := await self.reader.read(65536):
            self.data += data
            self._last = time.monotonic()

    def send(self, text: str) -> None:
        self.writer.write(text.encode())

    async def wait_for(self, what: bytes, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while what not in self.data:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{what!r} did not come; got\n{self.data.decode(errors='replace')[-3000:]}"
                )
            await asyncio.sleep(0.02)

    async def quiet(self, seconds: float = 0.4) -> None:
        """Until nothing has come for a while."""
        self._last = time.monotonic()
        while time.monotonic() - self._last < seconds:
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        self.writer.close()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


class Office:
    """The real office: an Asterisk and its phones."""

    def __init__(self, ami_port: int, sip_port: int, ports: dict[str, int]) -> None:
        self.ami_port = ami_port
        self.phones = {number: SipPhone(number, port, sip_port) for number, port in ports.items()}
        self.phones["trunk"].name = "Dana Caller"

    async def start(self) -> None:
        for phone in self.phones.values():
            await phone.start()

    def reset(self) -> None:
        for phone in self.phones.values():
            phone.behaviour, phone.delay = "answer", 0.5
            while not phone.incoming.empty():
                phone.incoming.get_nowait()


@contextlib.asynccontextmanager
async def running_office(chroot: Path) -> AsyncIterator[Office]:
    """Start a chroot's Asterisk with the configuration beside this file; at the end stop it and clean up."""
    run = Path(tempfile.mkdtemp(prefix="amiweb-recording-", dir=chroot / "tmp"))
    inside = "/" + str(run.relative_to(chroot))
    modules = next(chroot.glob("usr/lib/*/asterisk/modules"))
    numbers = ("100", "101", "102", "103", "trunk")
    ports = {number: free_port(socket.SOCK_DGRAM) for number in numbers}
    ami_port, sip_port = free_port(), free_port(socket.SOCK_DGRAM)
    words = {
        "@RUN@": inside,
        "@MODULES@": "/" + str(modules.relative_to(chroot)),
        "@AMI_PORT@": str(ami_port),
    }
    words |= {"@SIP_PORT@": str(sip_port)} | {
        f"@PHONE_{number.upper()}@": str(port) for number, port in ports.items()
    }
    for folder in ("etc", "lib", "spool", "run", "log", "cache", "moh"):
        (run / folder).mkdir()
    for source in (HERE / "conf").glob("*.conf"):
        text = source.read_text()
        for word, value in words.items():
            text = text.replace(word, value)
        (run / "etc" / source.name).write_text(text)
    (run / "moh" / "silence.sln").write_bytes(bytes(8000 * 2 * 60))
    subprocess.run(["chroot", str(chroot), "chown", "-R", "asterisk:asterisk", inside], check=True)
    run.chmod(0o755)
    command = [
        "chroot",
        str(chroot),
        "asterisk",
        "-f",
        "-U",
        "asterisk",
        "-G",
        "asterisk",
        "-C",
        f"{inside}/etc/asterisk.conf",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        office = Office(ami_port, sip_port, ports)
        await office.start()
        for _ in range(200):
            with contextlib.suppress(OSError, TimeoutError):
                probe = await Recorder.connect(ami_port)
                await probe.close()
                break
            await asyncio.sleep(0.1)
        else:
            raise RuntimeError(f"Asterisk did not come up (configuration: {HERE / 'conf'})")
        yield office
        for phone in office.phones.values():
            phone.close()
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(run)


Scenario = Callable[[Office, Recorder], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(play: Scenario) -> Scenario:
    SCENARIOS[play.__name__.replace("_", "-")] = play
    return play


@scenario
async def call_callee_hangs_up(office: Office, ami: Recorder) -> None:
    call = office.phones["100"].call("101")
    callee = await office.phones["101"].incoming.get()
    await call.answered.wait()
    await ami.quiet()
    office.phones["101"].hang_up(callee)
    await call.ended.wait()


@scenario
async def call_caller_hangs_up(office: Office, ami: Recorder) -> None:
    call = office.phones["100"].call("101")
    await call.answered.wait()
    await ami.quiet()
    office.phones["100"].hang_up(call)
    await call.ended.wait()


@scenario
async def call_busy(office: Office, ami: Recorder) -> None:
    office.phones["101"].behaviour = "busy"
    await office.phones["100"].call("101").ended.wait()


@scenario
async def call_unanswered(office: Office, ami: Recorder) -> None:
    office.phones["101"].behaviour = "ring"
    await office.phones["100"].call("101").ended.wait()


@scenario
async def call_cancelled(office: Office, ami: Recorder) -> None:
    office.phones["101"].behaviour = "ring"
    call = office.phones["100"].call("101")
    await office.phones["101"].incoming.get()
    await ami.quiet()
    office.phones["100"].hang_up(call)
    await call.ended.wait()


@scenario
async def call_held(office: Office, ami: Recorder) -> None:
    call = office.phones["100"].call("101")
    await call.answered.wait()
    await ami.quiet()
    office.phones["100"].hold(call, on=True)
    await ami.quiet()
    office.phones["100"].hold(call, on=False)
    await ami.quiet()
    office.phones["100"].hang_up(call)
    await call.ended.wait()


@scenario
async def call_ami_hangup(office: Office, ami: Recorder) -> None:
    call = office.phones["100"].call("101")
    await call.answered.wait()
    await ami.quiet()
    ami.send(action("Hangup", "Channel: /^PJSIP\\/100-.*$/", "Cause: 16", action_id="h1"))
    await call.ended.wait()


@scenario
async def call_ami_hangup_without_cause(office: Office, ami: Recorder) -> None:
    call = office.phones["100"].call("101")
    await call.answered.wait()
    await ami.quiet()
    channel = ami.data.partition(b"Channel: PJSIP/101-")[2][:8].decode()
    ami.send(action("Hangup", f"Channel: PJSIP/101-{channel}", action_id="h1"))
    await call.ended.wait()


@scenario
async def call_ami_hangup_while_ringing(office: Office, ami: Recorder) -> None:
    office.phones["101"].behaviour = "ring"
    call = office.phones["100"].call("101")
    await ami.wait_for(b"DialStatus: RINGING")
    await ami.quiet()
    channel = ami.data.partition(b"Channel: PJSIP/100-")[2][:8].decode()
    ami.send(action("Hangup", f"Channel: PJSIP/100-{channel}", "Cause: 16", action_id="h1"))
    await call.ended.wait()


@scenario
async def queue_answered_caller_hangs_up(office: Office, ami: Recorder) -> None:
    office.phones["102"].behaviour = "busy"
    call = office.phones["trunk"].call("5550600")
    await ami.wait_for(b"Event: AgentConnect")
    await ami.quiet()
    office.phones["trunk"].hang_up(call)
    await call.ended.wait()


@scenario
async def queue_answered_agent_hangs_up(office: Office, ami: Recorder) -> None:
    call = office.phones["trunk"].call("5550600")
    await ami.wait_for(b"Event: AgentConnect")
    await ami.quiet()
    for number in ("101", "102"):
        for dialog in list(office.phones[number].dialogs.values()):
            office.phones[number].hang_up(dialog)
    await call.ended.wait()


@scenario
async def queue_member_does_not_answer(office: Office, ami: Recorder) -> None:
    office.phones["101"].behaviour = office.phones["102"].behaviour = "ring"
    call = office.phones["trunk"].call("5550600")
    await ami.wait_for(b"Event: AgentRingNoAnswer")
    office.phones["101"].behaviour = office.phones["102"].behaviour = "answer"
    await ami.wait_for(b"Event: AgentConnect")
    await ami.quiet()
    office.phones["trunk"].hang_up(call)
    await call.ended.wait()


@scenario
async def queue_ringall(office: Office, ami: Recorder) -> None:
    office.phones["102"].behaviour = "ring"
    call = office.phones["trunk"].call("5550601")
    await ami.wait_for(b"Event: AgentConnect")
    await ami.quiet()
    office.phones["trunk"].hang_up(call)
    await call.ended.wait()


@scenario
async def call_from_outside(office: Office, ami: Recorder) -> None:
    call = office.phones["trunk"].call("5550100")
    await call.answered.wait()
    await ami.quiet()
    office.phones["trunk"].hang_up(call)
    await call.ended.wait()


@scenario
async def call_ami_hangup_of_ringing_phone(office: Office, ami: Recorder) -> None:
    office.phones["101"].behaviour = "ring"
    call = office.phones["100"].call("101")
    await ami.wait_for(b"DialStatus: RINGING")
    await ami.quiet()
    channel = ami.data.partition(b"Channel: PJSIP/101-")[2][:8].decode()
    ami.send(action("Hangup", f"Channel: PJSIP/101-{channel}", action_id="h1"))
    await call.ended.wait()


@scenario
async def conference_ami_hangup(office: Office, ami: Recorder) -> None:
    call = office.phones["100"].call("700")
    await ami.wait_for(b"Event: ConfbridgeJoin")
    await ami.quiet()
    ami.send(action("Hangup", "Channel: /^PJSIP\\/100-.*$/", action_id="h1"))
    await call.ended.wait()


@scenario
async def queue_ami_hangup_while_waiting(office: Office, ami: Recorder) -> None:
    office.phones["101"].behaviour = office.phones["102"].behaviour = "ring"
    call = office.phones["trunk"].call("5550600")
    await ami.wait_for(b"DialStatus: RINGING")
    await ami.quiet()
    ami.send(action("Hangup", "Channel: /^PJSIP\\/trunk-.*$/", action_id="h1"))
    await call.ended.wait()


@scenario
async def originate_local_nobody_answers(office: Office, ami: Recorder) -> None:
    office.phones["101"].behaviour = "ring"
    ami.send(
        action(
            "Originate", "Channel: Local/101@office", *WAIT, "Async: true", "Timeout: 2000", action_id="o1"
        )
    )
    await ami.wait_for(b"Event: OriginateResponse")


@scenario
async def originate_local_busy(office: Office, ami: Recorder) -> None:
    office.phones["101"].behaviour = "busy"
    ami.send(action("Originate", "Channel: Local/101@office", *WAIT, "Async: true", action_id="o1"))
    await ami.wait_for(b"Event: OriginateResponse")


@scenario
async def originate_ami_hangup_while_ringing(office: Office, ami: Recorder) -> None:
    office.phones["100"].behaviour = "ring"
    ami.send(action("Originate", "Channel: PJSIP/100", *WAIT, "Async: true", action_id="o1"))
    await ami.wait_for(b"DialStatus: RINGING")
    await ami.quiet()
    ami.send(action("Hangup", "Channel: /^PJSIP\\/100-.*$/", action_id="h1"))
    await ami.wait_for(b"Event: OriginateResponse")


@scenario
async def queue_abandoned(office: Office, ami: Recorder) -> None:
    office.phones["101"].behaviour = office.phones["102"].behaviour = "ring"
    call = office.phones["trunk"].call("5550600")
    await ami.wait_for(b"Event: AgentCalled")
    await ami.quiet()
    office.phones["trunk"].hang_up(call)
    await call.ended.wait()


@scenario
async def queue_timeout(office: Office, ami: Recorder) -> None:
    office.phones["101"].behaviour = office.phones["102"].behaviour = "ring"
    await office.phones["trunk"].call("5550600").ended.wait()


@scenario
async def conference(office: Office, ami: Recorder) -> None:
    calls = []
    for number in ("100", "101", "102"):
        calls.append((number, office.phones[number].call("700")))
        await calls[-1][1].answered.wait()
        await ami.quiet(1)  # without sound, Answer() waits half a second for it
    for number, call in calls:
        office.phones[number].hang_up(call)
        await call.ended.wait()
        await ami.quiet()


@scenario
async def originate_to_phone(office: Office, ami: Recorder) -> None:
    ami.send(
        action(
            "Originate",
            "Channel: PJSIP/100",
            "Context: office",
            "Exten: 101",
            "Priority: 1",
            "Async: true",
            "CallerID: Front Desk <100>",
            "Variable: COLOUR=blue",
            "Variable: SIZE=10",
            "ChannelId: my-own-id",
            action_id="o1",
        )
    )
    await ami.wait_for(b"Event: OriginateResponse")
    await ami.wait_for(b"Event: BridgeEnter")
    await ami.quiet()
    for dialog in list(office.phones["100"].dialogs.values()):
        office.phones["100"].hang_up(dialog)


@scenario
async def originate_application(office: Office, ami: Recorder) -> None:
    ami.send(action("Originate", "Channel: PJSIP/100", *WAIT, "Async: true", action_id="o1"))
    await ami.wait_for(b"Event: Hangup")


@scenario
async def originate_busy(office: Office, ami: Recorder) -> None:
    office.phones["100"].behaviour = "busy"
    ami.send(
        action(
            "Originate",
            "Channel: PJSIP/100",
            "Context: office",
            "Exten: 101",
            "Priority: 1",
            "Async: true",
            action_id="o1",
        )
    )
    await ami.wait_for(b"Event: OriginateResponse")


@scenario
async def originate_unanswered(office: Office, ami: Recorder) -> None:
    office.phones["100"].behaviour = "ring"
    ami.send(
        action(
            "Originate",
            "Channel: PJSIP/100",
            "Context: office",
            "Exten: 101",
            "Priority: 1",
            "Async: true",
            "Timeout: 1000",
            action_id="o1",
        )
    )
    await ami.wait_for(b"Event: OriginateResponse")


@scenario
async def originate_unknown_phone(office: Office, ami: Recorder) -> None:
    ami.send(
        action(
            "Originate",
            "Channel: PJSIP/999",
            "Context: office",
            "Exten: 101",
            "Priority: 1",
            "Async: true",
            action_id="o1",
        )
    )
    await ami.wait_for(b"Event: OriginateResponse")


@scenario
async def originate_sync(office: Office, ami: Recorder) -> None:
    ami.send(
        action("Originate", "Channel: PJSIP/100", *WAIT, "", "Action: Ping", "ActionID: p1", action_id="o1")
    )
    await ami.wait_for(b"Event: Hangup")


@scenario
async def originate_sync_busy(office: Office, ami: Recorder) -> None:
    office.phones["100"].behaviour = "busy"
    ami.send(action("Originate", "Channel: PJSIP/100", *WAIT, action_id="o1"))
    await ami.wait_for(b"Event: Hangup")
    await ami.wait_for(b"Originate failed")


@scenario
async def originate_local(office: Office, ami: Recorder) -> None:
    ami.send(action("Originate", "Channel: Local/800@office", *WAIT, "Async: true", action_id="o1"))
    await ami.wait_for(b"Event: OriginateResponse")
    await ami.quiet(2)


@scenario
async def originate_local_phone(office: Office, ami: Recorder) -> None:
    ami.send(
        action(
            "Originate",
            "Channel: Local/101@office",
            "Context: office",
            "Exten: 102",
            "Priority: 1",
            "Async: true",
            action_id="o1",
        )
    )
    await ami.wait_for(b"Event: OriginateResponse")
    await ami.wait_for(b"Channel: PJSIP/102")
    await ami.quiet(1)
    for number in ("101", "102"):
        for dialog in list(office.phones[number].dialogs.values()):
            office.phones[number].hang_up(dialog)
        await ami.quiet()


async def record_exchanges(office: Office, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in [*EXCHANGES.items(), *BEFORE_LOGIN.items()]:
        ami = await Recorder.connect(office.ami_port, login=name in EXCHANGES, mask="off")
        if name in EXCHANGES:
            ami.data = b""
        ami.send(text + (PING if name in EXCHANGES else ""))
        await ami.quiet(1.4 if name.startswith("login") or name == "originate-errors" else 0.25)
        (folder / f"{name}.ami").write_bytes(ami.data)
        await ami.close()
    call = office.phones["trunk"].call("5550600")
    ami = await Recorder.connect(office.ami_port)
    await ami.wait_for(b"Event: BridgeEnter")
    ami.send("Action: Events\r\nEventMask: off\r\n\r\n")
    await ami.quiet()
    for name in ("core-show-channels", "core-status", "queue-status"):
        ami.data = b""
        ami.send(EXCHANGES.get(name, EXCHANGES["core-show-channels-none"]))
        await ami.quiet(0.2)
        (folder / f"{name}-in-a-call.ami").write_bytes(ami.data)
    ami.data = b""
    ami.send(EXCHANGES["command-core-show-channels"])
    await ami.quiet(0.2)
    (folder / "command-core-show-channels-in-a-call.ami").write_bytes(ami.data)
    office.phones["trunk"].hang_up(call)
    office.phones["101"].behaviour = office.phones["102"].behaviour = "ring"
    call = office.phones["trunk"].call("5550600")
    await ami.quiet(1.5)
    ami.data = b""
    ami.send(EXCHANGES["queue-status"])
    await ami.quiet(0.2)
    (folder / "queue-status-with-a-caller.ami").write_bytes(ami.data)
    office.phones["trunk"].hang_up(call)
    await ami.quiet(0.5)
    await ami.close()


async def warm_up(office: Office) -> None:
    """Let every phone ring once: a queue tells of its device at first sight, and then of changes."""
    ami = await Recorder.connect(office.ami_port)
    for number in ("100", "101", "102", "103"):
        office.phones[number].behaviour = "ring"
        caller, exten = ("trunk", "5550100") if number == "100" else ("100", number)
        call = office.phones[caller].call(exten)
        await office.phones[number].incoming.get()
        office.phones[caller].hang_up(call)
        await call.ended.wait()
    await ami.quiet()
    await ami.close()


async def record(finished: provision.Finished, names: list[str]) -> None:
    folder = CAPTURES / finished.version
    folder.mkdir(parents=True, exist_ok=True)
    async with running_office(finished.chroot) as office:
        if not names or "exchanges" in names:
            await record_exchanges(office, folder / "exchanges")
        await warm_up(office)
        for name in [name for name in names if name != "exchanges"] if names else SCENARIOS:
            office.reset()
            ami = await Recorder.connect(office.ami_port)
            await ami.quiet(0.2)
            ami.data = b""
            try:
                await asyncio.wait_for(SCENARIOS[name](office, ami), 40)
            except TimeoutError as error:
                print(f"{name}: not finished: {error}")
            await ami.quiet(0.8)
            (folder / f"{name}.ami").write_bytes(ami.data)
            print(f"{name}: {ami.data.count(b'Event: ')} events, {len(ami.data)} bytes", flush=True)
            await ami.close()


def main() -> int:
    finished = provision.read_finished("sid")
    if finished is None:
        print("no provisioned Asterisk: run make pbx first", file=sys.stderr)
        return 1
    names = sys.argv[1:]
    with provision.suite_lock("sid", shared=True):
        asyncio.run(record(finished, names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
