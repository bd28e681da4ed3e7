"""What the workers are told of."""

from __future__ import annotations

import pytest


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The runs that the workers were told of; no task queue is needed."""
    from ami_integration.actions import doorbell

    heard: list[int] = []

    def ring(run_ids: list[int]) -> list[int]:
        heard.extend(run_ids)
        return list(run_ids)

    monkeypatch.setattr(doorbell, "ring", ring)
    return heard
