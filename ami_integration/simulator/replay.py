"""
Replays a recording (ami_integration.ami.record): sessions are told what a real PBX told, byte for byte.

From its login on, each session gets the recorded events at the recorded pace, or faster, or as fast as it
reads. Its own classes and EventMask hold, as ever. An action that was recorded is answered with what was
recorded, under the ActionID that asks now; any other is answered by the simulated office.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ami_integration.ami.recording import Segment, read_recording
from ami_integration.simulator.requests import Request, RequestReader
from ami_integration.simulator.wire import EventClass, classes_from_text

if TYPE_CHECKING:
    from ami_integration.simulator.session import Session

_BATCH = 64 * 1024
_PRIVILEGE = re.compile(rb"\r\nPrivilege: ([^\r\n]*)")
_ACTION_ID = re.compile(rb"\r\nActionID: ([^\r\n]*)")
_OF_THE_LOGIN = frozenset({"login", "challenge", "logoff"})

_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Told:
    at: float
    classes: EventClass
    data: bytes


class Replay:
    """A recording, ready to be replayed to any number of sessions at once.

    Args:
        segments: a recording, as `read_recording` gives it.
        speed: how many times faster than recorded; 0 is as fast as the session reads.
        loop: whether to begin again at the end.

    Raises ValueError when the speed is negative or the recording holds no login.
    """

    def __init__(self, segments: Iterable[Segment], *, speed: float = 1.0, loop: bool = False) -> None:
        if speed < 0 or not math.isfinite(speed):
            raise ValueError("the speed of a replay is 0 (as fast as possible) or more")
        self.speed = speed
        self.loop = loop
        self.events: list[_Told] = []
        self._answers: dict[_Key, list[bytes]] = {}
        self._asked: dict[_Key, int] = {}
        segments = list(segments)
        asked = {request.action_id: request for request in _requests(segments)}
        answers: dict[str, list[bytes]] = {}
        start: float | None = None
        for at, data in _messages(one for one in segments if not one.sent):
            privilege, action_id = _PRIVILEGE.search(data), _ACTION_ID.search(data)
            request = asked.get(action_id[1].decode("utf-8", "surrogateescape")) if action_id else None
            if privilege is not None and b"Privilege: Command" not in privilege[0]:
                classes = classes_from_text(privilege[1].decode().replace(",all", ""))
                self.events.append(_Told(at - (start or 0.0), classes, data))
            elif request is None:
                if start is not None:  # before the login there is nothing but the banner
                    self.events.append(_Told(at - start, EventClass.NONE, data))
            elif request.action.lower() in _OF_THE_LOGIN:
                if request.action.lower() == "login":
                    start = at
            else:
                answers.setdefault(request.action_id, []).append(data)
        if start is None:
            raise ValueError("the recording holds no login")
        for found, pieces in answers.items():
            self._answers.setdefault(_key(asked[found]), []).append(b"".join(pieces))

    @classmethod
    def from_file(cls, path: Path, *, speed: float = 1.0, loop: bool = False) -> Replay:
        """Read a recording. Raises OSError, NotARecording (a ValueError) or ValueError."""
        with path.open("rb") as file:
            return cls(read_recording(file), speed=speed, loop=loop)

    def answer(self, request: Request) -> bytes | None:
        """What was answered to this action, or None. Asked again: the next answer, at the end the last."""
        key = _key(request)
        recorded = self._answers.get(key)
        if recorded is None:
            return None
        turn = self._asked.get(key, 0)
        self._asked[key] = turn + 1
        data = recorded[min(turn, len(recorded) - 1)]
        action_id = request.action_id.encode("utf-8", "surrogateescape")
        line = b"\r\nActionID: " + action_id if action_id else b""
        return _ACTION_ID.sub(lambda match: line, data)

    async def play(self, session: Session) -> None:
        """Tell one session all that was told."""
        await self._play_once(session)
        while self.loop and self.events and not session.closed:
            await self._play_once(session)

    async def _play_once(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        began, at = loop.time(), 0
        while at < len(self.events) and not session.closed:
            now = (loop.time() - began) * self.speed if self.speed else math.inf
            batch: list[bytes] = []
            size = 0
            while at < len(self.events) and self.events[at].at <= now and size < _BATCH:
                told = self.events[at]
                at += 1
                if session.may_read(told.classes):
                    batch.append(told.data)
                    size += len(told.data)
            if batch:
                await session.send_recorded(b"".join(batch))
            elif at < len(self.events):
                await asyncio.sleep((self.events[at].at - now) / self.speed if self.speed else 0)


def _requests(segments: Iterable[Segment]) -> Iterator[Request]:
    reader = RequestReader()
    return itertools.chain.from_iterable(reader.feed(one.data) for one in segments if one.sent)


def _key(request: Request) -> _Key:
    """The same for the same action with the same headers, whatever its ActionID."""
    others = (line for line in request.lines if not line.lower().startswith(("actionid:", "action:")))
    return (request.action.lower(), *others)


def _messages(segments: Iterable[Segment]) -> Iterator[tuple[float, bytes]]:
    """The messages and when each was whole. No byte is lost: an odd end stays with what follows it."""
    buffer = b""
    banner = True
    for segment in segments:
        buffer += segment.data
        if banner:
            _, end, buffer = buffer.partition(b"\n")
            banner = not end
        at = 0
        while (end_at := _end(buffer, at)) > 0:
            yield segment.at, buffer[at:end_at]
            at = end_at
        buffer = buffer[at:]


def _end(buffer: bytes, at: int) -> int:
    """Where the message that begins there ends, the blank lines after it included; 0 if it isn't whole."""
    mark = b"\r\n\r\n"
    if buffer.startswith(b"Response: Follows", at):
        mark = b"--END COMMAND--\r\n\r\n"
    found = buffer.find(mark, at)
    if found < 0:
        return 0
    end = found + len(mark)
    while buffer.startswith(b"\r\n", end):
        end += 2
    return end
