"""A browser's end of a WebSocket, spoken to the ASGI application itself.

`channels.testing` has one too, but importing it needs daphne, a server that amiweb doesn't use.
"""

from __future__ import annotations

import json
from typing import Any

from asgiref.testing import ApplicationCommunicator


class WebSocket:
    """One connection to a path.

    Args:
        application: the whole ASGI application, so that origin, session and address are looked at too.
        path: for example ``/ws/live/``.
        cookies: by name.
        origin: of the page that opens it.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        *,
        cookies: dict[str, str] | None = None,
        origin: str = "http://127.0.0.1",
    ) -> None:
        path, _, query = path.partition("?")
        headers = [(b"host", b"127.0.0.1"), (b"origin", origin.encode())]
        if cookies:
            cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
            headers.append((b"cookie", cookie.encode()))
        scope = {"type": "websocket", "path": path, "query_string": query.encode(), "headers": headers}
        self._communicator = ApplicationCommunicator(application, scope | {"subprotocols": []})

    async def connect(self, seconds: float) -> bool:
        """Open it; whether the server accepted."""
        await self._communicator.send_input({"type": "websocket.connect"})
        answer = await self._communicator.receive_output(seconds)
        return bool(answer["type"] == "websocket.accept")

    async def send(self, data: Any) -> None:
        await self._communicator.send_input({"type": "websocket.receive", "text": json.dumps(data)})

    async def receive(self, seconds: float) -> Any:
        """The next message's JSON."""
        message = await self._communicator.receive_output(seconds)
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def close_code(self, seconds: float) -> int:
        """The code with which the server closes, as the next thing that it does."""
        message = await self._communicator.receive_output(seconds)
        assert message["type"] == "websocket.close", message
        return int(message["code"])

    async def hears_nothing(self, seconds: float) -> bool:
        return bool(await self._communicator.receive_nothing(seconds))

    async def disconnect(self, seconds: float) -> None:
        """Close it from this end, and wait until the server has cleaned up."""
        await self._communicator.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._communicator.wait(seconds)
