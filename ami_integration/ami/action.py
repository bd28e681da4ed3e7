"""Actions: what goes to a PBX.

Everything is checked before anything is sent: AMI has no escaping, so a line end in a value would be a
header, or an action, of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from ami_integration.ami.errors import InvalidAction
from ami_integration.ami.messages import encode

HeaderValue: TypeAlias = "str | int | Sequence[str]"
Headers: TypeAlias = "Mapping[str, HeaderValue] | Iterable[tuple[str, str | int]]"

#: Longest usable line without its CRLF. Asterisk's buffer takes 1,025 bytes; longer lines drop the action,
#: and 1,023 bytes exactly would split it in two (main/manager.c, get_input).
MAX_LINE = 1022
#: Most header lines of one action, ``Action`` and ``ActionID`` included (include/asterisk/manager.h).
MAX_HEADERS = 128
#: Longer ActionIDs overflow an 80-byte buffer in app_confbridge and glue two headers together.
MAX_ACTION_ID = 67

_QUOTED = str.maketrans({character: f"\\{character}" for character in '\\",()[]'})


def new_action_id() -> str:
    """An ActionID that nobody can guess: other sessions may copy ids into events that reach us."""
    return os.urandom(16).hex()


def quote_variable(value: str) -> str:
    """A channel variable's value as it has to stand in a ``Variable`` header.

    Asterisk cuts that header at commas and takes quotes and backslashes away (main/app.c,
    __ast_app_separate_args), where parentheses and brackets protect commas; a backslash protects all of them.
    """
    return value.translate(_QUOTED)


class Action:
    """An action to be sent.

    Args:
        name: as in ``manager show commands``, for example ``CoreStatus``.
        headers: a mapping (a sequence as value repeats the header) or pairs in order.
        action_id: at most 67 bytes; chosen at random when not given.
        variables: channel variables for Originate and its like, each in a ``Variable`` header of its own,
            quoted so that they arrive as they are (`quote_variable`). A ``Variable`` among the headers is
            sent as it is given.

    Creating one checks nothing; `encode` does.
    """

    __slots__ = ("action_id", "headers", "name")

    def __init__(
        self,
        name: str,
        headers: Headers = (),
        *,
        action_id: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.headers: list[tuple[str, str]] = []
        for key, value in _pairs(headers) if headers else ():
            if key.lower() == "actionid" and action_id is None:
                action_id = value
            else:
                self.headers.append((key, value))
        if variables:
            self.headers += (
                ("Variable", f"{key}={quote_variable(value)}") for key, value in variables.items()
            )
        self.action_id = new_action_id() if action_id is None else action_id

    def encode(self) -> bytes:
        """The bytes to send, ``Action`` and ``ActionID`` first, so that even an error about the rest has it.

        Raises:
            InvalidAction: what is wrong and where. AMI has no escaping, so CR, LF and NUL are refused.
        """
        if not self.name:
            raise InvalidAction("The action has no name.")
        if not self.action_id or len(encode(self.action_id)) > MAX_ACTION_ID:
            raise InvalidAction(f"The ActionID must have 1 to {MAX_ACTION_ID} bytes.")
        if len(self.headers) + 2 > MAX_HEADERS:
            raise InvalidAction(
                f"The action has {len(self.headers) + 2} headers, Action and ActionID included; "
                f"Asterisk takes {MAX_HEADERS} at most."
            )
        lines = [_line("Action", self.name), _line("ActionID", self.action_id)]
        for name, value in self.headers:
            if name.lower() in ("action", "actionid"):
                raise InvalidAction(f"The header {name} is given twice.")
            lines.append(_line(name, value))
        try:
            data = encode("\r\n".join(lines))
        except UnicodeEncodeError:
            data = b"\r\n".join(map(_encode_line, lines))  # it raises, and tells which
        if len(data) > MAX_LINE:
            for line in lines:
                _encode_line(line)
        return data + b"\r\n\r\n"

    def __repr__(self) -> str:
        # Values may be secrets: names only.
        names = ", ".join(name for name, _ in self.headers)
        return f"<Action {self.name} ({names})>"


def _pairs(headers: Headers) -> Iterable[tuple[str, str]]:
    if isinstance(headers, Mapping):
        for name, value in headers.items():
            if isinstance(value, (str, int)):
                yield name, str(value)
            else:
                for item in value:
                    yield name, str(item)
    else:
        for name, single in headers:
            yield name, str(single)


_bad_name = re.compile("[: \t\r\n\0]").search
_bad_value = re.compile("[\r\n\0]").search


def _line(name: str, value: str) -> str:
    if not name or _bad_name(name):
        raise InvalidAction(
            f"{name!r} can't be a header's name: it must not be empty nor hold blanks, colons or line ends."
        )
    if _bad_value(value):
        raise InvalidAction(
            f"The value of {name} holds a line end or a NUL. AMI can't carry them: "
            f"what follows would be read as another header or action."
        )
    return f"{name}: {value}"


def _encode_line(line: str) -> bytes:
    name = line.partition(":")[0]
    try:
        data = encode(line)
    except UnicodeEncodeError as error:
        raise InvalidAction(
            f"The value of {name} holds a character that can't be encoded: {error.reason}."
        ) from None
    if len(data) > MAX_LINE:
        raise InvalidAction(
            f"The line of {name} has {len(data)} bytes with its name; Asterisk takes {MAX_LINE} at most."
        )
    return data
