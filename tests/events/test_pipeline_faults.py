"""The whole pipeline under load, while one part after the other dies: what is lost, and who says so.

A PBX numbers its events. With a fault behind the listener every number is stored, or counted as dropped; with
a fault of the session every missing number lies inside a gap. Nothing is stored twice, and a page that was
open all the time shows the newest event again by itself.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from ami_integration.ami import TCP
from ami_integration.events.models import Event, Gap
from tests.browser.chromium import Handle, Visitor, expect
from tests.browser.people import log_in
from tests.counting import Counting
from tests.events.missing import check_gaps, missing
from tests.events.relay import Relay
from tests.polling import wait_until
from tests.postgres import Cluster
from tests.processes import Stack
from tests.requirements import unavailable
from tests.servers.factories import make_server

pytestmark = [pytest.mark.processes, pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PACE = 300
#: Events that happen while a part is away.
AWAY = 3 * PACE


class Flow:
    """A PBX that counts, everything that its events go through, and a person who looks at them."""

    def __init__(self, stack: Stack, visitor: Visitor, pbx: Counting, port: int) -> None:
        self.stack = stack
        self.pbx = pbx
        self.server = make_server(TCP("127.0.0.1", port), name="counts", username="counts")
        for name in ("web", "recorder"):
            stack.start(name)
        stack.start("listener", "--no-recorder")
        visitor.allow("WebSocket|ERR_CONNECTION_REFUSED|Failed to load resource")
        self.page: Handle = log_in(visitor, stack)
        self.page.goto(f"{stack.url}/admin/live/?names=Hangup")

    def happened(self) -> int:
        return self.pbx.counts().get("counts", 0)

    def goes_on(self, events: int) -> None:
        """Wait until so many more events have happened."""
        until = self.happened() + events
        wait_until(lambda: self.happened() >= until, seconds=60, what=f"{events} more events happen")

    def stored(self) -> list[tuple[int, int | None]]:
        """Id and number (None for FullyBooted) of what is stored, by id."""
        rows = Event.objects.filter(server=self.server).order_by("id").values_list("id", "headers")
        found = []
        for pk, headers in rows:
            number = dict(headers).get("Number")
            found.append((pk, None if number is None else int(number)))
        return found

    def newest(self) -> int:
        event = Event.objects.filter(server=self.server).exclude(name="FullyBooted").order_by("-id").first()
        return -1 if event is None else int(dict(event.headers)["Number"])

    def is_well(self, fault: str) -> None:
        """What happens now is stored again, and shown."""
        wait_until(
            lambda: "counts" in self.pbx.counts(),
            seconds=60,
            what=lambda: f"the PBX is listened to after: {fault}; {self.stack.log('listener')[-3000:]}",
        )
        now = self.happened()
        wait_until(
            lambda: self.newest() >= now,
            seconds=60,
            what=lambda: (
                f"events are stored again after: {fault} ({self.newest()} of {now}); the listener:\n"
                f"{self.stack.log('listener')[-3000:]}\nthe recorder:\n{self.stack.log('recorder')[-3000:]}"
            ),
            step=0.2,
        )
        newest = Event.objects.filter(server=self.server, name="Hangup").latest("id").pk
        expect(self.page.locator(f'#live-rows > [data-id="{newest}"]')).to_have_count(1, timeout=30_000)

    def end(self) -> int:
        """Let nothing happen any more, wait for the last event, and say how many happened."""
        happened = self.pbx.stop()["counts"]
        wait_until(
            lambda: self.newest() == happened - 1, seconds=60, what=lambda: f"{self.newest()} is {happened}"
        )
        return happened


@pytest.fixture
def flow(stack: Stack, visitor: Visitor, postgres_cluster: Cluster) -> Iterator[Flow]:
    with Counting(pace=PACE) as pbx:
        yield Flow(stack, visitor, pbx, pbx.port)


@contextlib.contextmanager
def full_disk(cluster: Cluster) -> Iterator[None]:
    """Today's partition on a disk of its own, which is full."""
    folder = cluster.folder / "small"
    folder.mkdir()
    owner = cluster.folder.stat().st_uid  # PostgreSQL wants a tablespace's folder for its own
    options = f"size=64m,mode=700,uid={owner}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    ballast = folder / "ballast"
    with contextlib.ExitStack() as ends:
        ends.callback(subprocess.run, ["umount", folder], check=True)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT tableoid::regclass::text FROM ami_integration_event ORDER BY id DESC LIMIT 1"
            )
            [(table,)] = cursor.fetchall()
            cursor.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
            ends.callback(_execute, "DROP TABLESPACE small")
            cursor.execute(f"ALTER TABLE {table} SET TABLESPACE small")
        ends.callback(_execute, f"ALTER TABLE {table} SET TABLESPACE pg_default")
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * 4096):
                pass
        ends.callback(ballast.unlink)
        yield


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_with_a_fault_behind_the_listener_all_is_stored_or_counted_as_dropped(
    flow: Flow, postgres_cluster: Cluster
) -> None:
    stack = flow.stack
    with connection.cursor() as cursor:  # the run's cluster answers before it has written
        cursor.execute(f"ALTER DATABASE {connection.settings_dict['NAME']} SET synchronous_commit = on")

    def killed(name: str, *arguments: str) -> None:
        stack.kill(name)
        flow.goes_on(AWAY)
        stack.start(name, *arguments)

    def without_valkey() -> None:
        stack.valkey.kill()
        flow.goes_on(AWAY)
        stack.valkey.start()

    def without_database() -> None:
        postgres_cluster.kill()
        connection.close()
        flow.goes_on(AWAY)
        postgres_cluster.restart()

    faults: dict[str, Callable[[], None]] = {
        "the recorder was killed": lambda: killed("recorder"),
        "the web process was killed": lambda: killed("web"),
        "Valkey was killed": without_valkey,
        "PostgreSQL was killed": without_database,
    }
    flow.is_well("the start")
    for fault, happens in faults.items():
        happens()
        flow.is_well(fault)
    check_counted(flow)


def test_what_comes_while_the_databases_disk_is_full_is_stored_when_there_is_room(
    flow: Flow, postgres_cluster: Cluster
) -> None:
    if os.geteuid() != 0:
        unavailable("postgres", "a full disk is a small file system here, which only root can mount")
    flow.is_well("the start")
    with full_disk(postgres_cluster):
        wait_until(
            lambda: "No space left on device" in flow.stack.log("recorder"),
            seconds=30,
            what=lambda: f"the disk is full: {flow.stack.log('recorder')[-2000:]}",
        )
        flow.goes_on(AWAY)
        assert flow.newest() < flow.happened() - AWAY
    flow.is_well("the disk was full")
    check_counted(flow)


def check_counted(flow: Flow) -> None:
    """What has happened is what is stored and what is counted as dropped."""
    happened = flow.end()
    lost = missing([number for _, number in flow.stored() if number is not None], happened)
    gaps = Gap.objects.filter(server=flow.server)
    assert {gap.reason for gap in gaps} <= {Gap.Reason.OVERLOAD, Gap.Reason.LOST}
    assert {gap.lost_kind for gap in gaps} <= {Gap.LostKind.EXACT}
    assert sum(gap.lost or 0 for gap in gaps) == len(lost), f"{lost} are missing; {list(gaps.values())}"


def test_with_a_fault_of_the_session_what_is_missing_lies_in_a_gap(
    stack: Stack, visitor: Visitor, postgres_cluster: Cluster
) -> None:
    with contextlib.ExitStack() as pbxs:
        pbx = pbxs.enter_context(Counting(pace=PACE))
        relay = pbxs.enter_context(Relay(pbx.port))
        flow = Flow(stack, visitor, pbx, relay.port)

        def listener_dies() -> None:
            stack.kill("listener")
            flow.goes_on(AWAY)
            stack.start("listener", "--no-recorder")

        def pbx_dies() -> None:
            happened, port = flow.happened(), flow.pbx.port
            flow.pbx.process.kill()
            flow.pbx.process.wait()
            flow.pbx = pbxs.enter_context(Counting(pace=PACE, port=port, first=happened + AWAY))

        def network_stands_still() -> None:
            relay.stall()
            wait_until(
                lambda: Gap.objects.filter(server=flow.server).open().exists(),
                seconds=90,
                what=lambda: f"the silence is noticed: {stack.log('listener')[-2000:]}",
            )
            relay.heal()

        def rubbish_comes() -> None:
            flow.pbx.rubbish()
            flow.goes_on(PACE)

        faults: dict[str, Callable[[], None]] = {
            "the listener was killed": listener_dies,
            "the PBX died": pbx_dies,
            "the PBX sent rubbish": rubbish_comes,
            "the network stood still": network_stands_still,
        }
        flow.is_well("the start")
        for fault, happens in faults.items():
            happens()
            flow.is_well(fault)
        happened = flow.end()
        lost = check_gaps(flow.server, flow.stored(), happened)
        assert lost, "nothing is missing, so nothing was broken"
