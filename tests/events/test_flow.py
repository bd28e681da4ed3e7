"""A live page says when nothing can come, and takes it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from channels.layers import get_channel_layer
from pytest_django import Settings

from ami_integration.events import consumers, flow
from ami_integration.events.flow import Flow
from ami_integration.heartbeats import SILENT, Kind, connection
from tests.beats import beat_write
from tests.events.page import Page, watcher

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(flow, "MAX_AGE", 0.1)


@pytest.fixture(autouse=True)
async def clean_layer(url: str) -> AsyncIterator[None]:
    yield
    await get_channel_layer().flush()


def beats(url: str, kinds: tuple[Kind, ...], *, age: float = 0) -> None:
    with connection(url) as client:
        for kind in kinds:
            beat_write(client, kind, age=age)


async def test_a_page_says_that_nobody_listens_or_records_and_takes_it_back(url: str) -> None:
    page = Page(await asyncio.to_thread(watcher))
    await asyncio.to_thread(beats, url, (Kind.LISTENER, Kind.RECORDER), age=SILENT)
    assert await page.connect()
    await page.subscribe()
    await page.until(lambda: "No listener" in page.flow and "No recorder" in page.flow, what="it says both")
    await asyncio.to_thread(beats, url, (Kind.RECORDER,))
    await page.until(lambda: "No recorder" not in page.flow, what="one is there")
    assert page.flow.startswith("No listener has given a sign of life")
    await asyncio.to_thread(beats, url, (Kind.LISTENER,))
    await page.until(lambda: not page.flow, what="it takes it back")
    await page.disconnect()


async def test_that_valkey_is_away_is_said(settings: Settings) -> None:
    settings.AMIWEB_REDIS_URL = "redis://127.0.0.1:1/0"
    assert await Flow().stopped_by() == "Valkey can't be reached: no events come until it is back."


async def test_a_hundred_pages_look_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = []

    def read(client: redis.Redis) -> list[Any]:
        looks.append(client)
        return []

    monkeypatch.setattr(flow, "MAX_AGE", 3600.0)
    monkeypatch.setattr(flow, "heartbeats_read", read)
    told = await asyncio.gather(*(Flow.of_loop().stopped_by() for _ in range(100)))
    assert len(looks) == 1 and len(set(told)) == 1
