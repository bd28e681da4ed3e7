"""Which secrets can't be read, for the status: looked up now and then, since it counts the rows of tables."""

import threading
import time

from ami_integration.secrets.columns import secrets_unreadable
from ami_integration.servers.elsewhere import secrets_missing

#: Seconds for which a look is good at least; a look that took long is good for so many times its own time.
GOOD_FOR, SHARE = 30.0, 100.0


class UnreadableSecrets:
    """The sentences, at most `GOOD_FOR` seconds old where looking is quick. While one looks, the others get
    what was known before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._faults: list[str] = []

    def faults(self) -> list[str]:
        """One sentence for each column and reason. Raises django.db.Error."""
        if time.monotonic() >= self._until and self._lock.acquire(blocking=False):
            try:
                began = time.monotonic()
                self._faults = [*(str(found) for found in secrets_unreadable()), *secrets_missing()]
                ended = time.monotonic()
                self._until = ended + max(GOOD_FOR, SHARE * (ended - began))
            finally:
                self._lock.release()
        return self._faults


unreadable = UnreadableSecrets()
