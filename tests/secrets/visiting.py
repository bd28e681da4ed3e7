"""A person at the real web process, of whom every answer and every message is kept for the search."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.secrets.stores import Text

Fields = list[tuple[str, str]]


class Form:
    """A form of a page: where it goes, and what it would send as it stands."""

    def __init__(self, action: str, method: str) -> None:
        self.action, self.method = action, method
        self.fields: Fields = []
        self.kinds: dict[str, str] = {}


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._text: list[str] | None = None
        self._name = ""
        self._select = ""
        self._offered: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(values.get("action", ""), values.get("method", "get").lower()))
        if not self.forms:
            return
        form, name = self.forms[-1], values.get("name", "")
        if tag == "input" and name:
            kind = values.get("type", "text")
            form.kinds[name] = kind
            if kind in ("checkbox", "radio") and "checked" not in values:
                return
            if kind not in ("submit", "image", "button", "file"):
                form.fields.append((name, values.get("value", "on" if kind == "checkbox" else "")))
        elif tag == "textarea":
            self._name, self._text = name, []
            form.kinds[name] = "textarea"
        elif tag == "select":
            self._select = name
            form.kinds[name] = "select"
        elif tag == "option" and self._select and "selected" in values:
            form.fields.append((self._select, values.get("value", "")))

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._text is not None and self.forms:
            self.forms[-1].fields.append((self._name, "".join(self._text).removeprefix("\n")))
            self._text = None
        elif tag == "select":
            self._select = ""


def forms_of(page: str) -> list[Form]:
    """The forms of a page that are posted."""
    parser = _Forms()
    parser.feed(page)
    return [form for form in parser.forms if form.method == "post"]


class Visitor:
    """One person, logged in or not.

    Args:
        name: of the person, for sentences.
        port: of the web process on 127.0.0.1.
    """

    def __init__(self, name: str, port: int) -> None:
        self.name, self.port = name, port
        self.cookies: dict[str, str] = {}
        self.seen: list[Text] = []
        self.statuses: dict[str, int] = {}
        self.location = ""
        self.sessions: set[str] = set()
        self.sockets: set[str] = set()
        self.gone = ""  # the WebSocket that the server closed last

    def get(self, path: str) -> str:
        """A page, wherever it leads; its text."""
        return self.ask("GET", path)

    def post(self, path: str, fields: Fields) -> str:
        """Send a form."""
        return self.ask("POST", path, urlencode([*fields, *self._token(fields)]))

    def post_for_secrets(self, path: str) -> str:
        """Ask for what holds secrets, and may, for this person: the answer isn't searched."""
        answer = self.post(path, [])
        self.seen.pop()
        return answer

    def ask(self, method: str, path: str, body: str = "") -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = f"http://127.0.0.1:{self.port}"
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        lines = "".join(f"{name}: {value}\n" for name, value in response.headers.items())
        where = f"the answer {response.status} of {method} {path.partition('?')[0]} to {self.name}"
        self.seen.append((where, lines.encode() + b"\n" + data))
        self.statuses[f"{method} {path}"] = response.status
        self.location = response.headers.get("Location", "")
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "session" in name and value:
                self.sessions.add(value)
        return data.decode("utf-8", "replace")

    def log_in(self, username: str, password: str) -> bool:
        """By the login page; whether it let them in."""
        page = self.get("/admin/login/")
        form = next(form for form in forms_of(page) if "password" in form.kinds)
        given = {"username": username, "password": password}
        self.post("/admin/login/", [(name, given.get(name, value)) for name, value in form.fields])
        return self.statuses["POST /admin/login/"] == 302

    def _token(self, fields: Fields) -> Fields:
        if any(name == "csrfmiddlewaretoken" for name, _ in fields):
            return []
        token = next((value for name, value in self.cookies.items() if "csrf" in name), "")
        return [("csrfmiddlewaretoken", token)]

    @contextmanager
    def socket(self, path: str, *first: str) -> Iterator[list[str]]:
        """A WebSocket that is read all the while; gives the messages so far.

        Args:
            first: sent at once.
        """
        messages: list[str] = []
        self.sockets.add(path)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        headers["Origin"] = f"http://127.0.0.1:{self.port}"
        address = f"ws://127.0.0.1:{self.port}{path}"
        with connect(address, additional_headers=headers, max_size=None, proxy=None) as socket:
            reader = threading.Thread(target=self._read, args=(socket, path, messages), daemon=True)
            reader.start()
            for message in first:
                socket.send(message)
            try:
                yield messages
            finally:
                socket.close()
                reader.join(10)

    def _read(self, socket: ClientConnection, path: str, messages: list[str]) -> None:
        try:
            for message in socket:
                text = message if isinstance(message, str) else message.decode("utf-8", "replace")
                messages.append(text)
                self.seen.append((f"a message of the WebSocket {path} to {self.name}", text.encode()))
        except ConnectionClosed:
            pass  # the server left: it was stopped, or met a mistake
        self.gone = path
