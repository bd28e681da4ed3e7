"""Every page of amiweb in the real browser, with a row in every table and an attack in every text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve

from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.schedules.alerts.models import AlertChannel, AlertDelivery
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Server
from tests.browser.chromium import Visitor, expect
from tests.browser.crawler import Crawler, Walk
from tests.browser.everything import CANARY, empty_tables, fill
from tests.browser.people import log_in
from tests.processes import Stack

pytestmark = [pytest.mark.browser, pytest.mark.processes]

#: What isn't followed: it ends the login.
LEAVE = r"/logout/"
#: Routes that no walk can reach, with the reason.
UNREACHED = {
    "admin/logout/": "ends the login; the last thing that is tried",
    "admin/r/<path:content_type_id>/<path:object_id>/": "no model of ours has a page outside the admin",
    "admin/jsi18n/": "Django's words in other languages; amiweb is English",
    "admin/ami_integration/server/<path:object_id>/": "Django's redirect; a server's own page stands there",
    "admin/autocomplete/": "asked by typing into a field, and needs its names",
}
#: A row for what an address names, where the model isn't the page's own.
NAMED: dict[str, Any] = {
    "run_id": ActionRun,
    "fanout_id": FanOut,
    "server_id": Server,
    "schedule_id": Schedule,
    "channel_id": AlertChannel,
    "delivery_id": AlertDelivery,
}
WORDS = {"name": "Ping", "app_label": "ami_integration", "url": "nothing/"}


def routes(patterns: Any = None, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every route of amiweb as the resolver writes it."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route, pattern


def route_of(path: str) -> str | None:
    try:
        return resolve(path).route
    except Resolver404:
        return None


def address_of(route: str, pattern: URLPattern) -> str:
    """An address that this route answers, of rows that there are."""
    address = "/" + route
    for name in pattern.pattern.converters:
        if name in WORDS:
            value = WORDS[name]
        elif name in NAMED:
            value = str(NAMED[name].objects.order_by("pk").values_list("pk", flat=True)[0])
        elif name in ("object_id", "id", "pk"):
            app, model = route.split("/")[1:3]
            value = str(apps.get_model(app, model).objects.order_by("pk").values_list("pk", flat=True)[0])
        else:
            pytest.fail(f"Say in NAMED or WORDS what “{name}” names in {route}.")
        start = address.index("<")
        address = address[:start] + value + address[address.index(">") + 1 :]
    return address


def crawled(visitor: Visitor, stack: Stack, *visits: tuple[list[str], dict[str, Any]]) -> Walk:
    def work(context: Any) -> Walk:
        crawler = Crawler(context, stack.url, route_of=route_of, canary=CANARY, leave=LEAVE)
        for starts, how in visits:
            crawler.follow(starts, **how)
        crawler.close()
        return crawler.walk

    walk: Walk = visitor.carry_out(work)
    return walk


def test_every_page_keeps_the_policy_and_says_nothing_to_the_console(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    fill()
    assert empty_tables() == [], "fill() leaves none empty"
    linked = crawled(visitor, stack, (["/admin/", "/"], {}))
    assert linked.complaints == []

    # What no link leads to: what takes POST only or leads on, and pages behind buttons and slips of the pen.
    there = {route: pattern for route, pattern in routes() if "(?P" not in route}
    missing = [route for route in there if route not in linked.routes and route not in UNREACHED]
    addresses = [address_of(route, there[route]) for route in missing]
    statuses = {one: page.request.get(stack.url + one, max_redirects=0).status for one in addresses}
    pages = [address for address, status in statuses.items() if status not in (302, 405)]
    asked = crawled(visitor, stack, (pages, {"expected": (200, 400, 403, 404), "further": False}))
    assert asked.complaints == []
    assert sorted(route_of(address) or "" for address in pages) == sorted(asked.routes & set(missing))


def test_pages_for_those_who_are_not_let_in_and_of_what_went_wrong(stack: Stack, visitor: Visitor) -> None:
    stack.start("web", env={"DJANGO_SETTINGS_MODULE": "tests.browser.broken"})
    errors = {
        "/admin/login/?next=%00": 400,
        "/admin/nothing-here/": 404,
        "/broken/": 500,
        "/static/no.css": 404,
    }
    page = log_in(visitor, stack)
    walk = crawled(visitor, stack, (list(errors), {"expected": errors.values(), "further": False}))
    assert walk.complaints == []
    assert {address: walk.visited[address] for address in errors} == errors

    visitor.allow("Failed to load resource: the server responded with a status of (403|429)")
    page.goto(f"{stack.url}/admin/password_change/")
    page.evaluate("""() => {
        const form = document.querySelector("#content form");
        form.noValidate = true;
        form.querySelector("[name=csrfmiddlewaretoken]").remove();
    }""")
    page.locator("#content form").get_by_role("button").click()
    expect(page.get_by_text("This form has expired")).to_be_visible()
    page.goto(f"{stack.url}/admin/")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("Logged out", exact=False).first).to_be_visible()
    for _ in range(5):
        page.goto(f"{stack.url}/admin/login/")
        page.get_by_label("Username:", exact=True).fill("eve")
        page.get_by_label("Password:", exact=True).fill("guessed")
        page.get_by_role("button", name="Log in").click()
        page.wait_for_load_state("load")
    expect(page.get_by_text("15 minutes")).to_be_visible()
    visitor.picture(page, "locked-out")
