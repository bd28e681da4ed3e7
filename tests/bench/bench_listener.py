"""The listener's end of the pipeline: what an event costs it, and what a real Asterisk can send it.

Alone it plays the same recorded stream as `bench_client.py` and writes to nothing: what is left is its own
work. Against a real Asterisk it is the process of `manage.py listen` with the stream behind it, and a
writetimeout of 100 ms, Asterisk's default: whoever doesn't read for so long is cut.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time

from ami_integration.ami import TCP
from ami_integration.events.stream import valkey_client
from ami_integration.events.writer import StreamWriter
from ami_integration.heartbeats import Kind, connection, heartbeats_read
from tests.bench import ROOT, SCALE
from tests.bench.processes import cpu_seconds, resident_mb, waited_seconds
from tests.bench.server import served
from tests.bench.stream import count_events, read_stream, recorded_stream
from tests.pbx.asterisk import Asterisk
from tests.pbx.test_listening import online
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

EVENTS = max(1_000, int(100_000 * SCALE))
REPEAT = 5
SECONDS = max(1.0, 60 * SCALE)
#: Sessions that have the Asterisk send UserEvents; more of them don't make it send more.
ASKING = 4
#: UserEvents that one of them asks for at a time, and how many may be unanswered.
CHUNK = 200
UNANSWERED = 2_000


def bench_the_listener_alone_writing_to_nothing(asterisk22: Asterisk) -> None:
    path = recorded_stream(asterisk22, EVENTS)
    events = count_events(read_stream(path)) * REPEAT
    with served(path, 1, repeat=REPEAT) as pbx:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.listening", str(pbx.port), str(events)],
            cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["events"] + report["dropped"] >= events
    print(
        f"\nthe listener alone, writing to nothing: {report['events'] / report['seconds']:,.0f} events/s of "
        f"CPU time, {report['seconds'] / events * 1_000_000:.1f} ms for 1,000 of {events:,} events"
    )


class Asking(threading.Thread):
    """A session that has an Asterisk send UserEvents as fast as it can; `sent` is how many it says it has."""

    def __init__(self, asterisk: Asterisk, seconds: float) -> None:
        super().__init__()
        self.sent = 0
        self._seconds = seconds
        self._answered = threading.Condition()
        self._socket = socket.create_connection((asterisk.host, asterisk.port))
        username, secret = asterisk.users["admin"]
        login = f"Action: Login\r\nUsername: {username}\r\nSecret: {secret}\r\nEvents: off\r\n\r\n"
        self._login = login.encode()

    def run(self) -> None:
        reading = threading.Thread(target=self._read)
        reading.start()
        one = b"Action: UserEvent\r\nUserEvent: Flood\r\nCustomer: 4711\r\nReason: a test of speed\r\n\r\n"
        self._socket.sendall(self._login)
        until = time.monotonic() + self._seconds
        asked = 0

        def has_room() -> bool:
            return asked - self.sent < UNANSWERED

        while time.monotonic() < until:
            self._socket.sendall(one * CHUNK)
            asked += CHUNK
            with self._answered:
                self._answered.wait_for(has_room, timeout=60)
        self._socket.sendall(b"Action: Logoff\r\n\r\n")
        reading.join()
        self._socket.close()

    def _read(self) -> None:
        rest = b""
        while data := self._socket.recv(1 << 16):
            data = rest + data
            with self._answered:
                self.sent += data.count(b"Message: Event Sent")
                self._answered.notify()
            rest = data[-18:]  # less than the text, so what was counted isn't counted again


def was_cut(stack: Stack) -> bool:
    """Whether Asterisk ended the listener's session: the listener was too slow, or this machine too busy. A
    gap says so then (tests/pbx/test_listening.py).
    """
    return "closed the connection" in stack.log("listener")


def bench_the_most_that_a_real_asterisk_sends(stack: Stack, asterisk22: Asterisk) -> None:
    username, secret = asterisk22.users["slow"]
    server = make_server(TCP(asterisk22.host, asterisk22.port), username=username, secret=secret)
    listener = stack.start("listener", "--no-recorder", env={"AMIWEB_STREAM_MB": "64"})
    assert stack.valkey.process is not None
    costs = {
        "listener": [listener.pid], "Valkey": [stack.valkey.process.pid], "Asterisk": [asterisk22.pid or 0],
    }  # fmt: skip
    online(stack, server)
    before = {name: cpu_seconds(pids) for name, pids in costs.items()}
    asking = [Asking(asterisk22, SECONDS) for _ in range(ASKING)]
    began = time.monotonic()
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    took = time.monotonic() - began
    sent = sum(one.sent for one in asking)
    with valkey_client(stack.valkey.url) as valkey:
        writer = StreamWriter(valkey, maxlen=1)
        wait_until(
            lambda: writer.marks()[server.pk].numbered >= sent or was_cut(stack),
            seconds=120,
            what=lambda: f"all {sent} are numbered: {writer.marks()} {stack.log('listener')}",
            step=0.5,
        )
        taken = time.monotonic()
        used = {name: cpu_seconds(pids) - before[name] for name, pids in costs.items()}
    with connection(stack.valkey.url) as valkey:
        words = wait_until(
            lambda: [
                row.details.words
                for row in heartbeats_read(valkey)
                if row.kind == Kind.LISTENER and row.age < time.monotonic() - taken
            ],
            seconds=30,
            what="the listener says how it is",
        )
    shed = sum(int(number) for one in words for number in re.findall(r"(\d+) events dropped", one))
    end = "WAS CUT, so not all came" if was_cut(stack) else "was not cut, and all came"
    memory, waited = resident_mb(listener.pid), waited_seconds(listener.pid)
    print(
        f"\nAsterisk {asterisk22.version} sent {sent:,} UserEvents in {took:.1f} s ({sent / took:,.0f}/s); "
        f"the listener {end} within {taken - began - took:.1f} s more; {shed:,} were shed and counted; "
        f"it has {memory:.0f} MB and has waited {waited:.1f} s for a core"
    )
    for line in stack.log("listener").splitlines():
        if " WARNING " in line:
            print(f"  it says: {line}")
    for name, cost in used.items():
        print(f"  {name}: {cost / sent * 1_000_000:.1f} ms of CPU for 1,000 events")
