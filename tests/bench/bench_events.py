"""The pipeline of events, from a PBX's socket to committed rows: how much it bears, and what each part costs.

`make bench-events` runs it on PostgreSQL with its durability on, and on SQLite. Listener, recorder, Valkey,
database and the PBX are processes of their own that share the machine's cores.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from ami_integration.ami import TCP
from ami_integration.events.models import Event, Gap
from tests import postgres
from tests.bench import SCALE
from tests.bench.processes import cpu_seconds, family, resident_mb
from tests.counting import Counting
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

#: Events a second that the pipeline has to bear, by database; then how much more is tried.
AIMS = {"postgresql": 10_000, "sqlite": 4_000}
MORE = (1.0, 1.5, 2.0)


def parts(stack: Stack, pbx: Counting) -> dict[str, list[int]]:
    """The process ids of each part."""
    assert stack.valkey.process is not None
    found = {name: [stack.processes[name].pid] for name in ("listener", "recorder")}
    found |= {"Valkey": [stack.valkey.process.pid], "the PBX": [pbx.process.pid]}
    if connection.vendor == "postgresql":
        process = postgres.cluster().process
        assert process is not None
        found["PostgreSQL"] = family(process.pid)
    return found


def stored() -> int:
    """How many numbered events are committed."""
    return Event.objects.exclude(name="FullyBooted").count()


@contextmanager
def listening(stack: Stack, pace: float, most: int) -> Iterator[Counting]:
    """A PBX that sends so many events, listened to and recorded by processes of their own."""
    stack.start("recorder")
    with Counting(pace=pace, most=most) as pbx:
        make_server(TCP("127.0.0.1", pbx.port), name="full", username="full")
        stack.start("listener", "--no-recorder")
        wait_until(lambda: pbx.counts().get("full"), seconds=60, what=lambda: stack.log("listener"))
        yield pbx
        stack.stop("listener")
        stack.stop("recorder")


@pytest.mark.parametrize("more", MORE)
def bench_from_the_socket_to_committed_rows(stack: Stack, more: float) -> None:
    pace = AIMS[connection.vendor] * more
    seconds = max(2.0, (60 if more == 1 else 20) * SCALE)
    most = int(pace * seconds)
    with listening(stack, pace, most) as pbx:
        began = time.monotonic()
        before = {name: cpu_seconds(pids) for name, pids in parts(stack, pbx).items()}
        early: dict[str, float] = {}

        def all_sent() -> bool:
            if not early and time.monotonic() - began > seconds / 3:
                early.update(
                    {name: resident_mb(stack.processes[name].pid) for name in ("listener", "recorder")}
                )
            return pbx.sent()["full"] >= most

        wait_until(all_sent, seconds=seconds * 5 + 30, what="the PBX has sent all", step=0.25)
        sending = time.monotonic() - began
        behind = most - stored()
        wait_until(lambda: stored() >= most, seconds=seconds * 10 + 60, what=lambda: f"{stored()} of {most}")
        took = time.monotonic() - began
        costs = {name: cpu_seconds(pids) - before.get(name, 0) for name, pids in parts(stack, pbx).items()}
        late = {name: resident_mb(stack.processes[name].pid) for name in early}
    numbers = set(range(most))
    for headers in (
        Event.objects.exclude(name="FullyBooted").values_list("headers", flat=True).iterator(50_000)
    ):
        numbers.discard(int(dict(headers)["Number"]))
    assert numbers == set()
    assert not Gap.objects.exclude(reason__in=[Gap.Reason.LISTENER_STOPPED, Gap.Reason.HANDED_OVER]).exists()
    print(
        f"\n{connection.vendor}: {pace:,.0f} events/s asked for, {most:,} sent in {sending:.1f} s, all "
        f"committed {took - sending:.1f} s later ({most / took:,.0f}/s; {behind:,} under way after the last)"
    )
    for name, cost in costs.items():
        print(f"  {name}: {cost / most * 1000 * 1000:.1f} ms of CPU for 1,000 events")
    for name, first in early.items():
        print(f"  {name}: {first:.0f} MB resident after a third, {late[name]:.0f} MB in the end")


def bench_500_pbxs_in_one_listener(stack: Stack) -> None:
    count = max(10, int(500 * SCALE))
    seconds = max(2.0, 60 * SCALE)
    stack.start("recorder")
    with Counting(pace=10) as pbx:
        for number in range(count):
            make_server(TCP("127.0.0.1", pbx.port), name=f"pbx {number}", username=f"pbx{number}")
        began = time.monotonic()
        listener = stack.start("listener", "--no-recorder")
        wait_until(lambda: len(pbx.counts()) == count, seconds=180, what=lambda: stack.log("listener"))
        connected = time.monotonic() - began
        used = cpu_seconds([listener.pid])
        time.sleep(seconds)  # what is measured is what a while of it costs
        used = (cpu_seconds([listener.pid]) - used) / seconds
        memory = resident_mb(listener.pid)

        pbx.cut()
        time.sleep(max(1.0, 10 * SCALE))  # the network is away for so long
        before = pbx.sent()
        pbx.heal()
        healed = time.monotonic()

        def all_back() -> bool:
            now = pbx.sent()
            return all(now[name] > number for name, number in before.items())

        wait_until(all_back, seconds=180, what=lambda: stack.log("listener"), step=0.2)
        back = time.monotonic() - healed
        happened = pbx.stop()
        sent = pbx.sent()
        wait_until(
            lambda: stored() == sum(sent.values()),
            seconds=120,
            what=lambda: f"{stored()} of {sum(sent.values())}",
        )
        stack.stop("listener")
        stack.stop("recorder")
    assert len(happened) == count
    print(
        f"\n{connection.vendor}: {count} PBXs of 10 events/s each in one listener: connected in "
        f"{connected:.1f} s, {memory:.0f} MB, {used:.0%} of a core; after a cut of the network all were back "
        f"in {back:.1f} s"
    )
