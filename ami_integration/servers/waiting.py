"""Why a session can't be had just now. None of these is a failure: what wanted one waits and tries again."""

from datetime import datetime, timedelta

from django.utils import timezone


class MustWait(Exception):
    """No session now; nothing was sent. The message says why, as a sentence for people.

    Attributes:
        retry_at: when it is worth trying again; None: as soon as a session becomes free.
    """

    def __init__(self, message: str, *, retry_in: float | None = None) -> None:
        super().__init__(message)
        self.retry_at: datetime | None = (
            None if retry_in is None else timezone.now() + timedelta(seconds=retry_in)
        )


class SessionsBusy(MustWait):
    """The server's `max_sessions` are all in use, over all workers."""


class CircuitOpen(MustWait):
    """The server could not be reached lately, and isn't tried again before `retry_at`."""


class RateExceeded(MustWait):
    """The server has had its actions of this minute."""


class LimitsUnknown(MustWait):
    """Valkey is away, so nobody can say how many sessions a server has."""
