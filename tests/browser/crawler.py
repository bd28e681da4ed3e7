"""Follows every link of amiweb in a real browser, and writes down whatever is wrong on the way.

Several tabs load at once. Addresses that differ in their numbers or in the values of their queries alone are
the same page with other data: of each kind the first few are looked at. What pages fetch by themselves counts
as seen, too.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from playwright.sync_api import Error

from tests.browser.steering import STEERED

#: Tabs at once.
TABS = 4
#: Addresses of one kind that are looked at.
OF_A_KIND = 1
#: Milliseconds for one page.
PATIENCE = 20_000

#: Tells the console of each violation of the Content-Security-Policy, also of what is only fetched.
WATCH = """document.addEventListener("securitypolicyviolation", one =>
    console.error(`refused by the policy: ${one.violatedDirective} ${one.blockedURI} ${one.sample}`));"""
#: Names of queries by which the admin carries along where somebody came from.
CARRIED = {"_changelist_filters", "_facets", "_to_field"}
LINKS = "() => [...document.querySelectorAll('a[href]')].map(one => one.href)"


@dataclass
class Walk:
    """What was seen.

    Attributes:
        routes: of the addresses that were asked for, by a link or by a page itself.
        visited: the addresses of the pages, with the status of the answer.
        complaints: what was wrong, with the page on which it was.
    """

    routes: set[str] = field(default_factory=set)
    visited: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


class Crawler:
    """Somebody who is logged in, and clicks on everything.

    Args:
        context: Playwright's, bare.
        base: amiweb's address without a slash at its end.
        route_of: the route that answers for a path; None: not amiweb's.
        canary: a global variable that nothing may set.
        leave: paths that are not followed, as a regular expression.
    """

    def __init__(
        self, context: Any, base: str, *, route_of: Callable[[str], str | None], canary: str, leave: str
    ) -> None:
        # The same login without axe-core, which would be read in on each of the pages.
        self._context = context.browser.new_context(storage_state=context.storage_state())
        self._context.add_init_script(WATCH)
        self._base = base
        self._route_of = route_of
        self._canary = canary
        self._leave = re.compile(leave)
        self._kinds: Counter[tuple[str, ...]] = Counter()
        self._due: deque[str] = deque()
        self.walk = Walk()

    def follow(
        self, starts: Iterable[str], *, expected: Iterable[int] = (200,), further: bool = True
    ) -> None:
        """Look at these addresses, and at all to which they lead.

        Args:
            starts: paths.
            expected: statuses that are no fault.
            further: also follow the links.
        """
        self._due.extend(starts)
        tabs = [_Tab(self, self._context.new_page(), set(expected)) for _ in range(TABS)]
        while self._due:
            busy = [tab for tab in tabs if self._due and tab.go(self._due.popleft())]
            for tab in busy:
                links = tab.look()
                for link in links if further else ():
                    self._take(link)
        for tab in tabs:
            tab.close()

    def close(self) -> None:
        self._context.close()

    def _take(self, link: str) -> None:
        parts = urlsplit(link)
        if f"{parts.scheme}://{parts.netloc}" != self._base or self._leave.search(parts.path):
            return
        route = self._route_of(parts.path) or parts.path
        names = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - CARRIED
        # Combinations of filters have no end, and each list has a download of what it finds.
        several = len(names) > 1 or (names and parts.path.endswith((".csv", ".json")))
        kind = (route, "several") if several else (route, *names)
        address = parts.path + (f"?{parts.query}" if parts.query else "")
        if self._kinds[kind] < OF_A_KIND and address not in self.walk.visited:
            self._kinds[kind] += 1
            self.walk.visited[address] = 0
            self._due.append(address)

    def saw(self, url: str) -> None:
        """Note an address that a page asked for."""
        if url.startswith(self._base) and (route := self._route_of(urlsplit(url).path)) is not None:
            self.walk.routes.add(route)


class _Tab:
    """One page of the browser, used for one address after the other."""

    def __init__(self, crawler: Crawler, page: Any, expected: set[int]) -> None:
        self._crawler = crawler
        self._page = page
        self._expected = expected
        self._address = ""
        self._download = False
        page.set_default_timeout(PATIENCE)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._complain(f"uncaught: {error}"))
        page.on("request", lambda request: crawler.saw(request.url))
        page.on("response", self._on_response)
        page.on("requestfailed", self._on_failure)
        page.on("dialog", lambda dialog: dialog.dismiss())

    def go(self, address: str) -> bool:
        """Begin to load an address; whether there is a page to look at."""
        self._address, self._download = address, False
        try:
            self._page.goto(self._crawler._base + address, wait_until="commit")
        except Error as error:
            if "Download is starting" in str(error):
                self._crawler.walk.visited[address] = 200
            else:
                self._complain(str(error))
            return False
        return True

    def look(self) -> list[str]:
        """Wait for the page; its links."""
        try:
            self._page.wait_for_load_state("load")
            if self._page.evaluate("name => name in window", self._crawler._canary):
                self._complain("a script ran that somebody else wrote")
            for steered in self._page.evaluate(STEERED, True):
                self._complain(steered)
            links: list[str] = self._page.evaluate(LINKS)
        except Error as error:
            self._complain(str(error))
            return []
        return links

    def close(self) -> None:
        self._page.close()

    def _complain(self, text: str) -> None:
        self._crawler.walk.complaints.append(f"{self._address}: {text}")

    def _on_console(self, message: Any) -> None:
        if message.type not in ("error", "warning"):
            return
        # Of answers that aren't a page the status says enough; see _on_response.
        if not message.text.startswith("Failed to load resource: the server responded with a status of"):
            self._complain(f"{message.type}: {message.text}")

    def _on_response(self, response: Any) -> None:
        url, status = response.url, response.status
        if url == self._crawler._base + self._address:
            self._crawler.walk.visited[self._address] = status
            if 300 <= status < 400 or status in self._expected:
                return
        elif status < 400:
            return
        self._complain(f"{url} was answered with {status}")

    def _on_failure(self, request: Any) -> None:
        # A page that goes takes what it is asking for with it; a download ends its navigation.
        if request.failure not in ("net::ERR_ABORTED", None):
            self._complain(f"{request.url} failed: {request.failure}")
