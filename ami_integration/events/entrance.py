"""How many sessions a listener opens at once, and how soon it tries again.

After a network cut a whole fleet wants to come back in the same second. Each PBX sees only its own session,
but the listener would spend its time on handshakes instead of events, and what lies between (firewalls, SSH
servers) would see a storm. So attempts wait for a place, and those of servers that can't be reached, each of
which may hold its place for seconds, wait in a line of their own and hold up nobody else.
"""

import asyncio
from contextlib import AbstractAsyncContextManager

from ami_integration.ami import Backoff

#: Attempts that go on at once: of servers that were there a moment ago, and of those that weren't.
LOGINS = 50
HOPELESS_LOGINS = 150
#: Failures in a row after which a server is one of the latter.
_HOPELESS = 3

#: 15 s at most between two attempts: so that after a cut all are back within 30 s, with the 5 s that an
#: attempt which began before its end may take, and the wait for a place.
BACKOFF = Backoff(cap=15.0)


class Entrance:
    """The places of one listener."""

    def __init__(self, *, logins: int = LOGINS, hopeless_logins: int = HOPELESS_LOGINS) -> None:
        self._places = asyncio.Semaphore(logins)
        self._hopeless = asyncio.Semaphore(hopeless_logins)

    def admit(self, failures: int) -> AbstractAsyncContextManager[object]:
        """What an attempt waits for, after so many failures in a row."""
        return self._places if failures < _HOPELESS else self._hopeless
