"""Readers of a stream, each a process of its own: ``python -m tests.bench.readers NAME PORT [check]``.

Every reader reads name and one header of every event, in the way its documentation tells, until the stream's
last one (`END`), and prints what it took as JSON: CPU seconds of the process from before it connects, its
events, and its peak of memory. With ``check``, which is not for timing, it looks at all headers instead and
tells how many it has seen. Standard library at the top only: each imports its own client and nothing else.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
USERNAME, SECRET = "u", "secret"
END = "EndOfStream"
HEADER = "Channel"
CHUNK = 65536
#: Seconds after which a reader that lost the end gives up.
LOST = 600.0

#: Reads to the end and returns how many events there were; to a list it adds each event's number of headers.
Reader = Callable[[int, "list[int] | None"], int]


# -- references


def raw_session(port: int) -> socket.socket:
    """A socket that is logged in, nothing behind the login's answer being read."""
    sock = socket.create_connection((HOST, port))
    lines = ("Action: Login", f"Username: {USERNAME}", f"Secret: {SECRET}", "Events: on", "", "")
    sock.sendall("\r\n".join(lines).encode())
    seen = b""
    while not seen.endswith(b"\r\n\r\n"):
        seen += sock.recv(1)
    return sock


def simplest(port: int, check: list[int] | None) -> int:
    """The simplest correct Python: every header of every event in a dict."""
    count = 0
    with raw_session(port) as sock:
        rest = b""
        while True:
            *messages, rest = (rest + sock.recv(CHUNK)).split(b"\r\n\r\n")
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
                if headers["Event"] == END:
                    return count
                headers.get(HEADER)
                count += 1
                if check is not None:
                    check.append(sum(len(v) if isinstance(v, list) else 1 for v in headers.values()))


# -- our own


def protocol(port: int, check: list[int] | None) -> int:
    """`Protocol.next_message` with a plain recv loop."""
    from ami_integration.ami import NEED_DATA

    count = 0
    with raw_session(port) as sock:
        machine = greeted()
        while True:
            machine.receive_data(sock.recv(CHUNK))
            while (message := machine.next_message()) is not NEED_DATA:
                if message.name == END:
                    return count
                message.get(HEADER)
                count += 1
                if check is not None:
                    check.append(len(message.items()))


def protocol_all_headers(port: int, check: list[int] | None) -> int:
    from ami_integration.ami import NEED_DATA

    count = 0
    with raw_session(port) as sock:
        machine = greeted()
        while True:
            machine.receive_data(sock.recv(CHUNK))
            while (message := machine.next_message()) is not NEED_DATA:
                headers = message.items()
                if message.name == END:
                    return count
                count += 1
                if check is not None:
                    check.append(len(headers))


def greeted() -> Any:
    """A client's protocol that has read its banner."""
    from ami_integration.ami import Protocol

    machine = Protocol("client")
    machine.receive_data(b"Asterisk Call Manager/11.0.0\r\n")
    machine.next_message()
    return machine


def blocking(port: int, check: list[int] | None) -> int:
    from ami_integration.ami import TCP, AMIClient

    count = 0
    with AMIClient(TCP(HOST, port), username=USERNAME, secret=SECRET, events="on") as client:
        for event in client.events(timeout=LOST):
            if event.name == END:
                break
            event.get(HEADER)
            count += 1
            if check is not None:
                check.append(len(event.items()))
    return count


def blocking_batches(port: int, check: list[int] | None) -> int:
    from ami_integration.ami import TCP, AMIClient

    count = 0
    client = AMIClient(TCP(HOST, port), username=USERNAME, secret=SECRET, events="on", max_events=0)
    subscription = client.subscribe(policy="block")
    with client:
        for batch in subscription.batches(timeout=LOST):
            for event in batch:
                if event.name == END:
                    return count
                event.get(HEADER)
                count += 1
                if check is not None:
                    check.append(len(event.items()))
    return count


def callback(port: int, check: list[int] | None) -> int:
    from ami_integration.ami import TCP, AsyncAMIClient, Event

    count = 0

    async def read() -> None:
        done = asyncio.Event()

        def take(event: Event) -> None:
            nonlocal count
            if event.name == END:
                done.set()
                return
            event.get(HEADER)
            count += 1
            if check is not None:
                check.append(len(event.items()))

        client = AsyncAMIClient(TCP(HOST, port), username=USERNAME, secret=SECRET, events="on")
        client.subscribe(callback=take)
        async with client:
            await asyncio.wait_for(done.wait(), LOST)

    asyncio.run(read())
    return count


def iterator(port: int, check: list[int] | None) -> int:
    from ami_integration.ami import TCP, AsyncAMIClient

    async def read() -> int:
        count = 0
        client = AsyncAMIClient(TCP(HOST, port), username=USERNAME, secret=SECRET, events="on")
        events = client.subscribe(policy="block")
        async with client:
            async for event in events:
                if event.name == END:
                    break
                event.get(HEADER)
                count += 1
                if check is not None:
                    check.append(len(event.items()))
        return count

    return asyncio.run(read())


# -- the packaged ones, in the bench environment


def asterisk_ami(port: int, check: list[int] | None) -> int:
    from asterisk.ami import AMIClient  # type: ignore[import-not-found]

    count = 0
    done = threading.Event()

    def event_listener(event: Any, **_: Any) -> None:
        nonlocal count
        if event.name == END:
            done.set()
            return
        event.keys.get(HEADER)
        count += 1
        if check is not None:
            check.append(1 + sum(len(v) if isinstance(v, dict) else 1 for v in event.keys.values()))

    client = AMIClient(address=HOST, port=port)
    client.add_event_listener(event_listener)
    client.login(username=USERNAME, secret=SECRET)
    done.wait(LOST)
    return count


def panoramisk(port: int, check: list[int] | None) -> int:
    from panoramisk import Manager  # type: ignore[import-not-found]

    count = 0
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    manager = Manager(loop=loop, host=HOST, port=port, username=USERNAME, secret=SECRET)

    @manager.register_event("*")  # type: ignore[untyped-decorator]
    def take(manager: Any, message: Any) -> None:
        nonlocal count
        if message.event == END:
            loop.stop()
            return
        message.get(HEADER)
        count += 1
        if check is not None:
            # It adds a "content" of its own to each.
            check.append(sum(len(v) if isinstance(v, list) else 1 for v in message.values()) - 1)

    manager.connect()
    loop.call_later(LOST, loop.stop)
    loop.run_forever()
    return count


def pystrix(port: int, check: list[int] | None) -> int:
    import pystrix as package  # type: ignore[import-not-found]

    count = 0
    done = threading.Event()

    def take(event: Any, manager: Any) -> None:
        nonlocal count
        if event.name == END:
            done.set()
            return
        event.get(HEADER)
        count += 1
        if check is not None:
            check.append(len(event))

    manager = package.ami.Manager()
    manager.register_callback("", take)
    manager.connect(HOST, port)
    challenge = manager.send_action(package.ami.core.Challenge())
    manager.send_action(package.ami.core.Login(USERNAME, SECRET, challenge=challenge.result["Challenge"]))
    done.wait(LOST)
    return count


READERS: dict[str, Reader] = {
    reader.__name__: reader
    for reader in (
        simplest, protocol, protocol_all_headers, blocking, blocking_batches, callback, iterator,
        asterisk_ami, panoramisk, pystrix,
    )
}  # fmt: skip


#: What a reader imports before its clock starts, unless it is our own client.
MODULES = {
    "simplest": "socket",
    "asterisk_ami": "asterisk.ami",
    "panoramisk": "panoramisk",
    "pystrix": "pystrix",
}


def peak_of_memory() -> int:
    """The most bytes that this process has had in memory (not those of the process it was forked from)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def main(arguments: list[str]) -> None:
    name, port, *rest = arguments
    check: list[int] | None = [] if rest else None
    importlib.import_module(MODULES.get(name, "ami_integration.ami"))
    began = time.process_time()
    count = READERS[name](int(port), check)
    took = time.process_time() - began
    report = {"events": count, "seconds": took, "peak": peak_of_memory(), "headers": sum(check or ())}
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
