"""What a kept action session saves beside a login for each action: on TCP, on TLS and through an SSH tunnel.

One action here is a `Ping`: the cheapest, so that the session's own price is all that differs. Loopback has
no distance; over a network each login pays further round trips (TCP 1, TLS 1 or 2, SSH about 6, AMI 3). It
also shows what sessions that nobody uses cost an Asterisk, which is what a worker's pool asks of it, and what
servers that hang cost the runs on the others, with a real worker.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from ami_integration.actions import services
from ami_integration.actions.models import ActionRun
from ami_integration.actions.watch import runs_sweep
from ami_integration.ami import TCP, TLS, AMIClient
from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import Server
from ami_integration.servers.uses import login_for_actions, use_told
from tests.ami.scripted import Peer, served
from tests.bench import SCALE
from tests.pbx.asterisk import Asterisk
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server
from tests.sshd import Sshd

THREADS = (1, 8)


def ways(asterisk: Asterisk, sshd: Sshd) -> dict[str, tuple[TCP, int]]:
    """Transports by name, with how many logins are worth measuring."""
    return {
        "TCP": (TCP(asterisk.host, asterisk.port), 600),
        "TLS": (TLS("localhost", asterisk.tls_port, ca_file=str(asterisk.ca_file)), 300),
        "SSH": (sshd.transport(asterisk.port), 40),
    }


def timed(threads: int, count: int, one: Callable[[int], None]) -> tuple[float, float]:
    """Actions a second by all threads together, and the median of one in ms.

    Args:
        one: does one action; it is given the number of its thread.
    """

    def work(thread: int) -> list[float]:
        took = []
        for _ in range(max(1, count // threads)):
            began = time.perf_counter()
            one(thread)
            took.append(time.perf_counter() - began)
        return took

    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        took = [one for times in pool.map(work, range(threads)) for one in times]
        elapsed = time.perf_counter() - began
    return len(took) / elapsed, statistics.median(took) * 1000


@pytest.mark.parametrize("threads", THREADS)
def bench_a_kept_session_beside_a_login_for_each(asterisk22: Asterisk, sshd: Sshd, threads: int) -> None:
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    username, secret = asterisk22.users["admin"]
    print()
    for name, (transport, logins) in ways(asterisk22, sshd).items():
        count = max(threads, int(logins * SCALE))

        def login(_: int, transport: TCP = transport) -> None:
            with AMIClient(transport, username=username, secret=secret) as session:
                assert session.action("Ping").success

        sessions = [AMIClient(transport, username=username, secret=secret) for _ in range(threads)]
        for session in sessions:
            session.connect()

        def kept(thread: int, sessions: list[AMIClient] = sessions) -> None:
            assert sessions[thread].action("Ping").success

        def asked(thread: int, sessions: list[AMIClient] = sessions) -> None:
            # A pool may ask a session that was idle whether it lives.
            assert sessions[thread].action("Ping").success
            assert sessions[thread].action("Ping").success

        each, each_ms = timed(threads, count, login)
        plain, plain_ms = timed(threads, count * 10, kept)
        twice, twice_ms = timed(threads, count * 10, asked)
        for session in sessions:
            session.close()
        print(
            f"{name}, {threads} thread(s): login for each {each:,.0f}/s ({each_ms:.2f} ms), kept "
            f"{plain:,.0f}/s ({plain_ms:.3f} ms) = {plain / each:.1f} x; asked with a Ping before each use "
            f"{twice:,.0f}/s ({twice_ms:.3f} ms) = {twice / each:.1f} x"
        )


@pytest.mark.django_db(transaction=True)  # each entry is a commit of its own
def bench_what_telling_the_audit_of_a_login_costs(asterisk22: Asterisk) -> None:
    username, secret = asterisk22.users["admin"]
    server = make_server(TCP(asterisk22.host, asterisk22.port), username=username, secret=secret)
    login = login_for_actions(server, "actions")
    count = max(10, int(600 * SCALE))

    def plain(_: int) -> None:
        with AMIClient(server.ami_transport(), username=username, secret=secret):
            pass

    def told(_: int) -> None:
        with use_told(login):
            plain(_)

    plain(0), told(0)
    took: dict[str, list[float]] = {"plain": [], "told": []}
    for _ in range(count):
        for name, work in (("plain", plain), ("told", told)):
            began = time.perf_counter()
            work(0)
            took[name].append(time.perf_counter() - began)
    assert AuditEntry.objects.filter(verb="secret.use").count() == count + 1
    without, beside = (statistics.median(took[name]) * 1000 for name in ("plain", "told"))
    print(f"\na login {without:.2f} ms, told to the audit {beside:.2f} ms = {beside / without:.2f} x")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_total_relation_size('ami_integration_auditentry')")
            size = cursor.fetchone()[0]
        print(f"{size / (count + 1):,.0f} bytes an entry with its indexes, of {count + 1:,}")


def bench_what_idle_sessions_cost_an_asterisk(asterisk22: Asterisk) -> None:
    username, secret = asterisk22.users["admin"]
    count = max(5, int(200 * SCALE))
    assert asterisk22.pid is not None
    process = Path(f"/proc/{asterisk22.pid}")

    def cost() -> tuple[float, float]:
        """Resident MiB, and CPU seconds so far."""
        pages = int((process / "statm").read_text().split()[1])
        times = (process / "stat").read_text().rpartition(")")[2].split()
        return pages * 4096 / 2**20, (int(times[11]) + int(times[12])) / 100

    def busy(session: AMIClient) -> float:
        """CPU seconds for the Pings of one other session."""
        before = cost()[1]
        for _ in range(max(50, int(20_000 * SCALE))):
            session.action("Ping")
        return cost()[1] - before

    with AMIClient(TCP(asterisk22.host, asterisk22.port), username=username, secret=secret) as other:
        alone = busy(other)
        before = cost()[0]
        idle = [
            AMIClient(TCP(asterisk22.host, asterisk22.port), username=username, secret=secret)
            for _ in range(count)
        ]
        for session in idle:
            session.connect()
        grown = cost()[0] - before
        beside = busy(other)
        began = cost()[1]
        seconds = max(0.2, 10 * SCALE)
        time.sleep(seconds)  # what is measured is that nothing happens
        waiting = cost()[1] - began
        assert all(session.connected for session in idle)
        for session in idle:
            session.close()
    print(
        f"\n{count} idle sessions (events off): +{grown:.1f} MiB in Asterisk, {waiting / seconds:.2%} of a "
        f"core; another session's Pings cost it {alone:.2f} s of CPU without and {beside:.2f} s with them"
    )


def answers(peer: Peer) -> None:
    peer.log_in()
    while True:
        peer.answer(peer.hear(), "Ping: Pong")


def says_nothing(peer: Peer) -> None:
    peer.hear()


def never_answers(peer: Peer) -> None:
    peer.log_in()
    while True:
        peer.hear()


def loaded(servers: list[Server], seconds: float) -> list[ActionRun]:
    """A run a second on each server, for so long: far from what the machine can do."""
    runs = []
    began = time.monotonic()
    for beat in range(max(2, int(seconds))):
        for server in servers:
            runs.append(
                services.run_submit(user=None, origin="command", server=server, action="Ping", headers=[])
            )
        wait_until(lambda beat=beat: time.monotonic() >= began + beat + 1, seconds=60, what="the beat")
    return runs


def took(runs: list[ActionRun]) -> list[float]:
    """Milliseconds from submit to the end of each, once all have ended."""
    keys = [run.pk for run in runs]

    def ended() -> bool:
        runs_sweep()
        return not ActionRun.objects.filter(pk__in=keys, finished_at=None).exists()

    wait_until(ended, seconds=120, what="the healthy servers' runs end", step=1)
    rows = ActionRun.objects.filter(pk__in=keys)
    assert {row.status for row in rows} == {ActionRun.Status.SUCCEEDED}
    times = [(row.finished_at - row.created_at).total_seconds() for row in rows if row.finished_at]
    return sorted(one * 1000 for one in times)


def bench_20_servers_of_which_5_hang(stack: Stack) -> None:
    stack.start("worker")
    seconds = max(1.0, 40 * SCALE)
    with contextlib.ExitStack() as pbxs:
        healthy = [make_server(pbxs.enter_context(served(answers)), name=f"well {n}") for n in range(15)]
        hanging = [
            make_server(pbxs.enter_context(served(script)), name=f"hangs {n}")
            for n, script in enumerate([says_nothing] * 3 + [never_answers] * 2)
        ]
        took(loaded(healthy, seconds / 4))  # sessions are open, code is loaded
        alone = took(loaded(healthy, seconds))
        runs = loaded(healthy + hanging, seconds)
        beside = took([run for run in runs if run.server not in hanging])
    p95 = [times[int(len(times) * 0.95)] for times in (alone, beside)]
    medians = [statistics.median(times) for times in (alone, beside)]
    print(
        f"\n15 servers, a run a second on each: p95 {p95[0]:.0f} ms (median {medians[0]:.0f}); beside 5 "
        f"that hang {p95[1]:.0f} ms (median {medians[1]:.0f}) = {p95[1] / p95[0]:.2f} x, {len(beside)} runs"
    )
