"""What a real Asterisk says is recorded byte for byte, without its secrets, and replayed as it was."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ami_integration.ami import TCP, TLS, Timeouts
from ami_integration.ami.action import Action
from ami_integration.ami.record import Recorder
from ami_integration.ami.recording import Recording, Segment, read_recording
from ami_integration.ami.transports import Transport
from ami_integration.simulator import Account, Replay
from tests.pbx.asterisk import Asterisk
from tests.simulator.fixtures import Simulator
from tests.simulator.raw import RawAMI

pytestmark = pytest.mark.pbx

CALL = {"Channel": "Local/answer@phones", "Application": "Wait", "Data": "0", "Async": "true"}


def recorded(asterisk: Asterisk, transport: Transport, file: Path, *actions: Action) -> list[Segment]:
    username, secret = asterisk.users["admin"]
    with file.open("wb") as opened, Recording(opened, host=str(transport)) as recording:
        recorder = Recorder(transport, recording, timeouts=Timeouts())
        recorder.open(username=username, secret=secret)
        for action in actions:
            recorder.send(action)
        deadline = time.monotonic() + 20
        seen: set[str] = set()
        while "OriginateResponse" not in seen:
            assert time.monotonic() < deadline
            messages = recorder.receive(1)
            assert messages is not None, "it closed"
            seen |= {message.name for message in messages}
        recorder.close()
    with file.open("rb") as opened:
        return list(read_recording(opened))


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_recording_is_whole_holds_no_secret_and_is_replayed_byte_for_byte(
    encrypted: bool, asterisk: Asterisk, make_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    transport: Transport = TCP(asterisk.host, asterisk.port)
    if encrypted:
        transport = TLS(asterisk.host, asterisk.tls_port, ca_file=str(asterisk.ca_file))
    file = tmp_path / "asterisk.recording"
    # GetConfig of manager.conf answers with every account's secret.
    config = Action("GetConfig", {"Filename": "manager.conf"})
    segments = recorded(asterisk, transport, file, config, Action("Originate", CALL))
    received = b"".join(one.data for one in segments if not one.sent)
    assert received.startswith(b"Asterisk Call Manager/")
    assert b"\r\nResponse: Goodbye\r\n" in received
    assert re.search(rb"\r\nLine-\d+-\d+: secret=\*+\r\n", received)
    for _, secret in asterisk.users.values():
        assert secret.encode() not in file.read_bytes()

    # All that came by itself, from after the login on, comes again.
    after = received.partition(b"Authentication accepted\r\n\r\n")[2]
    events = b"".join(
        f"{one}\r\n\r\n".encode()
        for one in after.decode().split("\r\n\r\n")
        if one.startswith("Event: ") and "\r\nPrivilege: " in one
    )
    simulator = make_simulator(accounts=[Account("me", "simulated")], replay=Replay(segments, speed=0))
    with RawAMI(simulator.host, simulator.port) as ami:
        ami.send("Action: Login\r\nUsername: me\r\nSecret: simulated\r\n\r\n")
        seen = ami.read_until(events[-200:]).partition(b"Authentication accepted\r\n\r\n")[2]
        assert seen == events
        answer = ami.action("GetConfig", "Filename: manager.conf")
    assert ("Category-000000", "general") in answer[0]
