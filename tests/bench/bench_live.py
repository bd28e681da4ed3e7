"""The live page at speed: from a PBX's socket to a painted row, its answer to a click, and a hundred tabs.

The browser is a real one, on the same machine, and so are listener, recorder, Valkey, database and the PBX:
what is measured is all of it together. The moment of sending travels in each event.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import statistics
import time

import pytest
import websockets
from websockets.typing import Origin

from ami_integration.ami import TCP
from ami_integration.events.models import Event
from tests.bench import SCALE
from tests.bench.processes import cpu_seconds, resident_mb
from tests.browser.chromium import Handle, Visitor
from tests.browser.people import log_in
from tests.counting import Counting
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

PACE = 1_000
SECONDS = max(3.0, 30 * SCALE)
TABS = max(3, int(100 * SCALE))

#: Notes each row's id with the moment at which the frame that first had it was done: what asks for a frame
#: while the rows are put in is called in the next one.
WATCH = """() => {
    window.painted = [];
    const list = document.getElementById("live-rows");
    new MutationObserver((changes) => {
        const ids = [];
        for (const change of changes)
            for (const node of change.addedNodes)
                if (node.dataset?.id) ids.push(node.dataset.id);
        if (ids.length)
            requestAnimationFrame(() => {
                const now = Date.now();
                for (const id of ids) window.painted.push([id, now]);
            });
    }).observe(list, {childList: true});
    window.clicks = [];
    new PerformanceObserver((entries) => {
        for (const entry of entries.getEntries())
            if (entry.name === "click") window.clicks.push(entry.duration);
    }).observe({type: "event", durationThreshold: 16});
}"""
#: Milliseconds from the request of the page to its first paint and to its first row.
FIRST = """() => new Promise((resolve) => {
    const list = document.getElementById("live-rows");
    const done = () => requestAnimationFrame(() => resolve([
        performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0, performance.now(),
    ]));
    if (list.childElementCount) return done();
    new MutationObserver((_, watching) => {
        watching.disconnect();
        done();
    }).observe(list, {childList: true});
})"""


def start(stack: Stack) -> None:
    for name in ("web", "recorder"):
        stack.start(name)
    stack.start("listener", "--no-recorder")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def left_out(page: Handle) -> int:
    """How many rows the page says it hasn't shown."""
    found = re.match(r"[\d,]+", page.locator("#live-shed").text_content() or "")
    return int(found[0].replace(",", "")) if found else 0


def watched(page: Handle) -> list[tuple[str, int]]:
    """What is painted from now on, as id and moment."""
    page.evaluate(WATCH)
    time.sleep(SECONDS)  # what is measured is what a while of it brings
    return [(row, at) for row, at in page.evaluate("window.painted")]


def clicked(page: Handle) -> list[float]:
    """Milliseconds from clicks to what they change, for those of 16 or more; there are twenty."""
    place = page.get_by_role("button", name="Pause").bounding_box()
    for _ in range(20):  # by the mouse alone: Playwright's own click waits until nothing moves
        page.mouse.click(place["x"] + 5, place["y"] + place["height"] / 2)
        time.sleep(0.2)  # as a person does
    found: list[float] = page.evaluate("window.clicks")
    return found


@pytest.mark.parametrize("names", ["Hangup", ""], ids=["filtered", "all"])
def bench_from_the_socket_to_a_painted_row(stack: Stack, visitor: Visitor, names: str) -> None:
    with Counting(pace=PACE) as pbx:
        make_server(TCP("127.0.0.1", pbx.port), name="busy", username="busy")
        start(stack)
        page: Handle = log_in(visitor, stack)
        wait_until(lambda: Event.objects.count() > PACE, seconds=60, what=lambda: stack.log("listener"))
        page.goto(f"{stack.url}/admin/live/?names={names}")
        first_paint, first_row = page.evaluate(FIRST)
        painted = watched(page)
        told = left_out(page)
        clicks = [] if names else clicked(page)
        pbx.stop()
        shown = sorted(int(row) for row, _ in painted)
        wait_until(
            lambda: Event.objects.filter(pk__gt=shown[-1]).exists(),
            seconds=30,
            what="what the page has shown is stored",
        )
    between = Event.objects.filter(pk__range=(shown[0], shown[-1])).exclude(name="FullyBooted")
    sent = {str(event.pk): int(dict(event.headers)["Value"]) for event in between}
    took = [float(at - sent[row]) for row, at in painted if row in sent]
    if names:
        assert told == 0
        assert shown == sorted(between.filter(name=names).values_list("pk", flat=True))
    else:
        assert told > 0
    print(
        f"\n{PACE} events/s, the page shows {names or 'all'}: {len(took) / SECONDS:.0f} rows/s painted, from "
        f"the socket to the row p50 {statistics.median(took):.0f} ms, p99 {percentile(took, 0.99):.0f} ms; "
        f"{told:,} left out; first paint after {first_paint:.0f} ms, first row after {first_row:.0f} ms"
    )
    if not names:
        slowest = max(clicks, default=0.0)
        print(f"  {len(clicks)} of 20 clicks took a frame or more, the slowest {slowest:.0f} ms")


async def watch(url: str, cookie: str, seconds: float) -> int:
    """Rows that a tab which shows everything is sent in so many seconds."""
    rows = 0
    async with websockets.connect(
        url,
        additional_headers={"Cookie": cookie},
        origin=Origin(url.replace("ws://", "http://").partition("/ws/")[0]),
        max_size=None,
    ) as socket:
        await socket.send(json.dumps({"type": "subscribe", "seq": 1, "server": None, "since": {}}))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    message = json.loads(await socket.recv())
                    rows += len(message.get("items", []))
    return rows


def bench_a_hundred_tabs_on_one_web_process(stack: Stack, visitor: Visitor) -> None:
    with Counting(pace=PACE) as pbx:
        make_server(TCP("127.0.0.1", pbx.port), name="busy", username="busy")
        start(stack)
        page = log_in(visitor, stack)
        cookie = "; ".join(f"{one['name']}={one['value']}" for one in page.context.cookies())
        page.close()  # only the tabs that are counted are to cost something
        wait_until(lambda: Event.objects.count() > PACE, seconds=60, what=lambda: stack.log("listener"))
        web = stack.processes["web"].pid
        for tabs in (1, TABS):
            before, began = cpu_seconds([web]), time.monotonic()

            async def watch_all(tabs: int = tabs) -> list[int]:
                url = f"{stack.url.replace('http', 'ws')}/ws/live/"
                return await asyncio.gather(*(watch(url, cookie, SECONDS) for _ in range(tabs)))

            rows = asyncio.run(watch_all())
            elapsed = time.monotonic() - began
            assert min(rows) > 0
            used = (cpu_seconds([web]) - before) / elapsed
            print(
                f"\n{PACE} events/s, {tabs} tab(s) that show everything: the web process takes {used:.0%} of "
                f"a core and {resident_mb(web):.0f} MB; each tab is sent {min(rows) / elapsed:.0f} to "
                f"{max(rows) / elapsed:.0f} rows/s"
            )
        pbx.stop()
