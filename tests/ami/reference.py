"""The framing rule of AMI, as plainly as it can be said: what the fast protocol is compared with."""

from __future__ import annotations

from ami_integration.ami import Event, Message, Response


def reference(stream: bytes) -> list[list[bytes]]:
    """The framing rule, as plainly as it can be said: the lines of each message."""
    messages: list[list[bytes]] = []
    lines: list[bytes] = []
    for line in _lines(stream):
        text = line[:-1].removesuffix(b"\r")
        if text:
            lines.append(text)
        elif lines:
            messages.append(lines)
            lines = []
    return messages


def _lines(stream: bytes) -> list[bytes]:
    *whole, _unfinished = stream.split(b"\n")
    return [line + b"\n" for line in whole]


def assert_regular(message: Message) -> None:
    """That what is read the quick way has no oddity: else it would be read wrongly."""
    if type(message) in (Event, Response):
        for line in message.raw.split(b"\r\n"):
            assert b":" in line and b"\r" not in line and b"\n" not in line, message.raw
