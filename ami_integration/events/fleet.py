"""How several listeners share a fleet of PBXs: a lease per server in Valkey, and who should have which.

Each listener gives a sign of life, the *beat*, which renews the leases of all its servers in one call and
tells who else lives. From that everybody computes alike to whom each server belongs (rendezvous hashing: a
listener that comes or goes moves its own share and nothing else). Whoever has a server that belongs to
another hands it over; whoever is without one of theirs claims it as soon as it is free.

A lease carries an *epoch* that grows with each change of owner, the fencing token: an owner that was stopped
and wakes up after its time writes nothing any more, since its writes name the old epoch (see
`ami_integration.events.stream`). Where Valkey alone was away, or has lost everything, so that nobody could
take a lease, its owner simply goes on.

Everything here is blocking: asyncio code calls it in a thread. Times are Valkey's, so listeners needn't
agree on the time.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import redis

from ami_integration.events.stream import LEASES, START, WRITTEN, Mark

#: Sorted set: a listener's token → until when it counts as alive (milliseconds).
LISTENERS = "amiweb:listeners"

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# A lease is "epoch until token". One that ended and was taken by nobody, or that Valkey lost, is renewed.
_BEAT = f"""
{_NOW}
local lasts = string.format('%.0f', now + ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], lasts, ARGV[1])
local lost = {{}}
for i = 3, #ARGV, 2 do
  local lease = redis.call('HGET', KEYS[2], ARGV[i])
  if lease and lease:match('^%d+') ~= ARGV[i + 1] then
    lost[#lost + 1] = ARGV[i]
  else
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1] .. ' ' .. lasts .. ' ' .. ARGV[1])
  end
end
return {{lost, redis.call('ZRANGE', KEYS[1], 0, -1)}}
"""

_CLAIM = f"""
{_NOW}
local lasts = string.format('%.0f', now + ARGV[2])
local got = {{}}
for i = 3, #ARGV do
  local lease = redis.call('HGET', KEYS[1], ARGV[i])
  local epoch, lives, owner = 0, 0, ''
  if lease then
    epoch, lives, owner = lease:match('^(%d+) (%d+) (.*)$')
  end
  if tonumber(lives) <= now or owner == ARGV[1] then
    local mark = redis.call('HGET', KEYS[2], ARGV[i]) or ''
    epoch = string.format('%.0f', epoch + 1)
    redis.call('HSET', KEYS[1], ARGV[i], epoch .. ' ' .. lasts .. ' ' .. ARGV[1])
    got[#got + 1] = {{ARGV[i], epoch, mark}}
  end
end
return got
"""

_LEAVE = """
redis.call('ZREM', KEYS[1], ARGV[1])
for i = 2, #ARGV, 2 do
  local lease = redis.call('HGET', KEYS[2], ARGV[i])
  if lease and lease:match('^%d+') == ARGV[i + 1] then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1] .. ' 0 ')
  end
end
"""


@dataclass(frozen=True)
class Beat:
    """What a sign of life brought: the servers that somebody else has now, and who lives."""

    lost: frozenset[int]
    listeners: tuple[str, ...]


@dataclass(frozen=True)
class Claimed:
    """A server that is ours: the epoch of its lease, and where its chain stands."""

    epoch: int
    mark: Mark


class Fleet:
    """One listener's part in the fleet.

    Args:
        client: a blocking Valkey client.
        ttl: seconds after which a listener without a beat counts as dead, and its servers are free.
    """

    def __init__(self, client: "redis.Redis", *, ttl: float) -> None:
        self.token = secrets.token_hex(16)
        self.ttl = ttl
        self._client = client

    def beat(self, epochs: Mapping[int, int]) -> Beat:
        """Give a sign of life and keep these servers (with their epochs). Raises redis.RedisError."""
        found: Any = self._client.eval(
            _BEAT, 2, LISTENERS, LEASES, self.token, self._milliseconds, *_flat(epochs)
        )
        lost, listeners = found
        return Beat(frozenset(map(int, lost)), tuple(token.decode() for token in listeners))

    def claim(self, server_ids: Iterable[int]) -> dict[int, Claimed]:
        """Take those of these servers that nobody has now. Raises redis.RedisError if Valkey is away."""
        found: Any = self._client.eval(
            _CLAIM, 2, LEASES, WRITTEN, self.token, self._milliseconds, *server_ids
        )
        return {
            int(server_id): Claimed(int(epoch), Mark.decode(mark) if mark else START)
            for server_id, epoch, mark in found
        }

    def leave(self, epochs: Mapping[int, int]) -> None:
        """Count as alive no more, and let others have these servers at once. Raises redis.RedisError."""
        self._client.eval(_LEAVE, 2, LISTENERS, LEASES, self.token, *_flat(epochs))

    def share(self, listeners: Collection[str], server_ids: Iterable[int]) -> set[int]:
        """Those of these servers that belong to this listener, where these ones live."""
        rivals = [token for token in listeners if token != self.token]
        return {
            server_id
            for server_id in server_ids
            if all(_weight(self.token, server_id) > _weight(rival, server_id) for rival in rivals)
        }

    @property
    def _milliseconds(self) -> int:
        return int(self.ttl * 1000)


def _flat(epochs: Mapping[int, int]) -> list[int]:
    return [number for pair in epochs.items() for number in pair]


def _weight(token: str, server_id: int) -> bytes:
    return blake2b(f"{token} {server_id}".encode(), digest_size=16).digest()
