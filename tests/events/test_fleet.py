from __future__ import annotations

from collections import Counter

import redis

from ami_integration.events.fleet import LISTENERS, Fleet
from ami_integration.events.stream import LEASES, START, WRITTEN, Mark
from tests.polling import wait_until


def test_a_server_has_one_owner_until_its_lease_ends(redis_client: redis.Redis) -> None:
    one, other = Fleet(redis_client, ttl=0.3), Fleet(redis_client, ttl=60)
    held = one.claim([1, 2])
    assert set(held) == {1, 2}
    assert other.claim([1, 2]) == {}
    taken = wait_until(lambda: other.claim([1]), seconds=5, what="the lease ends")
    assert taken[1].epoch > held[1].epoch
    beat = one.beat({server_id: claim.epoch for server_id, claim in held.items()})
    assert beat.lost == {1}  # the other one ended as well, but nobody took it


def test_whoever_claims_a_server_learns_where_its_chain_stands(redis_client: redis.Redis) -> None:
    redis_client.hset(WRITTEN, "2", Mark(77, 5).encode())
    held = Fleet(redis_client, ttl=60).claim([1, 2])
    assert (held[1].mark, held[2].mark) == (START, Mark(77, 5))


def test_a_beat_keeps_what_valkey_has_lost(redis_client: redis.Redis) -> None:
    one, other = Fleet(redis_client, ttl=60), Fleet(redis_client, ttl=60)
    epochs = {server_id: claim.epoch for server_id, claim in one.claim([1]).items()}
    redis_client.delete(LEASES, LISTENERS)
    assert one.beat(epochs).lost == frozenset()
    assert other.claim([1]) == {}


def test_whoever_leaves_lets_the_next_one_in_at_once(redis_client: redis.Redis) -> None:
    one, other = Fleet(redis_client, ttl=60), Fleet(redis_client, ttl=60)
    epochs = {server_id: claim.epoch for server_id, claim in one.claim([1, 2]).items()}
    assert set(one.beat(epochs).listeners) == {one.token}
    assert set(other.beat({}).listeners) == {one.token, other.token}
    one.leave(epochs)
    assert other.beat({}).listeners == (other.token,)
    taken = other.claim([1, 2])
    assert {server_id: claim.epoch > epochs[server_id] for server_id, claim in taken.items()} == {
        1: True,
        2: True,
    }


def test_leaving_takes_nothing_from_whoever_has_it_meanwhile(redis_client: redis.Redis) -> None:
    one, other = Fleet(redis_client, ttl=0.1), Fleet(redis_client, ttl=60)
    epochs = {server_id: claim.epoch for server_id, claim in one.claim([1]).items()}
    wait_until(lambda: other.claim([1]), seconds=5, what="the lease ends")
    one.leave(epochs)
    assert Fleet(redis_client, ttl=60).claim([1]) == {}


def test_a_listener_without_a_beat_is_not_counted_any_more(redis_client: redis.Redis) -> None:
    Fleet(redis_client, ttl=0.1).beat({})
    other = Fleet(redis_client, ttl=60)
    wait_until(lambda: other.beat({}).listeners == (other.token,), seconds=5, what="it is forgotten")


def test_listeners_agree_on_whose_a_server_is_and_a_new_one_moves_only_its_own_part(
    redis_client: redis.Redis,
) -> None:
    fleets = [Fleet(redis_client, ttl=60) for _ in range(4)]
    servers = range(1, 501)
    tokens = [fleet.token for fleet in fleets]
    three = {server: fleet.token for fleet in fleets[:3] for server in fleet.share(tokens[:3], servers)}
    four = {server: fleet.token for fleet in fleets for server in fleet.share(tokens, servers)}
    assert sorted(three) == sorted(four) == list(servers)
    assert {four[server] for server in servers if four[server] != three[server]} == {tokens[3]}
    shares = Counter(four.values())
    assert min(shares.values()) > 75  # of 125 on the average
