"""The places where a secret could come to lie, each as texts to be searched with their names."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import threading
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from django.db import connection

from tests import postgres

#: A place's name for a person, and what it holds.
Text = tuple[str, bytes]


def database_texts() -> Iterator[Text]:
    """A dump of the database in clear, table by table."""
    if connection.vendor == "sqlite":
        with closing(sqlite3.connect(str(connection.settings_dict["NAME"]))) as database:
            yield "the database's dump", "\n".join(database.iterdump()).encode("utf-8", "surrogateescape")
        return
    url = postgres.cluster().url(str(connection.settings_dict["NAME"]))
    command = [str(postgres.programs() / "pg_dump"), "--format=plain", "--data-only", url]
    dump = subprocess.run(command, check=True, capture_output=True).stdout
    for part in re.split(rb"(?m)^(?=COPY )", dump):
        table = re.match(rb"COPY (?:public\.)?(\S+)", part)
        yield f"the database's dump, {table[1].decode() if table else 'outside of tables'}", part


def valkey_texts(client: redis.Redis) -> Iterator[Text]:
    """All that Valkey holds, by key."""
    for key in client.scan_iter(count=1000):
        name = f"Valkey's key {key.decode(errors='replace')}"
        yield name, key
        for value in _values(client, key):
            yield name, value


def _values(client: Any, key: bytes) -> Iterator[bytes]:
    match client.type(key):
        case b"string":
            yield client.get(key) or b""
        case b"hash":
            for field, value in client.hgetall(key).items():
                yield field + b"=" + value
        case b"list":
            yield from client.lrange(key, 0, -1)
        case b"set":
            yield from client.smembers(key)
        case b"zset":
            yield from client.zrange(key, 0, -1)
        case b"stream":
            for _, fields in client.xrange(key):
                for field, value in fields.items():
                    yield field + b"=" + value


def folder_texts(folder: Path, *, without: Collection[Path] = ()) -> Iterator[Text]:
    """Every file below a folder; a canary in its name counts, too."""
    for path in sorted(folder.rglob("*")):
        if path in without or not path.is_file():
            continue
        yield f"the file {path.name}", bytes(path.relative_to(folder)) + b"\n" + path.read_bytes()


class Monitor:
    """All commands that Valkey is given, as MONITOR tells them, from `__enter__` on."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lines: list[bytes] = []
        self._done = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join(10)

    def texts(self) -> Iterator[Text]:
        yield "the stream of commands to Valkey", b"\n".join(self._lines)

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                with redis.Redis.from_url(self._url) as client, client.monitor() as monitor:
                    self._ready.set()
                    connection = monitor.connection
                    while not self._done.is_set():
                        if connection.can_read(timeout=0.2):
                            self._lines.append(_unquoted(bytes(connection.read_response())))
            except (redis.RedisError, OSError):
                self._done.wait(0.1)  # Valkey is away for a while: that is part of the exercise


def _unquoted(line: bytes) -> bytes:
    """A line of MONITOR with its escapes (`\\x1f`) undone, so that what is binary can be unpacked."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), line)


class ProcessList:
    """The command lines of all processes of the machine, looked at all the while."""

    def __init__(self) -> None:
        self._lines: set[bytes] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process list", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(10)
        self.look()

    def texts(self) -> Iterator[Text]:
        yield "the process list", b"\n".join(self._lines)

    def look(self) -> None:
        """Look once, now."""
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    self._lines.add(Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" "))
                except OSError:
                    continue  # it has ended

    def _run(self) -> None:
        while not self._done.wait(0.1):
            self.look()
