"""The live page at a browser: opened, and its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.browser.chromium import expect
from tests.processes import Stack

#: Brings entries to the store and to the pages (the fixture `send`).
Send = Callable[..., None]


def is_open(page: Any) -> None:
    expect(page.locator("#live-state")).to_have_attribute("data-state", "open")


def open_live(stack: Stack, page: Any, query: str = "") -> None:
    page.goto(f"{stack.url}/admin/live/{query}")
    is_open(page)


def rows(page: Any) -> Any:
    return page.locator("#live-rows > li")
