"""A real mail server and a real HTTP server, as alerts meet them."""

from __future__ import annotations

import email
import email.policy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.processes import free_port


class MailServer:
    """Keeps what it was given. `refuses` answers for an address what isn't empty; `.host`, `.port`."""

    def __init__(self, *, refuses: Callable[[str], str] = lambda address: "", **options: Any) -> None:
        self.mails: list[tuple[str, EmailMessage]] = []
        self._refuses = refuses
        self.host, self.port = "127.0.0.1", free_port()
        self._controller = Controller(self, hostname=self.host, port=self.port, **options)

    async def handle_RCPT(  # noqa: N802  the name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if answer := self._refuses(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails += [(address, mail) for address in envelope.rcpt_tos]
        return "250 Taken"

    def __enter__(self) -> MailServer:
        self._controller.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._controller.stop()


def login_as(username: str, word: str) -> Callable[..., AuthResult]:
    """An authenticator that takes this one account."""

    def authenticate(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: LoginPassword
    ) -> AuthResult:
        good = given.login == username.encode() and given.password == word.encode()
        return AuthResult(success=good, handled=False)

    return authenticate


class Receiver:
    """Keeps each request of a webhook, and answers as `answers` says, in turn; the last one for ever.

    Attributes:
        requests: path, headers and body of each.
        url: with a path that is a secret.
    """

    SECRET_PATH = "services/T0/very-s3cret-path"

    def __init__(self, *answers: Callable[[BaseHTTPRequestHandler], None] | int) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._answers = list(answers) or [200]
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802  the name is http.server's
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver._lock:
                    receiver.requests.append((self.path, dict(self.headers.items()), body))
                    answers = receiver._answers
                    answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if isinstance(answer, int):
                    self.send_response(answer)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    answer(self)

            do_GET = do_POST  # noqa: N815  a redirect that is followed becomes one

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.base}/{self.SECRET_PATH}"


@contextmanager
def receiving(*answers: Callable[[BaseHTTPRequestHandler], None] | int) -> Iterator[Receiver]:
    """A running HTTP server for webhooks."""
    receiver = Receiver(*answers)
    thread = threading.Thread(target=receiver._server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver._server.shutdown()
        receiver._server.server_close()
        thread.join()
