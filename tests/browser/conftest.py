"""What the tests of the live page share: a server, what brings its events, and the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ami_integration.events.recorder import Recorder
from ami_integration.events.stream import Entry, valkey_client
from ami_integration.events.writer import StreamWriter
from ami_integration.servers.models import Server
from ami_integration.servers.services import server_health_set
from tests.browser.chromium import Visitor
from tests.browser.live import Send, open_live
from tests.browser.people import log_in
from tests.processes import Stack
from tests.servers.factories import make_server


@pytest.fixture
def server(stack: Stack) -> Server:
    """A server that is online, as a listener would have noted."""
    server = make_server(name="Berlin")
    server_health_set(server_id=server.pk, state="online")
    return server


@pytest.fixture
def send(stack: Stack) -> Iterator[Send]:
    """Brings entries to the store and to the pages, as listener and recorder do."""
    recorder = Recorder(url=stack.valkey.url)
    with valkey_client(stack.valkey.url) as client:
        writer = StreamWriter(client, maxlen=1000)

        def send(*entries: Entry) -> None:
            writer.append(entries)
            recorder.step()

        yield send
    recorder.close()


@pytest.fixture
def live(stack: Stack, visitor: Visitor) -> Any:
    """The live page of an administrator."""
    stack.start("web")
    page = log_in(visitor, stack)
    open_live(stack, page)
    return page
