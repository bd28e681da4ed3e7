"""The browser for tests that look at pages as people do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import requirements
from tests.browser.chromium import Chromium, Visitor, why_not

#: Where screenshots are kept.
ARTIFACTS = Path(os.environ.get("AMIWEB_TEST_ARTIFACTS", "build/browser"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """One Chromium for the whole run."""
    if reason := why_not():
        requirements.unavailable("browser", reason)
    with Chromium(ARTIFACTS) as browser:
        requirements.ran_against("Chromium", browser.version)
        yield browser


@pytest.fixture
def visitor(chromium: Chromium) -> Iterator[Visitor]:
    """A person at the browser; the test fails if a page's console complained."""
    person = chromium.visitor()
    yield person
    complaints = person.complaints
    person.close()
    assert not complaints, "\n".join(complaints)
