"""The action sessions that this process keeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import Valkey


@pytest.fixture
def action_sessions(valkey: Valkey) -> Iterator[Valkey]:
    """Begin and end without a lease, an open circuit or a counted action."""
    valkey.start()
    valkey.flush()
    yield valkey
    valkey.start()
    valkey.flush()


@pytest.fixture(autouse=True)
def _no_session_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test finds the session of another, whose server had the same id, nor the thread that kept it.

    That thread sees no server that a test has not committed, so it doesn't look unless a test wants it to.
    """
    from ami_integration.servers import sessions

    monkeypatch.setattr(sessions, "LOOK_EVERY", 3600.0)
    yield
    sessions.pool.stop()
