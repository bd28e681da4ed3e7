"""What the tests of events share: an empty Valkey, and a writer that holds the listener's lease."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from django.conf import settings

from ami_integration.events.recorder import Recorder
from ami_integration.events.stream import valkey_client
from ami_integration.events.writer import StreamWriter
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
