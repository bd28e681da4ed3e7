from __future__ import annotations

import time

import pytest
import redis

from ami_integration.events.ids import SLOTS
from ami_integration.events.leases import Lease, NoSlotFree, Slot
from tests.polling import wait_until


def test_only_one_owns_a_lease(redis_client: redis.Redis) -> None:
    one, other = Lease(redis_client, "x"), Lease(redis_client, "x")
    assert one.claim()
    assert not other.claim()
    assert one.renew()
    one.release()
    assert other.claim()
    assert not one.renew()


def test_a_lease_that_is_not_renewed_passes_on_with_a_greater_epoch(redis_client: redis.Redis) -> None:
    one, other = Lease(redis_client, "x", ttl=0.2), Lease(redis_client, "x")
    assert one.claim()
    epoch = one.epoch
    wait_until(other.claim, seconds=3, what="the lease ends")
    assert other.epoch > epoch
    assert not one.renew()
    assert one.epoch == 0


def test_claiming_again_what_is_owned_keeps_the_epoch(redis_client: redis.Redis) -> None:
    lease = Lease(redis_client, "x")
    assert lease.claim()
    epoch = lease.epoch
    assert lease.claim()
    assert lease.epoch == epoch


def test_a_lease_that_nobody_took_meanwhile_goes_on(redis_client: redis.Redis) -> None:
    lease = Lease(redis_client, "x")
    assert lease.claim()
    redis_client.delete(lease.key)
    assert lease.renew()
    redis_client.flushall()  # Valkey came back with nothing
    assert lease.renew()
    assert not Lease(redis_client, "x").claim()


def test_releasing_what_another_one_owns_changes_nothing(redis_client: redis.Redis) -> None:
    one, other = Lease(redis_client, "x"), Lease(redis_client, "x")
    assert one.claim()
    other.release()
    assert one.renew()


def test_listeners_get_different_slots(redis_client: redis.Redis) -> None:
    slots = {Slot.claim(redis_client).number for _ in range(SLOTS)}
    assert slots == set(range(SLOTS))
    with pytest.raises(NoSlotFree, match="All 512 listener slots are taken"):
        Slot.claim(redis_client)


def test_a_slot_is_not_given_again_for_a_time_in_which_it_was_used(redis_client: redis.Redis) -> None:
    for number in range(SLOTS):
        redis_client.set(f"amiweb:lease:slot:{number}:until", int((time.time() + 60) * 1000))
    with pytest.raises(NoSlotFree):
        Slot.claim(redis_client)
    slot = Slot.claim(redis_client, clock=lambda: time.time() + 61)
    assert slot.renew(used_until=0)


def test_a_slot_that_another_one_took_is_lost(redis_client: redis.Redis) -> None:
    slot = Slot.claim(redis_client)
    redis_client.set(f"amiweb:lease:slot:{slot.number}", "another")
    assert not slot.renew(used_until=0)
    slot.release()
    assert redis_client.get(f"amiweb:lease:slot:{slot.number}") == b"another"
