"""How several listeners share a fleet of PBXs: a lease per server in Valkey, and how many each should have.

Each listener gives a sign of life, the *beat*, which renews the leases of all its servers in one call and
tells who else lives. From that everybody computes alike how many servers each has: the same number, and the
first of them, in the order of their tokens, one more where it doesn't come out even. Whoever has more hands
over what is too much; whoever has fewer claims what is free, up to that number.

Which server is whose follows from nothing else, so nothing else moves: a listener that comes gets its number
and no more, what one leaves behind is all that is taken. Nobody hands over what they have claimed unless
their number falls; so listeners that know different servers for a moment don't take turns with any.

A lease carries an *epoch* that grows with each change of owner, the fencing token: an owner that was stopped
and wakes up after its time writes nothing any more, since its writes name the old epoch (see
`ami_integration.events.stream`). Where Valkey alone was away, or has lost everything, so that nobody could
take a lease, its owner simply goes on.

Everything here is blocking: asyncio code calls it in a thread. Times are Valkey's, so listeners needn't
agree on the time.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from ami_integration.events.stream import LEASES, START, WISHES, WRITTEN, Mark

#: Sorted set: a listener's token → until when it counts as alive (milliseconds).
LISTENERS = "amiweb:listeners"

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# A lease is "epoch until token". One that ended and was taken by nobody, or that Valkey lost, is renewed.
# With it the recorder's wish for the server is taken, if there is one.
_BEAT = f"""
{_NOW}
local lasts = string.format('%.0f', now + ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], lasts, ARGV[1])
local lost, wishes = {{}}, {{}}
local wished = redis.call('EXISTS', KEYS[3]) == 1
for i = 3, #ARGV, 2 do
  local lease = redis.call('HGET', KEYS[2], ARGV[i])
  if lease and lease:match('^%d+') ~= ARGV[i + 1] then
    lost[#lost + 1] = ARGV[i]
  else
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1] .. ' ' .. lasts .. ' ' .. ARGV[1])
    local wish = wished and redis.call('HGET', KEYS[3], ARGV[i])
    if wish then
      redis.call('HDEL', KEYS[3], ARGV[i])
      wishes[#wishes + 1] = {{ARGV[i], wish}}
    end
  end
end
return {{lost, redis.call('ZRANGE', KEYS[1], 0, -1), wishes}}
"""

_CLAIM = f"""
{_NOW}
local lasts = string.format('%.0f', now + ARGV[2])
local most, got = tonumber(ARGV[3]), {{}}
for i = 4, #ARGV do
  if #got == most then break end
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
    """What a sign of life brought: the servers that somebody else has now, who lives, and what is wished: by
    server of ours a gap (its `after_id`) of which only the recorder knew, after which to ask for the state.
    """

    lost: frozenset[int]
    listeners: tuple[str, ...]
    wishes: Mapping[int, int]


@dataclass(frozen=True)
class Claimed:
    """A server that is ours: the epoch of its lease, and where its chain stands."""

    epoch: int
    mark: Mark


@dataclass(frozen=True)
class Share:
    """What a listener hands over, and of which servers it claims how many at most."""

    surplus: Sequence[int]
    wanted: Sequence[int]
    most: int


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
            _BEAT, 3, LISTENERS, LEASES, WISHES, self.token, self._milliseconds, *_flat(epochs)
        )
        lost, listeners, wishes = found
        return Beat(
            frozenset(map(int, lost)),
            tuple(token.decode() for token in listeners),
            {int(server_id): int(after_id) for server_id, after_id in wishes},
        )

    def claim(self, server_ids: Collection[int], *, most: int | None = None) -> dict[int, Claimed]:
        """Take those of these servers that nobody has now, in this order and so many at most (None: all).

        Raises redis.RedisError if Valkey is away.
        """
        limit = len(server_ids) if most is None else most
        found: Any = self._client.eval(
            _CLAIM, 2, LEASES, WRITTEN, self.token, self._milliseconds, limit, *server_ids
        )
        return {
            int(server_id): Claimed(int(epoch), Mark.decode(mark) if mark else START)
            for server_id, epoch, mark in found
        }

    def leave(self, epochs: Mapping[int, int]) -> None:
        """Count as alive no more, and let others have these servers at once. Raises redis.RedisError."""
        self._client.eval(_LEAVE, 2, LISTENERS, LEASES, self.token, *_flat(epochs))

    def share(self, listeners: Collection[str], server_ids: Collection[int], held: Sequence[int]) -> Share:
        """What this listener has to do for every one to have its part.

        Args:
            listeners: the tokens of those that live, ours included.
            server_ids: of all servers.
            held: those that we have; what is too much is handed over from the beginning.
        """
        each, more = divmod(len(server_ids), len(listeners))
        part = each + (sorted(listeners).index(self.token) < more)
        ours = frozenset(held)
        return Share(
            surplus=held[: max(0, len(held) - part)],
            wanted=[server_id for server_id in server_ids if server_id not in ours],
            most=max(0, part - len(held)),
        )

    @property
    def _milliseconds(self) -> int:
        return int(self.ttl * 1000)


def _flat(epochs: Mapping[int, int]) -> list[int]:
    return [number for pair in epochs.items() for number in pair]
