from __future__ import annotations

import random
from collections.abc import Collection, Iterable

import pytest
import redis

from ami_integration.events.fleet import LISTENERS, Fleet
from ami_integration.events.stream import LEASES, START, WISHES, WRITTEN, Mark
from ami_integration.events.writer import Packed, StreamWriter
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


def test_of_what_is_free_no_more_is_claimed_than_is_asked_for(redis_client: redis.Redis) -> None:
    one, other = Fleet(redis_client, ttl=60), Fleet(redis_client, ttl=60)
    assert set(one.claim([2, 1], most=1)) == {2}
    assert set(other.claim([1, 2, 3, 4], most=2)) == {1, 3}
    assert other.claim([4], most=0) == {}


def test_a_beat_takes_the_wishes_for_our_servers_once_and_leaves_those_for_others(
    redis_client: redis.Redis,
) -> None:
    one, other = Fleet(redis_client, ttl=60), Fleet(redis_client, ttl=60)
    ours = {server_id: claim.epoch for server_id, claim in one.claim([1, 2]).items()}
    theirs = {server_id: claim.epoch for server_id, claim in other.claim([3]).items()}
    redis_client.hset(WISHES, mapping={"2": 77, "3": 88, "4": 99})
    assert one.beat(ours).wishes == {2: 77}
    assert one.beat(ours).wishes == {}
    redis_client.hset(LEASES, "1", "99 99999999999999 another")
    redis_client.hset(WISHES, "1", 55)
    assert one.beat(ours).wishes == {}  # it is another one's now
    assert other.beat(theirs).wishes == {3: 88}
    assert redis_client.hgetall(WISHES) == {b"1": b"55", b"4": b"99"}


class Player:
    """A listener as far as sharing goes: what it knows, what it has, and its beat."""

    def __init__(self, client: redis.Redis, servers: Collection[int]) -> None:
        self.fleet = Fleet(client, ttl=60)
        self.writer = StreamWriter(client, maxlen=10)
        self.servers = list(servers)
        self.epochs: dict[int, int] = {}

    def look(self, servers: Collection[int]) -> None:
        self.servers = list(servers)
        self.give_up([server_id for server_id in self.epochs if server_id not in servers])

    def give_up(self, server_ids: Iterable[int]) -> None:
        self.writer.write(
            [Packed(server_id, self.epochs.pop(server_id), Mark(), b"") for server_id in server_ids]
        )

    def turn(self) -> None:
        beat = self.fleet.beat(self.epochs)
        assert not beat.lost
        share = self.fleet.share(beat.listeners, self.servers, sorted(self.epochs))
        self.give_up(share.surplus)
        claimed = self.fleet.claim(share.wanted, most=share.most)
        self.epochs |= {server_id: claim.epoch for server_id, claim in claimed.items()}


class Players:
    """Listeners that come and go, and a list of servers that each of them reads when it likes."""

    def __init__(self, client: redis.Redis, seed: int) -> None:
        self.client = client
        self.chance = random.Random(seed)  # noqa: S311 - a test's
        self.servers = set(range(1, self.chance.randrange(2, 30)))
        self.players: list[Player] = []

    def join(self) -> Player:
        self.players.append(Player(self.client, self.servers))
        return self.players[-1]

    def leave(self) -> Player:
        gone = self.players.pop(self.chance.randrange(len(self.players)))
        gone.fleet.leave(gone.epochs)  # as when its leases end
        return gone

    def change_servers(self) -> None:
        for _ in range(self.chance.randrange(1, 4)):
            if self.chance.random() < 0.5 and self.servers:
                self.servers.discard(self.chance.choice(sorted(self.servers)))
            else:
                self.servers.add(self.chance.randrange(100, 1000))

    def settle(self) -> None:
        """Three turns of everybody, in any order: who is there, what is handed over, what is claimed."""
        for _ in range(3):
            self.chance.shuffle(self.players)
            for player in self.players:
                player.turn()

    def owners(self) -> dict[int, str]:
        held = [(server_id, player.fleet.token) for player in self.players for server_id in player.epochs]
        assert len(dict(held)) == len(held), "a server has two owners"
        return dict(held)

    def counts(self) -> list[int]:
        """In the order of the tokens."""
        players = sorted(self.players, key=lambda player: player.fleet.token)
        return [len(player.epochs) for player in players]

    def check_even(self) -> None:
        each, more = divmod(len(self.servers), len(self.players))
        assert set(self.owners()) == self.servers
        assert self.counts() == [each + (place < more) for place in range(len(self.players))]


@pytest.mark.parametrize("seed", range(15))
def test_whoever_comes_and_goes_all_have_their_part_and_nothing_moves_that_need_not(
    seed: int, redis_client: redis.Redis
) -> None:
    players = Players(redis_client, seed)
    players.join()
    players.settle()
    for _ in range(12):
        before = players.owners()
        happens = players.chance.choice(["join", "join", "leave", "servers"])
        if happens == "servers":
            players.change_servers()
            for player in list(players.players):  # one after the other reads the list
                known = players.owners()
                players.settle()
                stays = players.owners()
                players.settle()
                assert players.owners() == stays, f"they take turns, from {known}"
                player.look(players.servers)
            players.settle()
        elif happens == "leave" and len(players.players) > 1:
            gone = players.leave()
            players.settle()
            moved = {server_id for server_id, owner in players.owners().items() if before[server_id] != owner}
            assert moved == set(gone.epochs)
        else:
            new = players.join()
            players.settle()
            moved = {server_id for server_id, owner in players.owners().items() if before[server_id] != owner}
            assert moved == set(new.epochs)
        players.check_even()


def test_of_two_servers_each_of_two_listeners_gets_one(redis_client: redis.Redis) -> None:
    for _ in range(10):
        redis_client.flushall()
        players = Players(redis_client, 0)
        players.servers = {1, 2}
        players.join()
        players.settle()
        players.join()
        players.settle()
        assert players.counts() == [1, 1]
