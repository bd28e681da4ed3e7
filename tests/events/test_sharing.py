"""Two listener processes share the servers: one is killed, frozen or stopped, and nothing is stored twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from ami_integration.ami import TCP
from ami_integration.events.models import Event, Gap
from ami_integration.events.stream import LEASES, valkey_client
from ami_integration.servers.models import Server
from amiweb.processes import commands
from tests.events.missing import check_gaps
from tests.polling import wait_until
from tests.processes import Process, Stack
from tests.servers.factories import make_server
from tests.simulator.fixtures import Simulator

pytestmark = pytest.mark.processes

#: "kill -9 one and the other has its servers within 15 s"
PROMISE = 15.0
SERVERS = 16


class Fleet:
    """Servers that all are one simulated PBX, a recorder, and listeners that share them."""

    def __init__(self, stack: Stack, simulator: Simulator, valkey: redis.Redis, servers: int) -> None:
        self.stack = stack
        self.simulator = simulator
        self.valkey = valkey
        self.said = 0
        self.listeners: list[Process] = []
        self.servers = [
            make_server(
                TCP(simulator.host, simulator.port),
                name=f"pbx {number}",
                username=simulator.username,
                secret=simulator.secret,
                event_keeping="all",  # a gap begins and ends at an event, be it kept or not
            )
            for number in range(servers)
        ]
        stack.start("recorder")

    def listen(self) -> Process:
        number = len(self.listeners)
        command = commands(port=self.stack.port, simulator_ports=self.stack.simulator_ports)["listener"]
        listener = Process(
            [*command, "--no-recorder"],
            log=self.stack.folder / f"listener-{number}.log",
            env=os.environ | self.stack.env,
        )
        self.listeners.append(listener)
        return listener

    def close(self) -> None:
        for listener in self.listeners:
            if listener.alive():
                listener.process.send_signal(signal.SIGCONT)
            listener.end()

    def logs(self) -> str:
        return "\n".join(listener.log() for listener in self.listeners)

    def owners(self) -> dict[bytes, int]:
        """How many servers each listener has, by its token."""
        owners: dict[bytes, int] = {}
        for lease in self.valkey.hvals(LEASES):
            owner = lease.split(b" ")[2]
            owners[owner] = owners.get(owner, 0) + 1
        return owners

    def until_shared(self, listeners: int) -> None:
        """Wait until so many listeners have as many servers each, and are connected to them."""
        servers = len(self.servers)
        wait_until(
            lambda: (
                sorted(self.owners().values()) == [servers // listeners] * listeners
                and self.simulator.sessions == servers
                and not Gap.objects.open().exists()
            ),
            seconds=3 * PROMISE,
            what=lambda: f"{listeners} listeners share the servers: {self.owners()} {self.logs()}",
        )

    def say(self, count: int) -> None:
        for _ in range(count):
            self.simulator.emit("UserEvent", [("UserEvent", "Counted"), ("Number", str(self.said))], "user")
            self.said += 1

    def stored(self, server: Server) -> list[tuple[int, int | None]]:
        """Id and number, if it has one, of each stored event, by id."""
        events = Event.objects.filter(server=server).order_by("id").values_list("id", "headers")
        numbers = [(pk, dict(headers).get("Number")) for pk, headers in events]
        return [(pk, None if number is None else int(number)) for pk, number in numbers]

    def newest(self, server: Server) -> int | None:
        """The number of the last event."""
        return next((number for _, number in reversed(self.stored(server)) if number is not None), None)

    def check(self) -> None:
        """Nothing is stored twice, and what is missing lies inside a gap."""
        for server in self.servers:
            check_gaps(server, self.stored(server), self.said)

    def until_heard(self) -> None:
        """Say something, and wait until all servers' listeners have heard it."""
        self.say(1)
        last = self.said - 1
        wait_until(
            lambda: all(self.newest(server) == last for server in self.servers),
            seconds=3 * PROMISE,
            what=self.logs,
        )


@pytest.fixture
def fleet(
    request: pytest.FixtureRequest, stack: Stack, make_simulator: Callable[..., Simulator]
) -> Iterator[Fleet]:
    with valkey_client(stack.valkey.url) as client:
        fleet = Fleet(stack, make_simulator(), client, getattr(request, "param", SERVERS))
        yield fleet
        fleet.close()


def test_when_one_of_two_is_killed_the_other_has_its_servers_soon(fleet: Fleet) -> None:
    first = fleet.listen()
    fleet.until_shared(1)
    fleet.listen()
    fleet.until_shared(2)
    fleet.say(20)
    fleet.until_heard()
    first.end(signal.SIGKILL)
    fleet.say(20)
    fleet.until_shared(1)
    fleet.say(20)
    fleet.until_heard()
    fleet.check()
    assert set(Gap.objects.values_list("reason", flat=True)) == {
        Gap.Reason.LISTENER_STOPPED,
        Gap.Reason.HANDED_OVER,
    }


@pytest.mark.parametrize("fleet", [2], indirect=True, ids=["2 servers"])
def test_of_two_servers_the_second_listener_gets_one_and_gives_it_back(fleet: Fleet) -> None:
    fleet.listen()
    fleet.until_shared(1)
    second = fleet.listen()
    fleet.until_shared(2)
    fleet.until_heard()
    second.end(signal.SIGKILL)
    fleet.until_shared(1)
    fleet.until_heard()
    fleet.check()


def test_one_that_stops_hands_over_at_once(fleet: Fleet) -> None:
    first = fleet.listen()
    fleet.until_shared(1)
    fleet.listen()
    fleet.until_shared(2)
    began = time.monotonic()
    assert first.end(signal.SIGTERM) == 0
    fleet.until_shared(1)
    assert time.monotonic() - began < PROMISE  # a third of which a lease alone would take to end
    fleet.until_heard()
    fleet.check()
    assert "Traceback" not in fleet.logs()


def test_one_that_was_frozen_stores_nothing_more_of_what_another_has(fleet: Fleet) -> None:
    first = fleet.listen()
    fleet.until_shared(1)
    fleet.listen()
    fleet.until_shared(2)
    fleet.until_heard()
    first.process.send_signal(signal.SIGSTOP)
    fleet.say(20)  # its sockets take these
    wait_until(
        lambda: len(fleet.owners()) == 1,
        seconds=3 * PROMISE,
        what=lambda: f"the other one has all servers: {fleet.logs()}",
    )
    wait_until(
        lambda: not Gap.objects.open().exists(), seconds=3 * PROMISE, what="it is connected to all of them"
    )
    fleet.say(20)
    first.process.send_signal(signal.SIGCONT)
    wait_until(
        lambda: "another listener has taken over" in first.log(), seconds=PROMISE, what="it has noticed"
    )
    fleet.until_shared(2)
    fleet.until_heard()
    fleet.check()
