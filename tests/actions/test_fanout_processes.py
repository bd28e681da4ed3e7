"""Fan-outs through real workers: their order holds, and a killed one loses and doubles nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from ami_integration.actions.models import FanOut
from ami_integration.actions.plans import Plan
from ami_integration.actions.submission import request_submit
from ami_integration.actions.watch import runs_reap, runs_sweep
from ami_integration.servers.models import Server
from tests.actions.asking import look_at
from tests.actions.factories import make_operator
from tests.ami.scripted import Peer, served
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@contextmanager
def fleet(*scripts: Callable[[Peer], None]) -> Iterator[list[Server]]:
    """A PBX for each script, which it plays for every session."""
    with ExitStack() as stack:
        yield [
            make_server(stack.enter_context(served(script)), name=f"PBX {number}")
            for number, script in enumerate(scripts)
        ]


def answers(heard: Counter[str], *, number: int, response: str = "Success") -> Callable[[Peer], None]:
    """A PBX that counts what it is asked, and always says the same."""

    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            action = peer.hear()
            if action.name == "QueuePause":
                heard[f"PBX {number}"] += 1
            peer.answer(action, "Message: as ever", response=response)

    return script


def submitted(servers: list[Server], **plan: object) -> FanOut:
    ada = make_operator()
    preview = look_at(ada, servers, plan=Plan(**plan))  # type: ignore[arg-type]
    fanout = request_submit(user=ada, token=preview.token, confirmed=True, typed=preview.phrase).fanout
    assert fanout is not None
    return fanout


def statuses(fanout: FanOut) -> list[str]:
    return list(fanout.runs.order_by("pk").values_list("status", flat=True))


def wait_for_the_end(fanout: FanOut, stack: Stack, *, seconds: float, step: float = 0.1) -> None:
    def over() -> bool:
        # What the listener does every few seconds.
        runs_sweep()
        runs_reap()
        fanout.refresh_from_db()
        return fanout.status != FanOut.Status.ACTIVE

    def what() -> str:
        return f"the fan-out ends (its runs: {statuses(fanout)}); the worker:\n{stack.log('worker')}"

    wait_until(over, seconds=seconds, what=what, step=step)


def test_a_serial_fan_out_goes_on_over_a_failure_and_asks_each_once(stack: Stack) -> None:
    heard: Counter[str] = Counter()
    scripts = [answers(heard, number=n, response="Error" if n == 1 else "Success") for n in range(3)]
    stack.start("worker")
    with fleet(*scripts) as servers:
        fanout = submitted(servers, mode="serial")
        wait_for_the_end(fanout, stack, seconds=60)
    assert statuses(fanout) == ["succeeded", "failed", "succeeded"]
    runs = list(fanout.runs.order_by("pk"))
    for before, after in zip(runs, runs[1:], strict=False):
        assert before.finished_at and after.started_at and before.finished_at <= after.started_at
    assert heard == {"PBX 0": 1, "PBX 1": 1, "PBX 2": 1}


def test_the_first_one_that_fails_keeps_the_rest_from_being_asked(stack: Stack) -> None:
    heard: Counter[str] = Counter()
    scripts = [answers(heard, number=n, response="Error" if n == 0 else "Success") for n in range(3)]
    stack.start("worker")
    with fleet(*scripts) as servers:
        fanout = submitted(servers, mode="first_then_rest")
        wait_for_the_end(fanout, stack, seconds=60)
    assert statuses(fanout) == ["failed", "cancelled", "cancelled"]
    assert heard == {"PBX 0": 1}


def test_a_worker_killed_in_the_middle_loses_no_run_and_sends_none_twice(stack: Stack) -> None:
    heard: Counter[str] = Counter()
    reached = threading.Event()

    def hangs(peer: Peer) -> None:
        peer.log_in()
        while True:
            action = peer.hear()
            if action.name == "QueuePause":
                heard["PBX 1"] += 1
                reached.set()
                peer.hear()  # and answers nothing
            peer.answer(action, "Ping: Pong")

    scripts = [answers(heard, number=0), hangs, answers(heard, number=2)]
    stack.start("worker")
    with fleet(*scripts) as servers:
        fanout = submitted(servers, mode="serial")
        assert reached.wait(60)
        stack.kill("worker")
        assert statuses(fanout) == ["succeeded", "running", "queued"]
        stack.start("worker")
        wait_for_the_end(fanout, stack, seconds=120, step=1)
    assert statuses(fanout) == ["succeeded", "unknown", "succeeded"]
    assert heard == {"PBX 0": 1, "PBX 1": 1, "PBX 2": 1}
