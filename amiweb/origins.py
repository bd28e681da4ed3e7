"""Which pages may open a WebSocket.

A browser sends its cookies along whatever page opens the socket, and lets that page read all that comes. So
the page must be of the very origin that the socket is asked of (scheme, host and port), or of one that
`CSRF_TRUSTED_ORIGINS` admits: the same that Django's own check of forms takes. Hosts alone don't do: whatever
else answers on another port of the same machine would see the events with the person's cookie.
"""

import logging
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.http import is_same_domain

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

#: What proxies and ASGI servers call the schemes of a WebSocket, and what its page's is.
_OF_PAGE = {"ws": "http", "wss": "https"}
_PORTS = {"http": ":80", "https": ":443"}
_SHOWN = 200  # characters of what a stranger sent


class SameOrigin:
    """Passes a WebSocket on if its page may have it, else refuses the handshake.

    Args:
        application: what gets the sockets that may be.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        request = _request(scope)
        origin = request.META.get("HTTP_ORIGIN", "")
        own = _origin_of(request)
        if (own and _plain(origin) == own) or _is_trusted(origin):
            await self._application(scope, receive, send)
        else:
            logger.warning(
                "a WebSocket was refused: it was asked of %s by a page of %s. If that is a page of amiweb, "
                "the proxy must pass Host and X-Forwarded-Proto.",
                own or "a host that is not in AMIWEB_ALLOWED_HOSTS",
                origin[:_SHOWN] or "no origin",
            )
            await send({"type": "websocket.close"})  # before it was accepted: the handshake is refused


def _is_trusted(origin: str) -> bool:
    """Whether `CSRF_TRUSTED_ORIGINS` has it, as Django's check of forms reads that."""
    csrf = CsrfViewMiddleware(lambda _: HttpResponse())
    if origin in csrf.allowed_origins_exact:
        return True
    try:
        parsed = urlsplit(origin)
    except ValueError:
        return False
    patterns = csrf.allowed_origin_subdomains.get(parsed.scheme, ())
    return any(is_same_domain(parsed.netloc, pattern) for pattern in patterns)


def _request(scope: Scope) -> ASGIRequest:
    """The handshake as Django sees a request, so that its settings about proxies hold here, too."""
    scheme = scope.get("scheme", "ws")
    given = scope | {"type": "http", "method": "GET", "scheme": _OF_PAGE.get(scheme, scheme)}
    request = ASGIRequest(given, BytesIO())
    if settings.SECURE_PROXY_SSL_HEADER:
        header = settings.SECURE_PROXY_SSL_HEADER[0]
        said = request.META.get(header, "")
        request.META[header] = _OF_PAGE.get(said, said)  # some proxies say wss
    return request


def _origin_of(request: ASGIRequest) -> str:
    """The origin of the pages of whom the request was made to; "" if amiweb has no such name."""
    try:
        return _plain(f"{request.scheme}://{request.get_host()}")
    except DisallowedHost:
        return ""


def _plain(origin: str) -> str:
    """An origin as browsers write it: lower case, without the port that its scheme has anyway."""
    origin = origin.lower()
    return origin.removesuffix(_PORTS.get(origin.partition(":")[0], ""))
