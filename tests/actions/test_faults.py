"""What becomes of a run when its worker, the broker or its PBX dies: every fault at every step.

A PBX stops at one step of one run; then the fault happens to all of them at once, and the table says how each
has to end. None is lost, and none is carried out twice: each PBX counts what it was sent.

===========  =====================================================  ================  ===========  ===========
Step         The run, just then                                     Worker killed     Broker away  PBX gone
===========  =====================================================  ================  ===========  ===========
queued       its message is not yet there                           another takes it  succeeds     unsent
connecting   the PBX accepted the connection and said nothing       another takes it  succeeds     unsent
logging in   the challenge is asked for                             another takes it  succeeds     unsent
sent         the PBX has the action and hasn't answered             unknown           succeeds     unknown
list begun   half of a list has come                                unknown           succeeds     unknown
ringing      an Originate is accepted, its call rings               unknown           succeeds     unknown
storing      the answer is there, the database holds up the result  unknown           succeeds     succeeds
===========  =====================================================  ================  ===========  ===========
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from ami_integration.actions import services
from ami_integration.actions.models import ActionRun
from ami_integration.actions.watch import runs_reap, runs_sweep
from ami_integration.ami import TCP
from tests.ami.scripted import BANNER, Peer, scripted
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
Status = ActionRun.Status

QUEUED, CONNECTING, LOGGING_IN, SENT, LIST, RINGING, STORING = STEPS = (
    *("queued", "connecting", "logging in", "sent", "list begun"),
    *("ringing", "storing"),
)
ACTIONS = {LIST: "CoreShowChannels", RINGING: "Originate"}
UNSENT, SUCCEEDS, UNKNOWN = Status.FAILED, Status.SUCCEEDED, Status.UNKNOWN
EXPECTED: dict[str, dict[str, str]] = {
    "worker": dict(zip(STEPS, [SUCCEEDS] * 3 + [UNKNOWN] * 4, strict=True)),
    "broker": dict.fromkeys(STEPS, SUCCEEDS),
    "PBX": dict(zip(STEPS, [UNSENT] * 3 + [UNKNOWN] * 3 + [SUCCEEDS], strict=True)),
}


class Stopping:
    """A PBX that stops at one step of its first session, until it is told to go on, or to be gone."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.action = ACTIONS.get(step, "CoreStatus")
        self.sent = 0
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.gone = False
        self._first = True

    def _reach(self, step: str) -> None:
        if self._first and step == self.step:
            self._first = False
            self.reached.set()
            self.go_on.wait(120)
        if self.gone:
            raise EOFError

    def script(self, peer: Peer) -> None:
        self._reach(CONNECTING)
        peer.say(BANNER)
        challenge = peer.hear()
        self._reach(LOGGING_IN)
        peer.answer(challenge, "Challenge: 123456789")
        peer.answer(peer.hear(), "Message: Authentication accepted")
        while True:
            action = peer.hear()
            if action.name != self.action:
                peer.answer(action, "Message: fine")  # Events, Ping
                continue
            self.sent += 1
            self._reach(SENT)
            self._answer(peer, action.action_id or "")

    def _answer(self, peer: Peer, action_id: str) -> None:
        def say(*lines: str) -> None:
            peer.say("".join(f"{line}\r\n" for line in [*lines, f"ActionID: {action_id}", ""]).encode())

        if self.action == "CoreShowChannels":
            say("Response: Success", "EventList: start")
            say("Event: CoreShowChannel", "Channel: one")
            self._reach(LIST)
            say("Event: CoreShowChannelsComplete", "EventList: Complete", "ListItems: 1")
        elif self.action == "Originate":
            say("Response: Success", "Message: Originate successfully queued")
            say("Event: Newstate", "ChannelState: 5", "Channel: Local/1", f"Uniqueid: amiweb-{action_id}")
            self._reach(RINGING)
            say("Event: OriginateResponse", "Response: Success", "Reason: 4", "Channel: Local/1")
        elif self.step == STORING:
            # The row is locked by the test before the answer goes out.
            self._reach(STORING)
            say("Response: Success")
        else:
            say("Response: Success")


@contextlib.contextmanager
def pbxs() -> Iterator[dict[str, tuple[Stopping, TCP]]]:
    """One PBX for each step, at which it stops."""
    with contextlib.ExitStack() as open_pbxs:
        made = {}
        for step in STEPS:
            pbx = Stopping(step)
            made[step] = (pbx, open_pbxs.enter_context(scripted(*[pbx.script] * 6)))
        try:
            yield made
        finally:
            for pbx, _ in made.values():
                pbx.go_on.set()


class Locked:
    """The row of a run is locked in the database, as by a statement that takes long, until it is let go."""

    def __init__(self, run: ActionRun) -> None:
        self._let_go = threading.Event()
        self._held = threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(run.pk,), daemon=True)
        self._thread.start()
        assert self._held.wait(30)

    def _hold(self, run_id: int) -> None:
        try:
            with transaction.atomic():
                ActionRun.objects.select_for_update().get(pk=run_id)
                self._held.set()
                self._let_go.wait(120)
        finally:
            connection.close()

    def let_go(self) -> None:
        self._let_go.set()
        self._thread.join(30)


def submit(pbx: Stopping, transport: TCP) -> ActionRun:
    headers = [("Channel", "Local/1"), ("Timeout", "60000")] if pbx.action == "Originate" else []
    return services.run_submit(
        user=None,
        origin="command",
        server=make_server(transport, name=pbx.step),
        action=pbx.action,
        headers=headers,
    )


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(cursor.fetchone()[0])


def worker_dies(stack: Stack, going_on: Callable[[], None]) -> None:
    stack.kill("worker")
    going_on()
    # What the listener does, as if the time after which a worker counts as dead were over.
    runs_reap(now=timezone.now() + timedelta(seconds=settings.AMIWEB_HEARTBEAT_LOST + 1))
    stack.start("worker")


def broker_dies(stack: Stack, going_on: Callable[[], None]) -> None:
    stack.valkey.kill()
    going_on()
    stack.valkey.start()


@pytest.mark.parametrize("fault", EXPECTED)
def test_every_step_survives_the_end_of(stack: Stack, fault: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("a result that waits for a row's lock needs a database that locks rows: PostgreSQL")
    with pbxs() as made:
        stack.start("worker")
        runs = {step: submit(*made[step]) for step in STEPS if step != QUEUED}
        for step, run in runs.items():
            pbx = made[step][0]
            assert pbx.reached.wait(60), f"{step}: {run.pk}; the worker:\n{stack.log('worker')}"
        locked = Locked(runs[STORING])
        made[STORING][0].go_on.set()
        wait_until(waits_for_a_lock, seconds=30, what="the result waits for the database")

        def going_on() -> None:
            # Meanwhile somebody submits another one: nobody can take it, or nobody hears of it.
            runs[QUEUED] = submit(*made[QUEUED])
            for pbx, _ in made.values():
                pbx.go_on.set()
            locked.let_go()

        if fault == "worker":
            worker_dies(stack, going_on)
        elif fault == "broker":
            broker_dies(stack, going_on)
        else:
            for pbx, _ in made.values():
                pbx.gone = True
            going_on()

        def ended() -> bool:
            runs_sweep(now=timezone.now() + timedelta(seconds=10))  # what the listener does
            for run in runs.values():
                run.refresh_from_db()
            return all(run.ended for run in runs.values())

        def what() -> str:
            states = {step: (run.status, run.reason, run.waiting_for) for step, run in runs.items()}
            return f"all runs end: {states}; the worker:\n{stack.log('worker')}"

        wait_until(ended, seconds=120, what=what, step=0.5)
        assert {step: runs[step].status for step in STEPS} == EXPECTED[fault], what()
        sent = {step: made[step][0].sent for step in STEPS}
        assert sent == {step: 0 if status == UNSENT else 1 for step, status in EXPECTED[fault].items()}
        for step in STEPS:
            if runs[step].status == UNSENT:
                assert runs[step].reason.startswith("Not sent: "), runs[step].reason
            elif runs[step].status == UNKNOWN:
                assert "before you run it again" in runs[step].reason or "is not known" in runs[step].reason
