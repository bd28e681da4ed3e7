"""Telling of an outage once: its beginning and its end, not each attempt between."""

import logging
import threading
import time


class Outage:
    """One thing that may be away, as seen by whoever keeps trying; threads may share it.

    Args:
        logger: of the one who tries.
        what: the thing and what its absence means, for example ``the database is away; events wait on the
            stream``.
    """

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._since: float | None = None
        self._last: tuple[float, str] | None = None
        self._lock = threading.Lock()

    def failed(self, error: BaseException, *, trace: bool = False) -> None:
        """An attempt failed; the first one is logged, with its traceback if it may be a mistake of ours."""
        with self._lock:
            first = self._since is None
            if first:
                self._since = time.monotonic()
            self._last = (time.monotonic(), str(error))
        if first:
            self._logger.error(
                "%s: %s (%s)", self._what, error, type(error).__name__, exc_info=error if trace else None
            )

    def ended(self) -> None:
        """An attempt succeeded; logged if one had failed."""
        with self._lock:
            since, self._since = self._since, None
            self._last = None
        if since is not None:
            self._logger.warning("over after %.1f s: %s", time.monotonic() - since, self._what)

    def lately(self, seconds: float) -> str:
        """Why it failed within the last `seconds`; "" if it didn't, or is over."""
        with self._lock:
            return self._last[1] if self._last and time.monotonic() - self._last[0] <= seconds else ""
