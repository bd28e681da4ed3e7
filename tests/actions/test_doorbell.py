"""Telling workers and pages: never raises, and says in the log only what changed."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from base64 import b64decode

import pytest
import redis

from ami_integration.actions import doorbell
from tests.processes import Valkey


def queued(valkey: Valkey) -> list[list[int]]:
    """The arguments of the messages in the task queue, the newest first."""
    with redis.Redis.from_url(valkey.url) as client:
        messages = [json.loads(raw) for raw in client.lrange("amiweb", 0, -1)]
    return [json.loads(b64decode(message["body"]))[0] for message in messages]


def test_a_ring_carries_the_primary_key_alone(valkey: Valkey) -> None:
    valkey.flush()
    assert doorbell.ring([7, 8]) == [7, 8]
    assert queued(valkey) == [[8], [7]]
    valkey.flush()


def test_with_the_broker_away_a_ring_is_quick_and_logged_once_and_so_is_the_recovery(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    doorbell.task_queue.ended()  # whatever another test left
    caplog.clear()
    valkey.stop()
    try:
        with caplog.at_level(logging.WARNING, "ami_integration.actions.doorbell"):
            for _ in range(3):
                began = time.monotonic()
                assert doorbell.ring([7]) == []
                assert time.monotonic() - began < 2
            assert [record.levelname for record in caplog.records] == ["ERROR"]
            valkey.start()
            assert doorbell.ring([7]) == [7]
            assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
            assert "over after" in caplog.text
    finally:
        valkey.start()
        valkey.flush()


def test_the_first_ring_after_a_restart_of_the_broker_works(valkey: Valkey) -> None:
    assert doorbell.ring([7])
    valkey.kill()
    valkey.start()
    assert doorbell.ring([8]) == [8]
    valkey.flush()


def test_with_the_channel_layer_away_a_push_neither_raises_nor_waits(valkey: Valkey) -> None:
    valkey.stop()
    try:
        began = time.monotonic()
        doorbell.push(7)
        assert time.monotonic() - began < 5
    finally:
        valkey.start()


def test_a_broker_that_hangs_holds_nobody_up_for_long(valkey: Valkey) -> None:
    assert valkey.process is not None
    os.kill(valkey.process.pid, signal.SIGSTOP)
    try:
        for call, answer in ((lambda: doorbell.ring([7, 8, 9]), []), (lambda: doorbell.push(7), None)):
            began = time.monotonic()
            assert call() == answer
            assert time.monotonic() - began < 6  # three times the limit
    finally:
        os.kill(valkey.process.pid, signal.SIGCONT)
        valkey.flush()
