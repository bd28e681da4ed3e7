"""Headers that tell a browser what an answer of amiweb may do, on every answer there is.

Django's middleware sets most of them, but not on what is answered before its turn comes: a refused WebSocket,
a request that can't be read, an address that no middleware behind lets through. So the first middleware, and
the ASGI application around it, add whatever of the list is missing. The application alone would do for
uvicorn; what else serves Django, its test client first of all, goes through the middleware only.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from csp.utils import build_policy
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

#: What no page of amiweb ever asks of a browser. (Copying to the clipboard it does ask.)
_UNUSED = (
    "accelerometer",
    "autoplay",
    "camera",
    "clipboard-read",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "geolocation",
    "gyroscope",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "picture-in-picture",
    "publickey-credentials-get",
    "screen-wake-lock",
    "usb",
    "xr-spatial-tracking",
)


def policies() -> dict[str, str]:
    """The headers of every answer, by name."""
    headers = {
        "Permissions-Policy": ", ".join(f"{feature}=()" for feature in _UNUSED),
        "Cross-Origin-Opener-Policy": settings.SECURE_CROSS_ORIGIN_OPENER_POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": settings.X_FRAME_OPTIONS,
    }
    if not settings.DEBUG:  # Django's debug pages are drawn by inline scripts
        headers["Content-Security-Policy"] = build_policy()
    return headers


class EveryAnswer(MiddlewareMixin):
    """The first middleware: sees what any other one answers."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Add the headers that nobody has set."""
        for name, value in policies().items():
            response.headers.setdefault(name, value)
        return response


class EveryHandshake:
    """Around the ASGI application: sees what is answered before any middleware is asked.

    Args:
        application: what gets every connection.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        refusable = scope["type"] == "websocket" and "websocket.http.response" in (
            scope.get("extensions") or {}
        )

        async def send_complete(message: dict[str, Any]) -> None:
            nonlocal refusable
            if message["type"] == "websocket.accept":
                refusable = False
            elif message["type"] == "websocket.close" and refusable:
                # The same answer as the ASGI server's own, which would have none of the headers.
                refusable = False
                refusal = {"type": "websocket.http.response.start", "status": 403, "headers": _complete([])}
                await send(refusal)
                await send({"type": "websocket.http.response.body", "body": b""})
                return
            elif message["type"] == "http.response.start":
                message = message | {"headers": _complete(list(message.get("headers", [])))}
            await send(message)

        await self._application(scope, receive, send_complete)


def _complete(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    there = {name.lower() for name, _ in headers}
    if b"permissions-policy" in there:
        return headers  # nobody but `EveryAnswer` sets it, and it has set all
    missing = [
        (name.lower().encode("ascii"), value.encode("ascii"))
        for name, value in policies().items()
        if name.lower().encode("ascii") not in there
    ]
    return [*headers, *missing]
