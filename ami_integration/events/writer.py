"""How listeners write to the stream.

Writing is fenced (see `ami_integration.events.fleet`): a listener that lost a server writes nothing of it any
more, and one that lost the slot of its ids writes nothing at all. The stream is bounded by count and by size;
what that cuts off unread is found by the chain.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from ami_integration.events.leases import Slot
from ami_integration.events.stream import (
    LEASES,
    SIZES,
    STREAM,
    WRITTEN,
    Entry,
    EventBatch,
    Mark,
    mark_of,
    marks,
)

# Entries whose server another listener has are refused, and all of them while the slot of their ids isn't the
# writer's. An entry without data gives its server's lease up, behind all that was written before.
#
# The bound in bytes: each entry holds the sum of all sizes up to it, so the size of the stream is known from
# its first entry. How many are to go is reckoned by the mean size, and more where those were small ones.
_APPEND = """
local maxlen, maxbytes, slot = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
if slot ~= '' and redis.call('GET', KEYS[5]) ~= slot then return {-1} end
local sum = tonumber(redis.call('GET', KEYS[4]) or 0)
local refused = {}
for i = 4, #ARGV, 4 do
  local server, epoch, data = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  local lease = redis.call('HGET', KEYS[2], server)
  if lease and lease:match('^%d+') ~= epoch then
    refused[#refused + 1] = (i - 4) / 4
  elseif data == '' then
    redis.call('HSET', KEYS[2], server, epoch .. ' 0 ')
  else
    sum = sum + #data
    redis.call('XADD', KEYS[1], '*', 's', server, 'd', data, 'o', string.format('%.0f', sum))
    redis.call('HSET', KEYS[3], server, ARGV[i + 2])
  end
end
redis.call('SET', KEYS[4], string.format('%.0f', sum))
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', maxlen)
for attempt = 0, 15 do
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if not first or not first[2][6] then break end
  local size, length = sum - tonumber(first[2][6]) + #first[2][4], redis.call('XLEN', KEYS[1])
  if size <= maxbytes or length == 1 then break end
  local over = math.ceil(length * (size - maxbytes) / size) * 2 ^ attempt
  redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', math.max(1, length - over))
end
return refused
"""


class LeaseLost(Exception):
    """Another listener owns these servers now; of them nothing was written.

    Attributes:
        positions: of the entries that were refused.
    """

    def __init__(self, positions: Collection[int]) -> None:
        super().__init__(f"{len(positions)} entries were refused")
        self.positions = frozenset(positions)


class SlotLost(Exception):
    """The slot of the writer's ids isn't its own, or not any more; nothing was written."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An entry as it is written; one without data gives its server's lease up.

    `events`: how many are in it. `epoch`: of the lease under which it was made.
    """

    server_id: int
    epoch: int
    mark: Mark
    data: bytes
    events: int = 0


def pack(entry: Entry, epoch: int = 0) -> Packed:
    """An entry, ready to be written."""
    events = len(entry.events) if isinstance(entry, EventBatch) else 0
    return Packed(entry.server_id, epoch, mark_of(entry), entry.encode(), events)


class StreamWriter:
    """The listener's end.

    Args:
        client: a blocking Valkey client.
        maxlen: about how many entries the stream keeps.
        max_bytes: about how many bytes of them.
        slot: the listener's slot, for which ids are given.
    """

    def __init__(
        self, client: "redis.Redis", *, maxlen: int, max_bytes: int = 2**40, slot: Slot | None = None
    ) -> None:
        self._client = client
        self._maxlen = maxlen
        self._max_bytes = max_bytes
        self._slot = (slot.key, slot.token) if slot is not None else ("", "")

    def append(self, entries: Iterable[Entry], *, epoch: int = 0) -> None:
        """Write entries of servers that are owned by this epoch, or by nobody; see `write`."""
        self.write([pack(entry, epoch) for entry in entries])

    def write(self, packed: Sequence[Packed]) -> None:
        """Write entries in this order, in one call.

        Raises:
            LeaseLost: for some; the others are written.
            SlotLost: nothing was written.
            redis.RedisError: Valkey is away or full. The entries may have arrived; readers bear them twice.
        """
        fields = [field for p in packed for field in (p.server_id, p.epoch, p.mark.encode(), p.data)]
        key, token = self._slot
        refused: Any = self._client.eval(
            _APPEND, 5, STREAM, LEASES, WRITTEN, SIZES, key,
            self._maxlen, self._max_bytes, token, *fields,
        )  # fmt: skip
        if refused == [-1]:
            raise SlotLost
        if refused:
            raise LeaseLost([int(position) for position in refused])

    def marks(self) -> dict[int, Mark]:
        """Per server the end of its chain, by whichever listener it was written."""
        found: Any = self._client.hgetall(WRITTEN)
        return marks(found)
