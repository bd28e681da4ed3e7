"""Valkey's absence as open pages meet it: told once, whoever of them notices.

The channel layer keeps trying by itself and logs a traceback each second; `OutageOfPushes` (a filter, named
in the logging settings) turns those into the one outage that the consumers tell of too.
"""

import logging

import redis

from ami_integration.outage import Outage

#: What asyncio code sees when Valkey is away.
VALKEY_ERRORS = (redis.RedisError, OSError)

valkey = Outage(
    logging.getLogger(__name__),
    "Valkey is away; open pages read the database by themselves, new ones wait",
)


class OutageOfPushes(logging.Filter):
    """Keeps the channel layer's own words about Valkey's absence out of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, VALKEY_ERRORS):
            valkey.failed(error)
            return False
        return True
