"""Signs of life in Valkey: written, grown old, replaced, taken away."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

import pytest
import redis

from ami_integration import __version__
from ami_integration.heartbeats import (
    FORGOTTEN,
    ROWS,
    SILENT,
    Details,
    Heart,
    Kind,
    connection,
    heartbeats_read,
)
from tests.polling import wait_until
from tests.processes import Valkey


@pytest.fixture
def client(valkey: Valkey) -> Iterator[redis.Redis]:
    valkey.start()
    valkey.flush()
    with connection(valkey.url) as client:
        yield client


def write(
    client: redis.Redis, *, kind: str = "worker", host: str = "a", pid: int = 1, age: float, uptime: float = 0
) -> None:
    seconds, microseconds = client.time()  # type: ignore[misc]  # not awaited
    row = {"version": "1", "uptime": uptime, "lag": None, "depth": None, "words": ""}
    at = seconds + microseconds / 1_000_000 - age
    client.hset(ROWS, f"{kind} {host} {pid}", f"{at:.6f} {json.dumps(row)}")


def pids(client: redis.Redis) -> list[int]:
    return [beat.pid for beat in heartbeats_read(client)]


def test_a_heart_beats_until_it_is_stopped_and_takes_its_row_away(
    valkey: Valkey, client: redis.Redis
) -> None:
    with Heart(Kind.WEB, url=valkey.url, details=lambda: Details(lag=0.5, depth=7, words="well")):
        (beat,) = wait_until(lambda: heartbeats_read(client), seconds=15, what="the first beat")
        assert (beat.kind, beat.host, beat.pid) == (Kind.WEB, socket.gethostname(), os.getpid())
        assert beat.version == __version__
        assert beat.details == Details(lag=0.5, depth=7, words="well")
        assert not beat.silent
    assert heartbeats_read(client) == []


def test_a_process_that_can_not_say_how_it_is_falls_silent(
    valkey: Valkey, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    def hangs() -> Details:
        raise TimeoutError("the event loop stands still")

    with Heart(Kind.WEB, url=valkey.url, details=hangs):
        wait_until(lambda: "counts as silent" in caplog.text, seconds=15, what="the log tells of it")
        assert heartbeats_read(client) == []


def test_a_valkey_that_is_away_is_told_once_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with Heart(Kind.BEAT, url="unix:///nowhere/valkey.sock"):
        wait_until(lambda: "nobody hears" in caplog.text, seconds=15, what="the log tells of it")
    assert caplog.text.count("nobody hears") == 1


def test_a_row_grows_old_and_is_forgotten_after_a_day(client: redis.Redis) -> None:
    write(client, pid=1, age=SILENT - 5, uptime=60)
    write(client, pid=2, age=SILENT + 1)
    write(client, pid=3, age=FORGOTTEN + 1)
    assert [(beat.pid, beat.silent) for beat in heartbeats_read(client)] == [(1, False), (2, True)]
    assert client.hlen(ROWS) == 2


def test_a_silent_process_vanishes_when_another_was_started_in_its_place(client: redis.Redis) -> None:
    write(client, pid=1, age=60)
    write(client, pid=2, age=1, uptime=30)
    assert pids(client) == [2]


@pytest.mark.parametrize(
    "other",
    [
        {"age": 1, "uptime": 3600},  # it ran beside the dead one before
        {"age": 1, "uptime": 30, "host": "b"},
        {"age": 1, "uptime": 30, "kind": "ticker"},
        {"age": 20, "uptime": 30},  # silent itself
    ],
)
def test_a_silent_process_stays_while_nobody_was_started_in_its_place(
    client: redis.Redis, other: dict[str, object]
) -> None:
    write(client, pid=1, age=60)
    write(client, pid=2, **other)  # type: ignore[arg-type]
    assert sorted(pids(client)) == [1, 2]


def test_a_row_of_another_version_is_dropped(client: redis.Redis) -> None:
    client.hset(ROWS, mapping={"worker a 1": "not ours", "who knows": "1.0 {}", "clock a 1": "1.0 {}"})
    write(client, pid=2, age=0)
    assert pids(client) == [2]
    assert client.hlen(ROWS) == 1


def test_processes_come_in_the_order_of_their_kinds(client: redis.Redis) -> None:
    for pid, kind in enumerate(reversed(Kind)):
        write(client, kind=kind, pid=pid, age=0)
    assert [beat.kind for beat in heartbeats_read(client)] == list(Kind)
