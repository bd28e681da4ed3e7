"""Fixtures of the tests of schedules."""

from __future__ import annotations

import pytest

from ami_integration.actions import services


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The runs that the workers were told of; no task queue is needed."""
    heard: list[int] = []

    def ring(run_ids: list[int]) -> list[int]:
        heard.extend(run_ids)
        return list(run_ids)

    monkeypatch.setattr(services.doorbell, "ring", ring)
    return heard
