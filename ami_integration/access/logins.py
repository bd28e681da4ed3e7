"""How long a login lasts.

Two limits. Beyond the first, nothing was done for a while, and whoever does something has to log in again;
beyond the second the login ends, whatever is done. A page that only watches is no activity: it asks by
itself, with nobody before it. But it may go on beyond the first limit, up to the second, since it changes
nothing and a screen on a wall has nobody to click. So what pages ask by themselves is marked `watching`, and
WebSockets, which are theirs, know the second limit only.

The second limit is the session's expiry in the database, so that it holds for whoever reads the session:
`services.session_user`, which the sockets ask every few seconds, has nobody left beyond it.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any, TypeVar

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import UpdateError
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from ami_integration.audit.logins import login_end

View = TypeVar("View", bound=Callable[..., Any])

#: Under this name a session keeps when its person last did something, in seconds since 1970.
SEEN = "amiweb_seen"
#: Seconds that this may be behind: not every click shall write to the database.
STEP = 60

_SAYS = (
    "You were logged out, since nothing was done here for {minutes} minutes. What you just did was not done."
)


def watching(view: View) -> View:
    """Mark a view that pages ask by themselves: it is no activity, and goes on for somebody who is idle."""
    view.amiweb_watching = True  # type: ignore[attr-defined]
    return view


@receiver(user_logged_in)
def login_begin(*, request: HttpRequest, **_: Any) -> None:
    """Somebody has just logged in: both limits run from now."""
    request.session.set_expiry(timezone.now() + timedelta(seconds=settings.AMIWEB_SESSION_LIMIT))
    request.session[SEEN] = int(time.time())


def login_touch(*, request: HttpRequest, view: Callable[..., Any]) -> None:
    """Note that somebody did something; log out who didn't for too long.

    Args:
        request: of somebody who is logged in.
        view: what will answer it.
    """
    if request.method == "HEAD" or getattr(view, "amiweb_watching", False):
        return
    if _idle_left(request) <= 0:
        login_end(request=request, why="idle")
        messages.warning(request, _SAYS.format(minutes=settings.AMIWEB_SESSION_IDLE // 60))
    elif abs(time.time() - request.session.get(SEEN, 0)) > STEP:
        request.session[SEEN] = int(time.time())


def session_act(*, session_key: str | None) -> bool:
    """Somebody did something by a page's socket, which counts as activity. False if they were idle too long.

    Args:
        session_key: of somebody who is logged in.
    """
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    seen = session.get(SEEN, 0)
    if time.time() - seen >= settings.AMIWEB_SESSION_IDLE:
        return False
    if abs(time.time() - seen) > STEP:
        session[SEEN] = int(time.time())
        try:
            session.save()
        except UpdateError:  # logged out in this moment
            return False
    return True


def login_left(*, request: HttpRequest) -> dict[str, int]:
    """Whole seconds until either limit, 0 beyond it."""
    limit = request.session.get_expiry_date() - timezone.now()
    return {"idle": max(0, int(_idle_left(request))), "limit": max(0, int(limit.total_seconds()))}


def _idle_left(request: HttpRequest) -> float:
    left: float = request.session.get(SEEN, 0) + settings.AMIWEB_SESSION_IDLE - time.time()
    return left
