"""The circuit of a server: what can't be reached isn't tried by every run anew.

After some attempts that failed one after the other, the circuit opens: nobody tries for a pause, which grows
with each further failure. Then one attempt is let through as a probe; when it succeeds, the circuit closes.
All workers share a server's circuit, in Valkey. It belongs to the server's address and account as they are:
whoever corrects them begins with a closed one.

=========  ==============================  ===========================================
State      Event                           Then
=========  ==============================  ===========================================
closed     a failure, the third in a row   open, for the first pause
closed     a success                       closed, failures forgotten
open       somebody asks during the pause  refused, with the moment at which it ends
open       somebody asks after it          let through as the probe; others are refused
open       the probe fails                 open, for a pause twice as long
open       the probe succeeds              closed
open       the probe never comes back      another one, after `PROBE_SECONDS`
=========  ==============================  ===========================================
"""

from dataclasses import dataclass

from ami_integration.servers.valkey import valkey
from ami_integration.servers.waiting import CircuitOpen

#: Failures in a row that open a circuit.
FAILURES = 3
#: Seconds of the first pause, and of the longest.
PAUSE_FIRST, PAUSE_LONGEST = 5.0, 60.0
#: Seconds after which a probe counts as lost; connecting and logging in take less.
PROBE_SECONDS = 40.0
#: Seconds after which the failures of a server that nobody asked for are forgotten.
_KEPT = 3600

_ASK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'until', 'error', 'failures')
if not found[1] then return {0, 0, '', tonumber(found[3] or 0)} end
if now < tonumber(found[1]) then return {1, tonumber(found[1]) - now, found[2], 0} end
if redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[1]) then return {0, 1, '', tonumber(found[3])} end
return {1, 1000, found[2], 0}
"""

_FAIL = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('HSET', KEYS[1], 'error', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('DEL', KEYS[2])
local over = failures - tonumber(ARGV[1])
if over < 0 then return 0 end
local pause = math.min(tonumber(ARGV[3]), tonumber(ARGV[2]) * 2 ^ math.min(over, 20))
-- Those who were let through together fail together: that is one step, not many.
local before = tonumber(redis.call('HGET', KEYS[1], 'until') or 0)
if now < before then
  redis.call('HINCRBY', KEYS[1], 'failures', -1)
  return 0
end
redis.call('HSET', KEYS[1], 'until', now + pause)
return pause
"""


@dataclass(frozen=True)
class Permit:
    """Leave to try.

    Attributes:
        failures: how many attempts failed before this one.
        probe: whether the circuit is open, and this attempt decides.
    """

    failures: int = 0
    probe: bool = False


class Circuit:
    """The circuit of one server at one address with one account.

    Args:
        server_id: the server.
        name: what people call it.
        fingerprint: stands for its address and account.
    """

    def __init__(self, server_id: int, name: str, fingerprint: str) -> None:
        self._name = name
        key = f"amiweb:circuit:{server_id}:{fingerprint}"
        self._keys = (key, f"{key}:probe")

    def ask(self) -> Permit:
        """Leave to try to connect.

        Raises:
            CircuitOpen: not now.
            redis.RedisError: Valkey is away.
        """
        refused, rest, error, failures = valkey().eval(_ASK, 2, *self._keys, int(PROBE_SECONDS * 1000))
        if refused:
            raise CircuitOpen(
                f"{self._name} can't be reached, so it is tried only now and then. The last attempt: {error}",
                retry_in=int(rest) / 1000,
            )
        return Permit(int(failures), bool(rest))

    def failed(self, error: str) -> None:
        """An attempt failed, with this sentence. Raises redis.RedisError."""
        pauses = (int(PAUSE_FIRST * 1000), int(PAUSE_LONGEST * 1000))
        valkey().eval(_FAIL, 2, *self._keys, FAILURES, *pauses, _KEPT, error)

    def succeeded(self) -> None:
        """An attempt succeeded: the circuit is closed. Raises redis.RedisError."""
        valkey().delete(*self._keys)

    def abstained(self) -> None:
        """Who had leave didn't try after all: the next one may. Raises redis.RedisError."""
        valkey().delete(self._keys[1])
