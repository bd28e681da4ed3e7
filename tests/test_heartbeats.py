"""Signs of life in Valkey: written, grown old, replaced, taken away."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest
import redis

from ami_integration import __version__
from ami_integration.heartbeats import (
    FORGOTTEN,
    LEFT,
    ROWS,
    SILENT,
    Details,
    Heart,
    Kind,
    connection,
    heartbeat_forget,
    heartbeats_read,
    loop_lag,
)
from tests.beats import beat_write
from tests.polling import wait_until
from tests.processes import Valkey


@pytest.fixture
def client(valkey: Valkey) -> Iterator[redis.Redis]:
    valkey.start()
    valkey.flush()
    with connection(valkey.url) as client:
        yield client


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
    beat_write(client, pid=1, age=SILENT - 5, uptime=60)
    beat_write(client, pid=2, age=SILENT + 1)
    beat_write(client, pid=3, age=FORGOTTEN + 1)
    assert [(beat.pid, beat.silent) for beat in heartbeats_read(client)] == [(1, False), (2, True)]
    assert client.hlen(ROWS) == 2


def test_a_silent_process_vanishes_when_another_was_started_in_its_place(client: redis.Redis) -> None:
    beat_write(client, pid=1, age=60)
    beat_write(client, pid=2, age=1, uptime=30)
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
    beat_write(client, pid=1, age=60)
    beat_write(client, pid=2, **other)  # type: ignore[arg-type]
    assert sorted(pids(client)) == [1, 2]


def test_a_silent_process_vanishes_after_a_while_when_another_of_its_kind_lives_elsewhere(
    client: redis.Redis,
) -> None:
    beat_write(client, pid=1, age=LEFT + 1)
    beat_write(client, pid=2, age=1, uptime=3600, host="b")
    beat_write(client, "beat", pid=3, age=LEFT + 1)
    assert pids(client) == [2, 3]


def test_only_a_silent_process_can_be_forgotten(client: redis.Redis) -> None:
    beat_write(client, pid=1, age=1)
    beat_write(client, pid=2, age=60)
    assert [heartbeat_forget(client, kind="worker", host="here", pid=pid) for pid in (1, 2, 3)] == [
        False,
        True,
        False,
    ]
    assert pids(client) == [1]


def test_an_event_loop_that_stands_still_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ami_integration.heartbeats.SILENT", 0.05)
    loop = asyncio.new_event_loop()  # nobody runs it
    try:
        with pytest.raises(TimeoutError):
            loop_lag(loop)
    finally:
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_a_row_of_another_version_is_dropped(client: redis.Redis) -> None:
    client.hset(ROWS, mapping={"worker a 1": "not ours", "who knows": "1.0 {}", "clock a 1": "1.0 {}"})
    beat_write(client, pid=2, age=0)
    assert pids(client) == [2]
    assert client.hlen(ROWS) == 1


def test_processes_come_in_the_order_of_their_kinds(client: redis.Redis) -> None:
    for pid, kind in enumerate(reversed(Kind)):
        beat_write(client, kind, pid=pid, age=0)
    assert [beat.kind for beat in heartbeats_read(client)] == list(Kind)
