"""What a browser gets in production, from the real web process behind a proxy that ends TLS."""

from __future__ import annotations

import http.client
import re
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.amiweb.test_headers import is_strict
from tests.amiweb.test_settings import manage, production_environment
from tests.browser.people import WORD, make_member
from tests.polling import wait_until
from tests.processes import Stack

pytestmark = pytest.mark.processes

HOST = "pbx.example.com"


class Browser:
    """Somebody behind the proxy.

    Attributes:
        cookies: what amiweb has set, with its attributes.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.cookies: SimpleCookie = SimpleCookie()

    def ask(
        self, method: str, path: str, body: dict[str, str] | None = None, **more: str
    ) -> tuple[http.client.HTTPResponse, str]:
        """An answer with its text; `more` are headers, with _ for -."""
        headers = {"Host": HOST, "X-Forwarded-Proto": "https", "Origin": f"https://{HOST}"}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{one.key}={one.value}" for one in self.cookies.values())
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request(method, path, None if body is None else urlencode(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        for line in answer.headers.get_all("Set-Cookie") or ():
            self.cookies.load(line)
        return answer, text

    def reaches_it(self) -> bool:
        """Whether the web process serves."""
        try:
            return self.ask("GET", "/admin/login/", X_Forwarded_Proto="http")[0].status == 301
        except OSError:
            return False


@pytest.fixture
def browser(stack: Stack, tmp_path: Path) -> Browser:
    """Somebody who comes to a web process that was started as an operator does."""
    env = production_environment(tmp_path) | {
        "AMIWEB_STATIC_ROOT": str(tmp_path / "static"),
        "AMIWEB_DATABASE_URL": stack.env["AMIWEB_DATABASE_URL"],
        "AMIWEB_REDIS_URL": stack.valkey.url,
    }
    collected = manage("collectstatic", "--noinput", **env)
    assert collected.returncode == 0, collected.stderr
    stack.start("web", env=env, wait=False)
    person = Browser(stack.port)
    wait_until(person.reaches_it, seconds=45, what=lambda: stack.log("web"))
    return person


def test_what_the_web_process_answers_in_production(browser: Browser) -> None:
    page, text = browser.ask("GET", "/admin/login/")
    assert page.status == 200
    style = re.search(r'href="(/static/ami_integration/amiweb[^"]*\.css)"', text)
    assert style is not None
    answers = {
        "a page": page,
        "a file": browser.ask("GET", style[1])[0],
        "nothing": browser.ask("GET", "/nothing/")[0],
        "another host": browser.ask("GET", "/admin/login/", Host="evil.example")[0],
        "no token": browser.ask("POST", "/admin/login/", {"username": "ada"})[0],
        "a refused WebSocket": browser.ask(
            "GET", "/ws/live/", Origin="https://evil.example", Connection="Upgrade", Upgrade="websocket",
            Sec_WebSocket_Version="13", Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        )[0],
    }  # fmt: skip
    assert {name: answer.status for name, answer in answers.items()} == {
        "a page": 200, "a file": 200, "nothing": 404, "another host": 400, "no token": 403,
        "a refused WebSocket": 403,
    }  # fmt: skip
    for name, answer in answers.items():
        is_strict(answer.headers)
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin", name
        assert "Server" not in answer.headers, name
    for name in ("a page", "a file", "nothing", "no token"):
        assert answers[name].headers["Strict-Transport-Security"] == "max-age=31536000", name


def test_what_comes_without_tls_is_led_to_it_and_learns_nothing(browser: Browser) -> None:
    answer, text = browser.ask("GET", "/admin/login/?next=/admin/", X_Forwarded_Proto="http")
    assert answer.status == 301 and not text
    assert answer.headers["Location"] == f"https://{HOST}/admin/login/?next=/admin/"
    assert not browser.cookies


def test_cookies_are_for_this_host_over_tls_alone_and_a_login_works_with_them(browser: Browser) -> None:
    make_member("ada", is_superuser=True)
    _, form = browser.ask("GET", "/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    assert token is not None
    fields = {"username": "ada", "password": WORD, "next": "/admin/", "csrfmiddlewaretoken": token[1]}
    foreign, _ = browser.ask("POST", "/admin/login/", fields, Origin="https://evil.example")
    assert foreign.status == 403
    answer, _ = browser.ask("POST", "/admin/login/", fields)
    assert answer.status == 302
    assert sorted(browser.cookies) == ["__Host-amiweb-csrf", "__Host-amiweb-session"]
    for cookie in browser.cookies.values():
        assert cookie["secure"] and cookie["httponly"] and cookie["path"] == "/" and not cookie["domain"]
        assert cookie["samesite"] == "Lax"
    assert browser.ask("GET", "/admin/")[0].status == 200
