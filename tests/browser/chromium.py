"""A real Chromium in a thread of its own.

Playwright's blocking interface runs an event loop, and Django's ORM refuses to work in a thread that has
one. So the browser lives in its own thread, and what a test holds are handles: each call is carried out over
there, and what it returns is a handle again wherever it belongs to Playwright.

Every page is watched: a console error, an uncaught exception or a violation of the Content-Security-Policy
(which the console tells) fails the test in the end, whatever it was about. So does, on every page of which a
picture is taken, a serious finding of axe-core and a width beyond the window's.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import expect as playwright_expect
from playwright.sync_api import sync_playwright

EXECUTABLE = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",  # the tests run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Milliseconds that an expectation waits; promises of the product are shorter, machines may be slow.
PATIENCE = 15_000
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

#: Findings of axe-core that shut people out; `minor` and `moderate` ones are advice. Colours are looked at
#: when they have stopped fading. The one rule left out dislikes the admin's search box, whose label is a
#: picture.
AXE = """async () => {
    await Promise.allSettled(document.getAnimations().map(one => one.finished));
    const found = await axe.run({
        resultTypes: ["violations"], preload: false, rules: {"label-title-only": {enabled: false}},
    });
    return found.violations
        .filter(one => ["serious", "critical"].includes(one.impact))
        .map(one => `${one.id}: ${one.help}: ` + one.nodes.slice(0, 3).map(node => node.html).join(" "));
}"""


def why_not() -> str:
    """Why no browser can be had here; empty when it can."""
    return "" if shutil.which(EXECUTABLE) else f"{EXECUTABLE} is missing (Debian package chromium)"


class Handle:
    """Something of Playwright's, used from another thread."""

    def __init__(self, thread: ThreadPoolExecutor, thing: Any) -> None:
        object.__setattr__(self, "_thread", thread)
        object.__setattr__(self, "_thing", thing)

    def __getattr__(self, name: str) -> Any:
        return self._wrap(self._thread.submit(getattr, self._thing, name).result())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bare = [_bare(arg) for arg in args]
        named = {name: _bare(value) for name, value in kwargs.items()}
        return self._wrap(self._thread.submit(self._thing, *bare, **named).result())

    def __enter__(self) -> Any:
        return self._wrap(self._thread.submit(self._thing.__enter__).result())

    def __exit__(self, *error: Any) -> None:
        self._thread.submit(self._thing.__exit__, *error).result()

    def _wrap(self, value: Any) -> Any:
        if callable(value) or type(value).__module__.startswith("playwright."):
            return Handle(self._thread, value)
        if isinstance(value, list):
            return [self._wrap(item) for item in value]
        return value


def _bare(value: Any) -> Any:
    return value._thing if isinstance(value, Handle) else value


class Chromium:
    """The browser, one for a test session.

    Attributes:
        version: as Chromium says it.
    """

    def __init__(self, artifacts: Path) -> None:
        self.artifacts = artifacts
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="chromium")
        self._playwright: Any = None
        self._browser: Any = None
        self.version = ""

    def __enter__(self) -> Self:
        self._thread.submit(self._start).result()
        return self

    def _start(self) -> None:
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        self.version = self._browser.version

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.submit(self._stop).result()
        self._thread.shutdown()

    def _stop(self) -> None:
        self._browser.close()
        self._playwright.stop()

    def visitor(self, **options: Any) -> Visitor:
        """A new person at the browser: no cookies, nothing remembered."""
        return Visitor(self, self._thread, options)

    def new_context(self, options: dict[str, Any]) -> Any:
        context = self._browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        # As an init script, axe-core gets past the Content-Security-Policy, which stays on.
        context.add_init_script(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text())
        return context


class Visitor:
    """One person's tabs.

    Attributes:
        complaints: what the consoles said that should not be there.
    """

    def __init__(self, browser: Chromium, thread: ThreadPoolExecutor, options: dict[str, Any]) -> None:
        self._browser = browser
        self._thread = thread
        self._lock = threading.Lock()
        self._allowed: list[str] = []
        self._complaints: list[str] = []
        self._context = thread.submit(
            browser.new_context, {"viewport": DESKTOP, "color_scheme": "light", **options}
        ).result()

    def tab(self) -> Any:
        """A new tab, watched."""
        return Handle(self._thread, self._thread.submit(self._open).result())

    def _open(self) -> Any:
        page = self._context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._complain(f"uncaught: {error}"))
        return page

    def carry_out(self, work: Callable[[Any], Any]) -> Any:
        """Do something long with the bare context, over there: its pages are not watched."""
        return self._thread.submit(work, self._context).result()

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self._complain(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _complain(self, text: str) -> None:
        with self._lock:
            self._complaints.append(text)

    def allow(self, pattern: str) -> None:
        """What the console may say in this test, as a regular expression: for tests that break things."""
        self._allowed.append(pattern)

    @property
    def complaints(self) -> list[str]:
        with self._lock:
            return [
                text for text in self._complaints if not any(re.search(one, text) for one in self._allowed)
            ]

    def picture(self, page: Handle, name: str) -> None:
        """Keep screenshots of desktop and phone width, light and dark, and examine the page in each."""
        self._browser.artifacts.mkdir(parents=True, exist_ok=True)
        for width, size in (("desktop", DESKTOP), ("phone", PHONE)):
            page.set_viewport_size(size)
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                path = self._browser.artifacts / f"{name}-{width}-{scheme}.png"
                page.screenshot(path=str(path), animations="disabled")
                for finding in self._examine(page):
                    self._complain(f"{name} ({width}, {scheme}): {finding}")
            over = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            if over > 0:
                self._complain(f"{name}: {over} px wider than the {width} window ({page.url})")
        page.set_viewport_size(DESKTOP)
        page.emulate_media(color_scheme="light")

    def _examine(self, page: Handle) -> list[str]:
        # axe-core tries inline styles, which the Content-Security-Policy refuses: no fault of the page's.
        before = len(self._complaints)
        findings: list[str] = page.evaluate(AXE)
        with self._lock:
            self._complaints[before:] = [
                one for one in self._complaints[before:] if "inline style" not in one
            ]
        return findings

    def close(self) -> None:
        self._thread.submit(self._context.close).result()


def expect(thing: Handle) -> Any:
    """Playwright's `expect` for a handle."""
    make: Callable[[Any], Any] = playwright_expect
    return Handle(thing._thread, thing._thread.submit(make, thing._thing).result())


playwright_expect.set_options(timeout=PATIENCE)
