"""Telling of an outage once: its beginning and its end, not each attempt between."""

import logging
import time


class Outage:
    """One thing that may be away, as seen by one loop that keeps trying.

    Args:
        logger: of the one who tries.
        what: the thing and what its absence means, for example ``the database is away; events wait on the
            stream``.
    """

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._since: float | None = None

    def failed(self, error: BaseException, *, trace: bool = False) -> None:
        """An attempt failed; the first one is logged, with its traceback if it may be a mistake of ours."""
        if self._since is None:
            self._since = time.monotonic()
            self._logger.error(
                "%s: %s (%s)", self._what, error, type(error).__name__, exc_info=error if trace else None
            )

    def ended(self) -> None:
        """An attempt succeeded; logged if one had failed."""
        if self._since is not None:
            self._logger.warning("over after %.1f s: %s", time.monotonic() - self._since, self._what)
            self._since = None
