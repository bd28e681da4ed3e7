"""The action sessions that this process keeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ami_integration.servers.sessions import pool
from tests.processes import Valkey


@pytest.fixture
def action_sessions(valkey: Valkey) -> Iterator[Valkey]:
    """Begin and end without a kept session, a lease, an open circuit or a counted action."""
    pool.close_idle()
    valkey.start()
    valkey.flush()
    yield valkey
    pool.close_idle()
