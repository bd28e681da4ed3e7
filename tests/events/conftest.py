"""What the tests of events share: an empty Valkey, both ends of its stream, a PBX, and a listener at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from django.conf import settings

from ami_integration.events.recorder import Recorder
from ami_integration.events.stream import valkey_client
from ami_integration.events.writer import StreamWriter
from tests.events.listening import PBX, Running
from tests.processes import Valkey


@pytest.fixture
def url(valkey: Valkey) -> Iterator[str]:
    """The address of a running, empty Valkey."""
    valkey.start()
    valkey.flush()
    assert valkey.url == settings.AMIWEB_REDIS_URL
    yield valkey.url
    valkey.start()  # a test may have stopped it


@pytest.fixture
def redis_client(url: str) -> Iterator[redis.Redis]:
    with valkey_client(url) as client:
        yield client


@pytest.fixture
def writer(redis_client: redis.Redis) -> StreamWriter:
    """A writer of servers that nobody else has."""
    return StreamWriter(redis_client, maxlen=1000)


@pytest.fixture
def recorder(url: str) -> Iterator[Recorder]:
    recorder = Recorder(url=url)
    yield recorder
    recorder.close()


@pytest.fixture
async def pbx() -> AsyncIterator[PBX]:
    pbx = PBX()
    await pbx.start()
    yield pbx
    await pbx.stop()


@pytest.fixture
async def running(url: str) -> AsyncIterator[Running]:
    running = Running(url)
    yield running
    await running.stop()
    await asyncio.to_thread(running.recorder.close)
