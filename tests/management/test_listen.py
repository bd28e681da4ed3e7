"""`manage.py listen` and `manage.py record` as processes, killed and stopped while events flow."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import redis
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from ami_integration.actions.models import ActionRun
from ami_integration.ami import TCP
from ami_integration.events.fleet import Fleet
from ami_integration.events.models import Event, Gap
from ami_integration.events.stream import valkey_client
from ami_integration.events.writer import StreamWriter
from ami_integration.management.commands import listen
from ami_integration.schedules.alerts.models import Alert
from ami_integration.servers.models import Server, ServerHealth
from tests.actions.factories import make_run
from tests.events.making import batch
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server
from tests.simulator.fixtures import Simulator

PROMISE = 5.0


class Counting:
    """A simulated PBX whose events carry numbers."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.sent = 0

    def say(self, count: int) -> None:
        for _ in range(count):
            self.simulator.emit("UserEvent", [("UserEvent", "Counted"), ("Number", str(self.sent))], "user")
            self.sent += 1


@pytest.fixture
def pbx(simulator: Simulator) -> Counting:
    return Counting(simulator)


@pytest.fixture
def server(stack: Stack, simulator: Simulator) -> Server:
    return make_server(
        TCP(simulator.host, simulator.port), username=simulator.username, secret=simulator.secret
    )


def numbers() -> list[int]:
    """In the order of the store."""
    events = Event.objects.filter(name="UserEvent").order_by("id").values_list("headers", flat=True)
    return [int(dict(headers)["Number"]) for headers in events]


def online(stack: Stack, server: Server) -> None:
    wait_until(
        lambda: ServerHealth.objects.filter(server=server, state="online").exists(),
        seconds=30,
        what=lambda: f"the listener is at work: {stack.log('listener')}",
    )


def missing_outside_gaps(pbx: Counting) -> list[int]:
    """Numbers that were sent and neither stored nor covered by a gap."""
    stored = {}
    for event in Event.objects.filter(name="UserEvent"):
        stored[int(dict(event.headers)["Number"])] = event.pk
    found = []
    for number in set(range(pbx.sent)) - stored.keys():
        before = max((pk for n, pk in stored.items() if n < number), default=0)
        after = min((pk for n, pk in stored.items() if n > number), default=2**63)
        if not Gap.objects.filter(after_id__lte=after, after_id__gte=before).exists():
            found.append(number)
    return found


def test_a_listener_stores_events_and_stops_within_seconds_when_it_is_asked_to(
    stack: Stack, server: Server, pbx: Counting
) -> None:
    process = stack.start("listener")
    online(stack, server)
    pbx.say(100)
    wait_until(lambda: len(numbers()) == 100, seconds=15, what=process.log)
    began = time.monotonic()
    assert stack.stop("listener") == 0
    assert time.monotonic() - began < 3 * PROMISE
    assert numbers() == list(range(100))
    gap = Gap.objects.get()
    assert (gap.reason, gap.ended_at) == ("listener_stopped", None)  # its last word was stored
    assert "Traceback" not in stack.log("listener")
    assert pbx.simulator.sessions == 0


def test_a_server_added_by_hand_is_marked_once_the_listener_meets_a_simulator_there(
    stack: Stack, server: Server
) -> None:
    assert not server.simulated
    stack.start("listener")
    wait_until(
        lambda: Server.objects.get().simulated,
        seconds=30,
        what=lambda: f"it is marked: {stack.log('listener')}",
    )


def test_ctrl_c_stops_it_as_well(stack: Stack, server: Server) -> None:
    process = stack.start("listener")
    online(stack, server)
    assert process.end(signal.SIGINT) == 0
    assert "Traceback" not in process.log()


def test_a_killed_listener_leaves_a_gap_and_nothing_missing_outside_it(
    stack: Stack, server: Server, pbx: Counting
) -> None:
    stack.start("listener")
    online(stack, server)
    pbx.say(50)
    wait_until(lambda: len(numbers()) == 50, seconds=15, what="the first events are stored")
    pbx.say(50)
    stack.kill("listener")
    pbx.say(50)
    stack.start("listener")  # it stands by until the lease of the dead one ends
    wait_until(lambda: pbx.simulator.sessions == 1, seconds=45, what=lambda: stack.log("listener"))
    wait_until(
        lambda: Gap.objects.filter(ended_at__isnull=False).exists(), seconds=15, what="the gap has ended"
    )
    pbx.say(50)
    wait_until(lambda: (numbers() or [0])[-1] == 199, seconds=15, what="events flow again")
    assert numbers() == sorted(set(numbers()))
    assert missing_outside_gaps(pbx) == []


def test_a_recorder_of_its_own_takes_over_when_the_listener_with_the_active_one_dies(
    stack: Stack, server: Server, client_of: Callable[[], redis.Redis]
) -> None:
    stack.start("listener")
    online(stack, server)
    stack.start("recorder")
    wait_until(lambda: "stands by" in stack.log("recorder"), seconds=15, what=lambda: stack.log("recorder"))
    stack.kill("listener")
    fleet = Fleet(client_of(), ttl=60)
    claimed = wait_until(lambda: fleet.claim([server.pk]), seconds=45, what="the dead listener's lease ends")
    sent = batch(server.pk)
    StreamWriter(client_of(), maxlen=1000).append([sent], epoch=claimed[server.pk].epoch)
    wait_until(
        lambda: Event.objects.filter(pk=sent.last_id).exists(),
        seconds=45,
        what=lambda: stack.log("recorder"),
    )
    assert stack.stop("recorder") == 0
    assert "Traceback" not in stack.log("recorder")


@pytest.fixture
def client_of(stack: Stack) -> Callable[[], redis.Redis]:
    return lambda: valkey_client(stack.valkey.url)


def test_the_listener_looks_after_the_action_log(stack: Stack, server: Server) -> None:
    old = timezone.now() - timedelta(hours=1)
    run = make_run(server=server, expires_at=old)
    ActionRun.objects.filter(pk=run.pk).update(created_at=old, rung_at=old)
    stack.start("listener")
    wait_until(
        lambda: ActionRun.objects.get(pk=run.pk).status == ActionRun.Status.EXPIRED,
        seconds=45,
        what=lambda: stack.log("listener"),
    )


def keep_up(stop: threading.Event) -> None:
    thread = threading.Thread(target=listen.upkeep, args=(stop,), kwargs={"interval": 0.01})
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [RuntimeError("a mistake"), OperationalError("too slow")])
def test_a_sweep_that_always_fails_does_not_keep_the_reaper_from_its_work(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()

    def sweep() -> None:
        raise error

    monkeypatch.setattr(listen, "runs_sweep", sweep)
    monkeypatch.setattr(listen, "runs_reap", stop.set)
    keep_up(stop)
    assert stop.is_set()


@pytest.mark.parametrize("lost", [0.2, 60])
def test_after_an_outage_of_the_database_workers_have_time_for_a_sign_of_life(
    lost: float, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.AMIWEB_HEARTBEAT_LOST = lost
    stop = threading.Event()
    sweeps: list[float] = []
    reaps: list[float] = []

    def sweep() -> None:
        sweeps.append(time.monotonic())
        if len(sweeps) <= 3:
            raise OperationalError("the database is away")
        if reaps or (lost > 1 and len(sweeps) > 10):
            stop.set()

    monkeypatch.setattr(listen, "_database_answers", lambda: len(sweeps) > 3)
    monkeypatch.setattr(listen, "runs_sweep", sweep)
    monkeypatch.setattr(listen, "runs_reap", lambda: reaps.append(time.monotonic()))
    keep_up(stop)
    if lost > 1:
        assert not reaps
    else:
        assert reaps[0] - sweeps[2] >= lost


@pytest.mark.django_db(transaction=True)
def test_the_upkeep_survives_whatever_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    calls: list[str] = []

    def sweep() -> None:
        calls.append("sweep")
        if len(calls) < 3:
            raise RuntimeError("a mistake")
        stop.set()

    monkeypatch.setattr(listen, "runs_sweep", sweep)
    monkeypatch.setattr(listen, "runs_reap", lambda: None)
    keep_up(stop)
    assert len(calls) == 3
    assert caplog.text.count("a mistake") >= 1
    assert "over after" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_the_upkeep_lets_old_runs_and_alerts_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    old = timezone.now() - timedelta(days=91)
    make_run(status="succeeded", created_at=old, finished_at=old)
    Alert.objects.create(schedule_name="Nightly", kind="late", opened_at=old, closed_at=old)
    stop = threading.Event()
    monkeypatch.setattr(listen, "catalogues_sweep", stop.set)
    keep_up(stop)
    assert not ActionRun.objects.exists()
    assert not Alert.objects.exists()


def test_a_listener_without_valkey_says_so_once_and_waits(stack: Stack, server: Server) -> None:
    stack.valkey.stop()
    process = stack.start("listener")
    wait_until(lambda: "Valkey is away" in process.log(), seconds=30, what=process.log)
    stack.valkey.start()
    online(stack, server)
    assert process.log().count("the listener waits for it") == 2  # the beginning and the end
    assert "Traceback" not in process.log()


async def test_a_listener_that_drops_events_says_so_as_long_as_that_is_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status = {"online": 1, "servers": 1, "events_per_second": 5.0, "listeners": 1, "lag": 0.0, "waiting": 0}
    status["dropped"] = 3
    tells, loop = listen.Tells(lambda: status), asyncio.get_running_loop()
    (fault,) = (await asyncio.to_thread(tells.details, loop)).faults
    assert "drops events, 3 so far" in fault
    monkeypatch.setattr(listen, "DROPPED_SECONDS", 0.0)
    assert (await asyncio.to_thread(tells.details, loop)).faults == ()
