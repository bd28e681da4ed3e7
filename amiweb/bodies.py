"""How much a browser may send in one request.

Django's handler writes a request's whole body to a file before anything looks at it, so without this any
stranger could fill the disk. What forms and uploads may hold is less, and for them to say; this is the end of
all patience.
"""

from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

#: Bytes of one body.
MOST = 8 * 1024 * 1024
_SAYS = b"This is larger than amiweb takes in one request (8 MiB). Send less."


class BodyLimit:
    """Answers 413 to a request that says it is too large, or turns out to be.

    Args:
        application: what gets the others.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if _length(scope) > MOST:
            await _refuse(send)
            return
        taken, over = 0, False

        async def receive_bounded() -> dict[str, Any]:
            nonlocal taken, over
            message: dict[str, Any] = await receive()
            taken += len(message.get("body", b""))
            if taken <= MOST:
                return message
            if not over:
                over = True
                await _refuse(send)
            return {"type": "http.disconnect"}  # for Django nobody is there any more

        async def send_unless_over(message: dict[str, Any]) -> None:
            if not over:
                await send(message)

        await self._application(scope, receive_bounded, send_unless_over)


def _length(scope: Scope) -> int:
    """What the request says of its length; 0 if that is nothing to go by."""
    said = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(said[:20]) if said.isdigit() else 0


async def _refuse(send: Any) -> None:
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    encoded = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 413, "headers": encoded})
    await send({"type": "http.response.body", "body": _SAYS})
