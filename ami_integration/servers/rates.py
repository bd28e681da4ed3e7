"""How many actions a minute a server takes, over all workers, counted in Valkey by the library `limits`.

The window moves: never more than so many within any 60 seconds, which a window per clock minute would allow
twice over at its border.
"""

import functools
import time

from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter

from ami_integration.servers.models import Server
from ami_integration.servers.valkey import ANSWER_LIMIT, CONNECT_LIMIT
from ami_integration.servers.waiting import RateExceeded


@functools.lru_cache(maxsize=1)
def _limiter() -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(
        RedisStorage(
            settings.AMIWEB_REDIS_URL,
            key_prefix="amiweb:rate",
            socket_connect_timeout=CONNECT_LIMIT,
            socket_timeout=ANSWER_LIMIT,
        )
    )


def rate_take(server: Server) -> None:
    """Count one action of this server.

    Raises:
        RateExceeded: it has had as many as it may; this one isn't counted.
        redis.RedisError: Valkey is away.
    """
    if server.rate_per_minute is None:
        return
    item = RateLimitItemPerMinute(server.rate_per_minute)
    if not _limiter().hit(item, str(server.pk)):
        stats = _limiter().get_window_stats(item, str(server.pk))
        raise RateExceeded(
            f"{server.name} has had as many actions as it may in a minute: {server.rate_per_minute}.",
            retry_in=max(0.1, stats.reset_time - time.time()),
        )
