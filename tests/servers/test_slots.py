"""Leases of action sessions, over all workers."""

from __future__ import annotations

import pytest
import redis

from ami_integration.servers import slots
from ami_integration.servers.slots import slot_release, slot_take, slots_renew, slots_used, waiter_next
from tests.polling import wait_until
from tests.processes import Valkey


@pytest.fixture(autouse=True)
def _clean(action_sessions: Valkey) -> None:
    pass


def take(token: str, *, limit: int = 2, server_id: int = 1, waiter: str = "") -> bool:
    return slot_take(server_id=server_id, token=token, limit=limit, waiter=waiter)


def test_a_server_has_so_many_sessions_and_another_server_its_own() -> None:
    assert [take(token) for token in "abc"] == [True, True, False]
    assert take("d", server_id=2)
    slot_release(server_id=1, token="a")
    assert take("c")
    assert slots_used(server_id=1) == 2


def test_a_lease_that_nobody_renews_ends_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "LEASE_SECONDS", 0.2)
    assert take("a", limit=1)
    assert not take("b", limit=1)
    wait_until(lambda: take("b", limit=1), seconds=5, what="the lease of a dead process ends")


def test_a_renewed_lease_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "LEASE_SECONDS", 0.3)
    assert take("a", limit=1)
    monkeypatch.setattr(slots, "LEASE_SECONDS", 60.0)
    assert slots_renew(server_id=1, tokens=["a"]) == 0
    ended: list[bool] = []
    with pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: ended or take("b", limit=1), seconds=0.6, what="a renewed lease ends")


def test_a_lease_that_valkey_forgot_is_renewed_since_its_session_is_there(action_sessions: Valkey) -> None:
    assert take("a", limit=1)
    action_sessions.flush()
    slots_renew(server_id=1, tokens=["a"])
    assert not take("b", limit=1)


def test_who_waits_is_found_in_the_order_of_coming_and_once() -> None:
    take("a", limit=1)
    for waiter in ("10", "11", "10"):
        assert not take("x", limit=1, waiter=waiter)
    assert slots_renew(server_id=1, tokens=["a"]) == 2
    assert [waiter_next(server_id=1) for _ in range(3)] == ["10", "11", None]


def test_who_gets_a_session_waits_no_longer() -> None:
    take("a", limit=1)
    assert not take("b", limit=1, waiter="10")
    slot_release(server_id=1, token="a")
    assert take("b", limit=1, waiter="10")
    assert waiter_next(server_id=1) is None


def test_with_valkey_away_nobody_gets_a_session(action_sessions: Valkey) -> None:
    action_sessions.kill()
    with pytest.raises(redis.RedisError):
        take("a")
