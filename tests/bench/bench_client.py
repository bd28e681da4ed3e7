"""The AMI client beside what it is measured against, in one run each: `make bench-client`.

The reference for events is the simplest correct Python: recv, one split on the blank line, one dict with
lists for repeated headers. The others are raw socket loops that do the same as the client and nothing else;
their code stands here. Only ratios are worth quoting: machines differ, and are shared.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ami_integration.ami import NEED_DATA, TCP, AMIClient, AsyncAMIClient, Protocol
from ami_integration.ami.transports import connect, resolve
from tests.bench import SCALE
from tests.bench.stream import BANNER, count_events, recorded_stream, served
from tests.pbx.asterisk import Asterisk

ROUNDS = 3
EVENTS = max(1_000, int(100_000 * SCALE))
HEADER = "Channel"


@pytest.fixture(scope="module")
def stream(asterisk22: Asterisk) -> Path:
    path = recorded_stream(asterisk22, EVENTS)
    print(f"\nstream: {path.name}, {count_events(path):,} events, {path.stat().st_size:,} bytes")
    return path


def log_in(pbx: TCP, username: str = "u", secret: str = "s", events: str = "on") -> socket.socket:
    """A raw socket, logged in."""
    sock = connect(pbx, resolve(pbx, 5), 5)
    sock.settimeout(30)
    seen = b""
    while b"\r\n" not in seen:
        seen += sock.recv(4096)
    sock.sendall(b"Action: Challenge\r\nActionID: c\r\nAuthType: MD5\r\n\r\n")
    read_message(sock)
    lines = ["Action: Login", "ActionID: l", f"Username: {username}", f"Secret: {secret}"]
    sock.sendall("\r\n".join([*lines, f"Events: {events}", "", ""]).encode())
    return sock


def read_message(sock: socket.socket) -> bytes:
    """The next message, byte by byte, so that nothing behind it is taken."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += sock.recv(1)
    return data


def simplest(pbx: TCP) -> int:
    """The simplest correct Python: every header of every event in a dict."""
    count = 0
    with log_in(pbx) as sock:
        read_message(sock)
        rest = b""
        while data := sock.recv(65536):
            *messages, rest = (rest + data).split(b"\r\n\r\n")
            for message in messages:
                headers: dict[str, str | list[str]] = {}
                for line in message.decode("utf-8", "surrogateescape").split("\r\n"):
                    name, _, value = line.partition(": ")
                    if name in headers:
                        known = headers[name]
                        if isinstance(known, list):
                            known.append(value)
                        else:
                            headers[name] = [known, value]
                    else:
                        headers[name] = value
                headers["Event"]
                headers.get(HEADER)
                count += 1
    return count


def greeted() -> Protocol:
    """A client's protocol that has read its banner."""
    protocol = Protocol("client")
    protocol.receive_data(BANNER)
    protocol.next_message()
    return protocol


def protocol_alone(pbx: TCP) -> int:
    """`Protocol.next_message`, with a plain recv loop: name and one header."""
    count = 0
    with log_in(pbx) as sock:
        read_message(sock)
        protocol = greeted()
        while data := sock.recv(65536):
            protocol.receive_data(data)
            while (message := protocol.next_message()) is not NEED_DATA:
                message.name  # noqa: B018 - reading it is what is measured
                message.get(HEADER)
                count += 1
    return count


def protocol_all_headers(pbx: TCP) -> int:
    count = 0
    with log_in(pbx) as sock:
        read_message(sock)
        protocol = greeted()
        while data := sock.recv(65536):
            protocol.receive_data(data)
            while (message := protocol.next_message()) is not NEED_DATA:
                message.items()
                count += 1
    return count


def blocking_client(pbx: TCP) -> int:
    count = 0
    with AMIClient(pbx, username="u", secret="s", events="on") as client:
        for event in client.events(timeout=0.5):
            event.name  # noqa: B018
            event.get(HEADER)
            count += 1
            if count == expected:
                break
    return count


async def _callback(pbx: TCP) -> int:
    count = 0
    done = asyncio.Event()

    def take(event: object) -> None:
        nonlocal count
        event.name  # type: ignore[attr-defined]  # noqa: B018
        event.get(HEADER)  # type: ignore[attr-defined]
        count += 1
        if count == expected:
            done.set()

    client = AsyncAMIClient(pbx, username="u", secret="s", events="on")
    client.subscribe(callback=take)
    async with client:
        await done.wait()
    return count


async def _iterator(pbx: TCP) -> int:
    count = 0
    client = AsyncAMIClient(pbx, username="u", secret="s", events="on")
    events = client.subscribe(maxsize=10_000_000)
    async with client:
        async for event in events:
            event.name  # noqa: B018
            event.get(HEADER)
            count += 1
            if count == expected:
                break
    return count


expected = 0


def best(path: Path, read: Callable[[TCP], int]) -> float:
    """The least CPU seconds of some rounds, and the right count in each."""
    times = []
    with served(path, ROUNDS) as pbx:
        for _ in range(ROUNDS):
            began = time.process_time()
            assert read(pbx) == expected
            times.append(time.process_time() - began)
    return min(times)


def bench_events_beside_the_simplest_correct_python(stream: Path) -> None:
    global expected
    expected = count_events(stream)
    reference = best(stream, simplest)
    print(f"simplest correct Python: {expected / reference:,.0f} events/s of CPU time")
    for name, read in (
        ("next_message(), name and one header", protocol_alone),
        ("next_message(), all headers", protocol_all_headers),
        ("AMIClient.events(), name and one header", blocking_client),
        ("callback subscription", lambda pbx: asyncio.run(_callback(pbx))),
        ("asyncio iterator", lambda pbx: asyncio.run(_iterator(pbx))),
    ):
        took = best(stream, read)
        print(f"{name}: {expected / took:,.0f} events/s, {reference / took:.2f} x the reference")


def bench_memory_of_a_long_stream(stream: Path) -> None:
    repeat = max(2, int(100 * SCALE))
    global expected
    expected = count_events(stream) * repeat
    with served(stream, 1, repeat=repeat) as pbx:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert protocol_alone(pbx) == expected
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"\n{expected:,} events read; the peak of memory grew by {grown:.1f} MiB")


def bench_ping_one_at_a_time(asterisk22: Asterisk) -> None:
    username, secret = asterisk22.users["admin"]
    pbx = TCP(asterisk22.host, asterisk22.port)
    count = max(50, int(5_000 * SCALE))
    with log_in(pbx, username, secret, "off") as sock:
        read_message(sock)
        raw = []
        for number in range(count):
            began = time.perf_counter()
            sock.sendall(b"Action: Ping\r\nActionID: %d\r\n\r\n" % number)
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += sock.recv(4096)
            raw.append(time.perf_counter() - began)
    with AMIClient(pbx, username=username, secret=secret) as client:
        ours = []
        for _ in range(count):
            began = time.perf_counter()
            assert client.action("Ping").success
            ours.append(time.perf_counter() - began)
    ratio = statistics.median(raw) / statistics.median(ours)
    print(f"\nPing one at a time: {1 / statistics.median(ours):,.0f}/s, {ratio:.2f} x the raw socket loop")


def bench_ping_with_64_in_flight(asterisk22: Asterisk) -> None:
    username, secret = asterisk22.users["admin"]
    pbx = TCP(asterisk22.host, asterisk22.port)
    count = max(640, int(20_000 * SCALE))
    with log_in(pbx, username, secret, "off") as sock:
        read_message(sock)
        began = time.perf_counter()
        sent = answered = 0
        while answered < count:
            room = min(64 - (sent - answered), count - sent)
            if room:
                sock.sendall(
                    b"".join(b"Action: Ping\r\nActionID: %d\r\n\r\n" % (sent + n) for n in range(room))
                )
                sent += room
            answered += sock.recv(65536).count(b"\r\n\r\n")
        raw = time.perf_counter() - began

    async def ours() -> float:
        async with AsyncAMIClient(pbx, username=username, secret=secret) as client:
            left = iter(range(count))

            async def ping() -> None:
                for _ in left:
                    assert (await client.action("Ping")).success

            began = time.perf_counter()
            await asyncio.gather(*(ping() for _ in range(64)))
            return time.perf_counter() - began

    took = asyncio.run(ours())
    print(f"\nPing with 64 in flight: {count / took:,.0f}/s, {raw / took:.2f} x the raw socket loop")


def bench_a_list_of_2000_endpoints(asterisk22: Asterisk) -> None:
    username, secret = asterisk22.users["admin"]
    pbx = TCP(asterisk22.host, asterisk22.port)
    rounds = max(2, int(20 * SCALE))
    raw, ours = [], []
    with (
        log_in(pbx, username, secret, "off") as sock,
        AMIClient(pbx, username=username, secret=secret) as client,
    ):
        read_message(sock)
        for _ in range(rounds):
            began = time.perf_counter()
            sock.sendall(b"Action: PJSIPShowEndpoints\r\nActionID: raw\r\n\r\n")
            answer = b""
            while b"EndpointListComplete" not in answer[-4096:] or not answer.endswith(b"\r\n\r\n"):
                answer += sock.recv(65536)
            raw.append(time.perf_counter() - began)
            began = time.perf_counter()
            reply = client.action("PJSIPShowEndpoints")
            ours.append(time.perf_counter() - began)
            assert len(reply.events) == 2000 == answer.count(b"Event: EndpointList\r\n")
    ratio = statistics.median(ours) / statistics.median(raw)
    print(f"\n2,000 endpoints: {statistics.median(ours) * 1000:.1f} ms, {ratio:.2f} x the raw reader's time")


def bench_logins(asterisk22: Asterisk) -> None:
    username, secret = asterisk22.users["admin"]
    pbx = TCP(asterisk22.host, asterisk22.port)
    count = max(5, int(200 * SCALE))
    began = time.perf_counter()
    for _ in range(count):
        with socket.create_connection((pbx.host, pbx.port)) as sock:
            seen = b""
            while b"\r\n" not in seen:
                seen += sock.recv(4096)
            login = f"Action: Login\r\nUsername: {username}\r\nSecret: {secret}\r\nEvents: off\r\n\r\n"
            for action in (login, "Action: Ping\r\n\r\n", "Action: Logoff\r\n\r\n"):
                sock.sendall(action.encode())
                answer = b""
                while not answer.endswith(b"\r\n\r\n"):
                    answer += sock.recv(4096)
    raw = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(count):
        with AMIClient(pbx, username=username, secret=secret) as client:
            assert client.action("Ping").success
    ours = time.perf_counter() - began
    print(
        f"\nconnect, MD5 login, Ping, logoff: {count / ours:,.0f}/s, {raw / ours:.2f} x the raw plain login"
    )


def bench_memory_of_idle_sessions(asterisk22: Asterisk) -> None:
    username, secret = asterisk22.users["admin"]
    pbx = TCP(asterisk22.host, asterisk22.port)
    count = max(20, int(1_000 * SCALE))

    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    async def hold() -> float:
        clients = [AsyncAMIClient(pbx, username=username, secret=secret) for _ in range(count)]
        before = resident()
        for start in range(0, count, 20):  # below Asterisk's authlimit
            await asyncio.gather(*(client.connect() for client in clients[start : start + 20]))
        grown = resident() - before
        assert all(client.connected for client in clients)
        await asyncio.gather(*(client.close() for client in clients))
        return grown / 2**20

    print(f"\n{count:,} idle sessions add {asyncio.run(hold()):.1f} MiB")
