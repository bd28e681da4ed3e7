"""The circuit of a server that can't be reached."""

from __future__ import annotations

import pytest
from django.utils import timezone

from ami_integration.servers import circuits
from ami_integration.servers.circuits import FAILURES, Circuit
from ami_integration.servers.waiting import CircuitOpen
from tests.polling import wait_until
from tests.processes import Valkey


@pytest.fixture(autouse=True)
def _clean(action_sessions: Valkey) -> None:
    pass


@pytest.fixture
def circuit() -> Circuit:
    return Circuit(1, "Berlin", "here")


def fail(circuit: Circuit, times: int = FAILURES) -> None:
    for _ in range(times):
        circuit.ask()
        circuit.failed("Nothing listens there.")


def may_try(circuit: Circuit) -> bool:
    try:
        circuit.ask()
    except CircuitOpen:
        return False
    return True


def test_some_failures_in_a_row_open_it_and_it_says_why_and_until_when(circuit: Circuit) -> None:
    fail(circuit)
    with pytest.raises(CircuitOpen, match="Berlin can't be reached.*Nothing listens there") as refused:
        circuit.ask()
    assert refused.value.retry_at is not None
    assert 3 < (refused.value.retry_at - timezone.now()).total_seconds() <= 5


def test_a_success_between_failures_keeps_it_closed(circuit: Circuit) -> None:
    fail(circuit, FAILURES - 1)
    assert circuit.ask().failures == FAILURES - 1
    circuit.succeeded()
    fail(circuit, FAILURES - 1)
    assert may_try(circuit)


def test_after_the_pause_one_is_let_through_and_its_success_closes_it(
    circuit: Circuit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuits, "PAUSE_FIRST", 0.2)
    fail(circuit)
    assert not may_try(circuit)
    wait_until(lambda: may_try(circuit), seconds=5, what="the pause is over")
    assert not may_try(circuit)  # one probe at a time
    circuit.succeeded()
    assert circuit.ask().failures == 0


def test_a_probe_that_fails_doubles_the_pause(circuit: Circuit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuits, "PAUSE_FIRST", 0.2)
    fail(circuit)
    wait_until(lambda: may_try(circuit), seconds=5, what="the pause is over")
    monkeypatch.setattr(circuits, "PAUSE_FIRST", 10.0)
    circuit.failed("Still nothing.")
    with pytest.raises(CircuitOpen, match="Still nothing") as refused:
        circuit.ask()
    assert refused.value.retry_at is not None
    assert 15 < (refused.value.retry_at - timezone.now()).total_seconds() <= 20


def test_those_who_fail_together_are_one_step(circuit: Circuit) -> None:
    for _ in range(FAILURES + 5):
        circuit.failed("Nothing listens there.")
    with pytest.raises(CircuitOpen) as refused:
        circuit.ask()
    assert refused.value.retry_at is not None
    assert (refused.value.retry_at - timezone.now()).total_seconds() <= 5


def test_a_probe_that_did_not_try_makes_room_for_the_next(
    circuit: Circuit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuits, "PAUSE_FIRST", 0.2)
    fail(circuit)
    wait_until(lambda: may_try(circuit), seconds=5, what="the pause is over")
    circuit.abstained()
    assert circuit.ask().probe


def test_another_address_or_account_begins_with_a_closed_one(circuit: Circuit) -> None:
    fail(circuit)
    assert not may_try(circuit)
    assert may_try(Circuit(1, "Berlin", "corrected"))
    assert may_try(Circuit(2, "Munich", "here"))
