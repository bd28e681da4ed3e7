"""How many action sessions a server has, over all workers: leases in Valkey.

Each open session, in use or idle, holds a lease, a member of a sorted set whose score is the moment at which
it ends. Its process renews it every second or so; a process that was killed stops, and its leases end by
themselves. Beside the set stands another, of those who wait for a session, the oldest first: whoever gives
one up looks there whom to tell, and a worker with idle sessions closes them while somebody waits.

Each step is one Lua script, so it is atomic, and all use Valkey's clock.
"""

from collections.abc import Iterable

from ami_integration.servers.valkey import valkey

#: Seconds after which a lease that nobody renews ends.
LEASE_SECONDS = 15.0
#: Seconds after which nobody is taken to wait any more; the sweep of the action log rings much earlier.
WAIT_SECONDS = 600.0

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_TAKE = f"""
{_NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('ZREM', KEYS[2], ARGV[4])
  return 1
end
if ARGV[4] ~= '' then
  redis.call('ZADD', KEYS[2], 'NX', now, ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return 0
"""

# Renewed are leases that Valkey has lost, too: the sessions are there, whatever it remembers.
_RENEW = f"""
{_NOW}
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('ZCARD', KEYS[2])
"""

_USED = f"""
{_NOW}
return redis.call('ZCOUNT', KEYS[1], now, '+inf')
"""


def slot_take(*, server_id: int, token: str, limit: int, waiter: str = "") -> bool:
    """Take a lease for one session.

    Args:
        token: names the session.
        limit: how many sessions the server may have.
        waiter: who is to be told of the next free one, if there is none now.

    Raises:
        redis.RedisError: Valkey is away.
    """
    milliseconds = (int(LEASE_SECONDS * 1000), waiter, int(WAIT_SECONDS * 1000))
    return bool(valkey().eval(_TAKE, 2, *_keys(server_id), token, limit, *milliseconds))


def slots_renew(*, server_id: int, tokens: Iterable[str]) -> int:
    """Keep these leases; returns how many wait for a session. Raises redis.RedisError."""
    return int(valkey().eval(_RENEW, 2, *_keys(server_id), int(LEASE_SECONDS * 1000), *tokens))


def slot_release(*, server_id: int, token: str) -> None:
    """Give a lease up. Raises redis.RedisError."""
    valkey().zrem(_keys(server_id)[0], token)


def slots_used(*, server_id: int) -> int:
    """How many sessions the server has now, in use or idle. Raises redis.RedisError."""
    return int(valkey().eval(_USED, 1, _keys(server_id)[0]))


def waiter_next(*, server_id: int) -> str | None:
    """Take whoever has waited longest off the list. Raises redis.RedisError."""
    found = valkey().zpopmin(_keys(server_id)[1])
    return str(found[0][0]) if found else None


def _keys(server_id: int) -> tuple[str, str]:
    return f"amiweb:sessions:{server_id}", f"amiweb:sessions:{server_id}:waiting"
