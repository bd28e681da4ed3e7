"""A key ring of the test's own."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings

OLD, NEW, THIRD = (Fernet.generate_key().decode() for _ in range(3))


@pytest.fixture
def ring(settings: Settings) -> Settings:
    """Everything is encrypted with the key `old`, until the test says otherwise."""
    settings.AMIWEB_ENCRYPTION_KEYS = {"old": OLD}
    return settings
