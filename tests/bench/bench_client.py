"""The AMI client beside what it is measured against, in one run each: `make bench-client`.

Events: every reader is a process of its own (tests/bench/readers.py) that reads the same served stream; its
CPU seconds count. The reference is the simplest correct Python: recv, one split on CRLFCRLF, one dict with
lists for repeated headers. The rest is measured beside raw socket loops that do the same as the client and
nothing else; their code stands here. Client and reference take turns in short rounds, so that what else the
machine does meets both, and what is told is the median of the rounds' ratios. Only ratios are worth quoting:
machines differ, and are shared.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from ami_integration.ami import TCP, AMIClient, AsyncAMIClient
from tests.bench import ROOT, SCALE, packaged
from tests.bench.server import served
from tests.bench.stream import count_events, read_stream, recorded_stream
from tests.pbx.asterisk import Asterisk

EVENTS = max(1_000, int(100_000 * SCALE))
ROUNDS = 5 if SCALE >= 0.1 else 2
#: The most memory (bytes) that a reader may ever have.
MOST_MEMORY = 40_000_000
#: A process that is stuck is ended after so many seconds.
STUCK = 900

OURS = {
    "protocol": "next_message(), name and one header",
    "protocol_all_headers": "next_message(), all headers",
    "blocking": "AMIClient.events(), name and one header",
    "blocking_batches": "AMIClient.subscribe().batches()",
    "callback": "callback subscription",
    "iterator": "asyncio iterator",
}


class Stream(NamedTuple):
    path: Path
    events: int
    headers: int


@pytest.fixture(scope="module")
def stream(asterisk22: Asterisk) -> Stream:
    path = recorded_stream(asterisk22, EVENTS)
    data = read_stream(path)
    events = count_events(data)
    headers = data.count(b"\r\n") - events
    print(
        f"\nstream: {path.name}, {events:,} events, {len(data):,} bytes: {len(data) / events:.0f} bytes and "
        f"{headers / events - 1:.1f} headers behind the name, on average"
    )
    return Stream(path, events, headers)


def read(name: str, port: int, *options: str, python: str = sys.executable) -> dict[str, float]:
    """Run a reader in a process of its own; returns its report."""
    done = subprocess.run(
        [python, "-m", "tests.bench.readers", name, str(port), *options],
        cwd=ROOT, capture_output=True, text=True, timeout=STUCK, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{name}: {done.stderr}"
    report: dict[str, float] = json.loads(done.stdout)
    return report


def bench_events_beside_the_simplest_correct_python(stream: Stream) -> None:
    names = ["simplest", *OURS]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with served(stream.path, len(names) * ROUNDS) as pbx:
        for _ in range(ROUNDS):
            for name in names:
                report = read(name, pbx.port)
                assert report["events"] == stream.events, name
                seconds[name].append(report["seconds"])
    print(f"simplest correct Python: {stream.events / median(seconds['simplest']):,.0f} events/s of CPU time")
    for name, title in OURS.items():
        speed = stream.events / median(seconds[name])
        print(
            f"{title}: {speed:,.0f} events/s, {ratio(seconds['simplest'], seconds[name]):.2f} x the reference"
        )


def bench_events_beside_the_packaged_clients(stream: Stream) -> None:
    python = packaged.make()
    names = [*packaged.CLIENTS, "blocking", "callback"]
    pythons = dict.fromkeys(packaged.CLIENTS, python)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    lost: dict[str, str] = {}
    with served(stream.path, len(names) * (ROUNDS + 1)) as pbx:
        for name in names:
            report = read(name, pbx.port, "check", python=pythons.get(name, sys.executable))
            lost[name] = (
                f"{stream.events - report['events']:,.0f} events and "
                f"{stream.headers - report['headers']:,.0f} of {stream.headers:,} headers lost"
            )
            if name not in packaged.CLIENTS:
                assert (report["events"], report["headers"]) == (stream.events, stream.headers), name
        for _ in range(ROUNDS):
            for name in names:
                report = read(name, pbx.port, python=pythons.get(name, sys.executable))
                assert report["events"] > 0.5 * stream.events, f"{name} read {report['events']} events"
                seconds[name].append(report["seconds"])
    print()
    for name, package in packaged.CLIENTS.items():
        print(f"{package}: {stream.events / median(seconds[name]):,.0f} events/s, {lost[name]}")
    fastest = min(packaged.CLIENTS, key=lambda name: median(seconds[name]))
    for name in ("blocking", "callback"):
        speed = stream.events / median(seconds[name])
        times = ratio(seconds[fastest], seconds[name])
        print(f"{OURS[name]}: {speed:,.0f} events/s, {lost[name]}: {times:.2f} x {packaged.CLIENTS[fastest]}")


def bench_memory_of_a_long_stream(stream: Stream) -> None:
    repeat = max(2, int(100 * SCALE))
    print()
    for name in ("blocking", "blocking_batches", "callback", "iterator"):
        peaks = {}
        for times in (1, repeat):
            with served(stream.path, 1, repeat=times) as pbx:
                report = read(name, pbx.port)
            assert report["events"] == stream.events * times
            peaks[times] = report["peak"]
        print(
            f"{OURS[name]}: a process of {peaks[1] / 1e6:.1f} MB at most for {stream.events:,} events, "
            f"{peaks[repeat] / 1e6:.1f} MB for {stream.events * repeat:,}"
        )
        assert peaks[repeat] < MOST_MEMORY, name


# -- beside raw sockets, on a real Asterisk


def log_in(pbx: TCP, username: str, secret: str) -> socket.socket:
    """A raw blocking socket, logged in, events off."""
    sock = socket.create_connection((pbx.host, pbx.port))
    # The kernel's time limit: with Python's own, each call would ask the kernel twice.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 30, 0))
    while sock.recv(1) != b"\n":
        pass
    lines = ("Action: Login", f"Username: {username}", f"Secret: {secret}", "Events: off", "", "")
    sock.sendall("\r\n".join(lines).encode())
    seen = b""
    while not seen.endswith(b"\r\n\r\n"):
        seen += sock.recv(4096)
    assert b"Authentication accepted" in seen
    return sock


def account(asterisk: Asterisk) -> tuple[TCP, str, str]:
    return TCP(asterisk.host, asterisk.port), *asterisk.users["admin"]


def ratio(reference: list[float], ours: list[float]) -> float:
    """The median of the rounds' ratios."""
    return median(one / other for one, other in zip(reference, ours, strict=True))


def compare(title: str, rounds: int, each: int, raw: Callable[[], None], ours: Callable[[], None]) -> None:
    """Take turns, and print how many there were per second, and how the two compare."""
    seconds: dict[Callable[[], None], list[float]] = {raw: [], ours: []}
    for number in range(rounds + 1):
        for one in (raw, ours) if number % 2 else (ours, raw):
            began = time.perf_counter()
            one()
            took = time.perf_counter() - began
            if number:  # the first round warms up
                seconds[one].append(took)
    share = ratio(seconds[raw], seconds[ours])
    print(
        f"\n{title}: {each / median(seconds[ours]):,.0f}/s, {share:.2f} x the raw socket loop's speed, "
        f"{1 / share:.2f} x its time ({each / median(seconds[raw]):,.0f}/s)"
    )


def bench_ping_one_at_a_time(asterisk22: Asterisk) -> None:
    pbx, username, secret = account(asterisk22)
    each = max(10, int(250 * SCALE))
    with log_in(pbx, username, secret) as sock, AMIClient(pbx, username=username, secret=secret) as client:

        def raw() -> None:
            for number in range(each):
                sock.sendall(b"Action: Ping\r\nActionID: %d\r\n\r\n" % number)
                answer = b""
                while not answer.endswith(b"\r\n\r\n"):
                    answer += sock.recv(4096)
                assert b"Pong" in answer

        def ours() -> None:
            for _ in range(each):
                assert client.action("Ping").success

        compare("Ping one at a time", 40 if SCALE >= 0.1 else 2, each, raw, ours)


def bench_ping_with_64_in_flight(asterisk22: Asterisk) -> None:
    pbx, username, secret = account(asterisk22)
    each = max(128, int(4_000 * SCALE))
    with log_in(pbx, username, secret) as sock, asyncio.Runner() as runner:
        client = AsyncAMIClient(pbx, username=username, secret=secret)
        runner.run(client.connect())

        def raw() -> None:
            sent = answered = 0
            while answered < each:
                if room := min(64 - (sent - answered), each - sent):
                    pings = (b"Action: Ping\r\nActionID: %d\r\n\r\n" % (sent + n) for n in range(room))
                    sock.sendall(b"".join(pings))
                    sent += room
                # An answer may be cut in two anywhere, so count a byte that each has once: of "Timestamp".
                answered += sock.recv(65536).count(b"T")

        async def pings() -> None:
            left = iter(range(each))

            async def ping() -> None:
                for _ in left:
                    assert (await client.action("Ping")).success

            await asyncio.gather(*(ping() for _ in range(64)))

        compare("Ping with 64 in flight", 10 if SCALE >= 0.1 else 2, each, raw, lambda: runner.run(pings()))
        runner.run(client.close())


def bench_a_list_of_2000_endpoints(asterisk22: Asterisk) -> None:
    pbx, username, secret = account(asterisk22)
    counts = set()
    with log_in(pbx, username, secret) as sock, AMIClient(pbx, username=username, secret=secret) as client:

        def raw() -> None:
            sock.sendall(b"Action: PJSIPShowEndpoints\r\nActionID: raw\r\n\r\n")
            answer = bytearray()
            while not (answer.endswith(b"\r\n\r\n") and b"EndpointListComplete" in answer[-200:]):
                answer += sock.recv(65536)
            counts.add(answer.count(b"Event: EndpointList\r\n"))

        def ours() -> None:
            counts.add(len(client.action("PJSIPShowEndpoints").events))

        compare("lists of 2,000 endpoints", 30 if SCALE >= 0.1 else 2, 1, raw, ours)
    assert counts == {2000}


def bench_logins(asterisk22: Asterisk) -> None:
    pbx, username, secret = account(asterisk22)
    # So many that Asterisk's clearing up after one round, which the next one meets, hardly counts.
    each = max(3, int(100 * SCALE))
    login = f"Action: Login\r\nUsername: {username}\r\nSecret: {secret}\r\nEvents: off\r\n\r\n".encode()

    def raw() -> None:
        for _ in range(each):
            with socket.create_connection((pbx.host, pbx.port)) as sock:
                seen = b""
                while b"\r\n" not in seen:
                    seen += sock.recv(4096)
                for action in (login, b"Action: Ping\r\n\r\n"):
                    sock.sendall(action)
                    answer = b""
                    while not answer.endswith(b"\r\n\r\n"):
                        answer += sock.recv(4096)
                # As the client does, it doesn't wait for the goodbye.
                sock.sendall(b"Action: Logoff\r\n\r\n")

    def ours() -> None:
        for _ in range(each):
            with AMIClient(pbx, username=username, secret=secret) as client:
                assert client.action("Ping").success

    compare("connect, MD5 login, Ping, logoff", 10 if SCALE >= 0.1 else 2, each, raw, ours)


def bench_memory_of_idle_sessions(asterisk22: Asterisk) -> None:
    pbx, username, secret = account(asterisk22)
    count = max(20, int(1_000 * SCALE))
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.sessions", str(pbx.port), username, str(count)],
        cwd=ROOT, env={**os.environ, "AMI_SECRET": secret}, capture_output=True, text=True, timeout=STUCK,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(f"\n{count:,} idle sessions add {int(done.stdout) / 2**20:.1f} MiB")
