"""What the workers share about servers lies in Valkey: this is the connection to it.

Its time limits are short: who asks holds a run in hand, and without an answer the run simply waits.
"""

import functools

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

#: Seconds for a connection, and for an answer.
CONNECT_LIMIT, ANSWER_LIMIT = 1.0, 2.0


@functools.lru_cache(maxsize=1)
def valkey() -> "redis.Redis":
    """The client of this process; its threads share it."""
    return redis.Redis.from_url(
        settings.AMIWEB_REDIS_URL,
        socket_connect_timeout=CONNECT_LIMIT,
        socket_timeout=ANSWER_LIMIT,
        decode_responses=True,
        retry=Retry(NoBackoff(), 1),  # at once, and once: the pooled connection may have died with a restart
    )
