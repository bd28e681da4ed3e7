"""Leases in Valkey: of the one active recorder, and of the slots of listeners. Of servers, see `fleet.py`.

A lease is a key with the owner's token that expires unless it is renewed, and beside it an *epoch* that grows
with each change of owner, the fencing token: an owner that was cut off writes nothing any more, because its
writes name its epoch (see `ami_integration.events.stream`). If Valkey alone was away, so that nobody could
take the lease, its owner simply goes on.

Each step is one Lua script, so it is atomic. All of it is blocking: asyncio code calls it in a thread.
"""

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis

from ami_integration.events.ids import SLOTS

_CLAIM = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if owner then return tonumber(redis.call('GET', KEYS[2]) or redis.call('INCR', KEYS[2])) end
return redis.call('INCR', KEYS[2])
"""

# An expired lease that nobody took since (the epoch is still ours, or Valkey lost everything) is ours to
# renew.
_RENEW = """
local owner = redis.call('GET', KEYS[1])
local epoch = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[1] then return 0 end
if epoch and epoch ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3])
return 1
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

_CLAIM_SLOT = """
local start, slots, now = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
for i = 0, slots - 1 do
  local slot = (start + i) % slots
  local key = KEYS[1] .. slot
  local used = redis.call('GET', key .. ':until')
  if redis.call('EXISTS', key) == 0 and (not used or tonumber(used) < now) then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    redis.call('SET', key .. ':until', ARGV[6])
    return slot
  end
end
return -1
"""

_RENEW_SLOT = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[1] .. ':until', ARGV[3])
return 1
"""


class Lease:
    """A lease by name.

    Args:
        client: a blocking Valkey client.
        name: what is owned, for example ``listener``.
        ttl: seconds after which a lease that isn't renewed ends.
    """

    def __init__(self, client: "redis.Redis", name: str, *, ttl: float = 10.0) -> None:
        self.name = name
        self.key = f"amiweb:lease:{name}"
        self.epoch_key = f"{self.key}:epoch"
        self.token = secrets.token_hex(16)
        self.epoch = 0  # of our ownership; 0 while we own nothing
        self.ttl = ttl
        self._client = client

    def claim(self) -> bool:
        """Try to become the owner. Raises redis.RedisError if Valkey is away."""
        self.epoch = int(
            self._client.eval(_CLAIM, 2, self.key, self.epoch_key, self.token, self._milliseconds)
        )
        return self.epoch > 0

    def renew(self) -> bool:
        """Stay the owner; False if another one has taken over. Raises redis.RedisError if Valkey is away."""
        if not self.epoch:
            return False
        kept = self._client.eval(
            _RENEW, 2, self.key, self.epoch_key, self.token, self._milliseconds, self.epoch
        )
        if not kept:
            self.epoch = 0
        return bool(kept)

    def release(self) -> None:
        """Let the next one in at once. Raises redis.RedisError if Valkey is away."""
        self.epoch = 0
        self._client.eval(_RELEASE, 1, self.key, self.token)

    @property
    def _milliseconds(self) -> int:
        return int(self.ttl * 1000)


class NoSlotFree(Exception):
    """All slots are taken: more than 512 listeners, or clocks that went back by far."""


@dataclass
class Slot:
    """A listener's place in its ids, kept by a lease.

    Beside the lease stands the millisecond up to which ids may have been given in this slot; whoever claims
    it later starts behind that, or takes another slot. So no id is given twice, whatever the clocks do.
    """

    client: "redis.Redis"
    number: int
    token: str
    ttl: float
    clock: Callable[[], float]

    @classmethod
    def claim(
        cls, client: "redis.Redis", *, ttl: float = 15.0, clock: Callable[[], float] = time.time
    ) -> "Slot":
        """Take a free slot.

        Raises:
            NoSlotFree: none is.
            redis.RedisError: Valkey is away.
        """
        token = secrets.token_hex(16)
        now = int(clock() * 1000)
        ttl_ms = int(ttl * 1000)
        # Where the search starts is arbitrary; at random, a new owner rarely follows closely on an old one.
        start = random.randrange(SLOTS)  # noqa: S311
        number = client.eval(_CLAIM_SLOT, 1, _SLOT_KEY, token, ttl_ms, start, SLOTS, now, now + ttl_ms)
        if number == -1:
            raise NoSlotFree(
                f"All {SLOTS} listener slots are taken. Either that many listeners run, or the clock of this "
                "machine is behind that of earlier ones: set it right and start the listener again."
            )
        return cls(client, int(number), token, ttl, clock)

    @property
    def key(self) -> str:
        return f"{_SLOT_KEY}{self.number}"

    def renew(self, *, used_until: int) -> bool:
        """Keep the slot; `used_until` is the latest millisecond of an id. False: another one has it."""
        ttl_ms = int(self.ttl * 1000)
        until = max(int(self.clock() * 1000), used_until) + ttl_ms
        return bool(self.client.eval(_RENEW_SLOT, 1, self.key, self.token, ttl_ms, until))

    def release(self) -> None:
        """Give the slot back; how far it was used stays known."""
        self.client.eval(_RELEASE, 1, self.key, self.token)


_SLOT_KEY = "amiweb:lease:slot:"
