"""One message on its way, to a real mail server and to a real HTTP server."""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from ami_integration.schedules.alerts import sending
from ami_integration.schedules.alerts.messages import Message, message_of, message_test
from ami_integration.schedules.alerts.models import AlertChannel, AlertDelivery
from ami_integration.schedules.alerts.sending import NotSent, message_send, signature, url_problem, url_shown
from ami_integration.secrets.encryption import Secret
from tests.certificates import make_certificates
from tests.processes import free_port
from tests.schedules.alerts.factories import (
    make_alert,
    make_channel,
    make_failed,
    make_watched,
    make_webhook,
)
from tests.schedules.alerts.receivers import MailServer, Receiver, login_as, receiving
from tests.schedules.factories import server_of

pytestmark = pytest.mark.django_db
DOCS = Path(__file__).resolve().parents[3] / "docs" / "alerts.md"


@pytest.fixture
def mail_servers(settings: Any) -> Iterator[Callable[..., MailServer]]:
    """Starts a mail server and has the settings name it."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.AMIWEB_MAIL_FROM = "amiweb <amiweb@example.com>"
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    with ExitStack() as running:

        def start(**options: Any) -> MailServer:
            server = running.enter_context(MailServer(**options))
            settings.AMIWEB_SMTP_HOST = settings.EMAIL_HOST = server.host
            settings.EMAIL_PORT = server.port
            return server

        yield start


def message(channel: AlertChannel, **values: Any) -> Message:
    alert = make_alert(channel, **values)
    deliveries = list(AlertDelivery.objects.filter(alert=alert).select_related("alert"))
    return message_of(deliveries=deliveries, channel=channel, now=timezone.now())


def server_side(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server with TLS needs, and the file of the authority that vouches for it."""
    certificates = make_certificates()
    (folder / "server.pem").write_bytes(certificates.server)
    (folder / "ca.pem").write_bytes(certificates.ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context, folder / "ca.pem"


# Mail


def test_a_mail_says_what_is_wrong_and_where(mail_servers: Callable[..., MailServer], settings: Any) -> None:
    settings.AMIWEB_PUBLIC_URL = "https://amiweb.example.com"
    server = mail_servers()
    channel = make_channel(addresses="ada@example.com\nbo@example.com\nada@example.com")
    schedule = make_watched(channel, name="Reset the queues\r\nBcc: eve@example.com")
    what = message_send(channel=channel, message=message(channel, schedule=schedule))
    assert what == "Mailed to ada@example.com, bo@example.com."
    assert [address for address, _ in server.mails] == ["ada@example.com", "bo@example.com"]
    mail = server.mails[0][1]
    assert mail["Subject"] == "[amiweb] Failing: Reset the queues Bcc: eve@example.com"
    assert (mail["From"], mail["To"], mail["Bcc"]) == ("amiweb <amiweb@example.com>", "ada@example.com", None)
    assert mail["Auto-Submitted"] == "auto-generated"
    text = mail.get_content()
    assert "It failed 3 times in a row." in text
    assert f"https://amiweb.example.com/admin/ami_integration/schedule/{schedule.pk}/change/" in text


def test_without_a_public_address_a_mail_has_no_link(
    mail_servers: Callable[..., MailServer], settings: Any
) -> None:
    settings.AMIWEB_PUBLIC_URL = ""
    server = mail_servers()
    channel = make_channel()
    message_send(channel=channel, message=message(channel))
    assert "://" not in server.mails[0][1].get_content()


def test_without_a_mail_server_the_setting_is_named() -> None:
    with pytest.raises(NotSent, match="AMIWEB_SMTP_HOST is not set"):
        message_send(channel=(channel := make_channel()), message=message(channel))


def test_a_refused_address_is_told_and_the_others_have_it(mail_servers: Callable[..., MailServer]) -> None:
    answer = "550 No such person"
    server = mail_servers(refuses=lambda address: answer if address.startswith("bo@") else "")
    channel = make_channel(addresses="ada@example.com\nbo@example.com\ncy@example.com")
    with pytest.raises(NotSent) as caught:
        message_send(channel=channel, message=message(channel))
    assert str(caught.value) == "The mail server refused bo@example.com: 550 No such person."
    assert caught.value.reached == ["ada@example.com", "cy@example.com"]
    server.mails.clear()
    with pytest.raises(NotSent):
        message_send(
            channel=channel,
            message=message_test(channel=channel, username="ada", now=timezone.now()),
            reached=caught.value.reached,
        )
    assert server.mails == []  # who has it gets it no second time


def test_a_mail_server_that_is_not_there_is_named(
    mail_servers: Callable[..., MailServer], settings: Any
) -> None:
    mail_servers()
    settings.EMAIL_PORT = free_port()
    channel = make_channel()
    with pytest.raises(NotSent, match=r"The mail server 127\.0\.0\.1:\d+ can't be used: .*refused"):
        message_send(channel=channel, message=message(channel))


def test_a_wrong_password_is_told_without_it(
    mail_servers: Callable[..., MailServer], settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = server_side(tmp_path)
    mail_servers(authenticator=login_as("amiweb", "the right word"), auth_required=True, tls_context=context)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    settings.EMAIL_USE_TLS = True
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "amiweb", "the wrong word"
    channel = make_channel()
    with pytest.raises(NotSent, match="refused the login.*AMIWEB_SMTP_USERNAME") as caught:
        message_send(channel=channel, message=message(channel))
    assert "wrong word" not in str(caught.value)
    settings.EMAIL_HOST_PASSWORD = "the right word"
    assert message_send(channel=channel, message=message_test_of(channel)).startswith("Mailed to")


def message_test_of(channel: AlertChannel) -> Message:
    return message_test(channel=channel, username="ada", now=timezone.now())


def test_the_mail_servers_certificate_is_verified(
    mail_servers: Callable[..., MailServer], settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = server_side(tmp_path)
    server = mail_servers(tls_context=context, require_starttls=True)
    settings.EMAIL_USE_TLS = True
    channel = make_channel()
    with pytest.raises(NotSent, match="shows a certificate that is not valid: "):
        message_send(channel=channel, message=message_test_of(channel))
    assert server.mails == []
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    message_send(channel=channel, message=message_test_of(channel))
    assert len(server.mails) == 1


# Webhooks


def test_a_webhook_is_signed_json_with_an_address_that_nobody_reads(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.AMIWEB_PUBLIC_URL = "https://amiweb.example.com"
    caplog.set_level(logging.DEBUG)
    with receiving() as receiver:
        channel = make_webhook(receiver.url, url_shown=url_shown(receiver.url), secret="s1gning-word")
        alert = make_alert(channel)
        delivery = AlertDelivery.objects.select_related("alert").get()
        what = message_send(
            channel=channel, message=message_of(deliveries=[delivery], channel=channel, now=timezone.now())
        )
        assert what == f"{receiver.base} answered 200."
        path, headers, body = receiver.requests[0]
    assert path == f"/{Receiver.SECRET_PATH}"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("amiweb/")
    assert abs(int(headers["X-Amiweb-Timestamp"]) - time.time()) < 60
    assert headers["X-Amiweb-Signature"] == signature(
        secret="s1gning-word", timestamp=headers["X-Amiweb-Timestamp"], body=body
    )
    told = json.loads(body)
    assert told["event"] == "alert.opened"
    assert told["text"] == "Failing: Nightly. It failed 3 times in a row."
    assert told["alerts"] == [
        {
            "id": str(alert.pk),
            "state": "open",
            "kind": "failing",
            "schedule": {
                "id": str(alert.schedule_id),
                "name": "Nightly",
                "url": f"https://amiweb.example.com/admin/ami_integration/schedule/{alert.schedule_id}/change/",
            },
            "text": "It failed 3 times in a row.",
            "failure": None,
            "opened_at": f"{alert.opened_at:%Y-%m-%dT%H:%M:%S}Z",
            "closed_at": None,
        }
    ]
    for secret in (Receiver.SECRET_PATH, "s1gning-word"):
        assert secret not in caplog.text
        assert secret not in what


def test_the_check_of_a_signature_in_the_docs_works(settings: Any) -> None:
    page = DOCS.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)  # noqa: S102  it is our own page
    with receiving() as receiver:
        channel = make_webhook(receiver.url, secret="s1gning-word")
        message_send(channel=channel, message=message_test_of(channel))
        _, headers, body = receiver.requests[0]
    assert names["is_from_amiweb"](headers, body, "s1gning-word")
    assert not names["is_from_amiweb"](headers, body + b" ", "s1gning-word")
    assert not names["is_from_amiweb"](headers, body, "another word")
    old = headers | {"X-Amiweb-Timestamp": str(int(headers["X-Amiweb-Timestamp"]) - 3600)}
    assert not names["is_from_amiweb"](old, body, "s1gning-word")


def test_the_docs_show_a_message_as_it_is_sent() -> None:
    page = DOCS.read_text(encoding="utf-8")
    shown = json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])  # type: ignore[index]
    channel = make_webhook("http://127.0.0.1:1/")
    planned = make_failed(schedule := make_watched(channel), (server_of(schedule), "failed", "It said no."))
    sent = message(channel, schedule=schedule, planned_at=planned.planned_at).body

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: shape(one) for name, one in value.items()}
        return [shape(one) for one in value] if isinstance(value, list) else None

    assert shape(shown) == shape(sent)


def test_an_unsigned_webhook_has_no_signature() -> None:
    with receiving() as receiver:
        channel = make_webhook(receiver.url)
        message_send(channel=channel, message=message_test_of(channel))
        assert "X-Amiweb-Signature" not in receiver.requests[0][1]


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_whatever_is_not_taken_is_told(status: int) -> None:
    with receiving(status) as receiver:
        channel = make_webhook(receiver.url, url_shown=receiver.base)
        with pytest.raises(NotSent, match=f"answered {status}"):
            message_send(channel=channel, message=message_test_of(channel))


def test_a_redirect_is_not_followed() -> None:
    with receiving() as other:

        def redirect(request: BaseHTTPRequestHandler) -> None:
            request.send_response(307)
            request.send_header("Location", other.url)
            request.send_header("Content-Length", "0")
            request.end_headers()

        with receiving(redirect) as receiver:
            channel = make_webhook(receiver.url)
            with pytest.raises(NotSent, match="answered 307, a redirect, and those aren't followed"):
                message_send(channel=channel, message=message_test_of(channel))
        assert other.requests == []


def test_a_receiver_that_answers_byte_by_byte_is_left_after_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "WEBHOOK_SECONDS", 0.5)

    def drip(request: BaseHTTPRequestHandler) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX-Patience: " + b"a" * 1000:
                request.wfile.write(bytes([byte]))
                request.wfile.flush()
                time.sleep(0.05)  # what a slow receiver does
        except OSError:
            pass  # amiweb has left

    with receiving(drip) as receiver:
        channel = make_webhook(receiver.url)
        with pytest.raises(NotSent, match=r"did not answer within 0\.5 s"):
            message_send(channel=channel, message=message_test_of(channel))


def test_a_receiver_that_is_not_there_is_told_without_its_url() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{closed.getsockname()[1]}"
        channel = make_webhook(f"{base}/very-s3cret")
        with pytest.raises(NotSent, match="can't be reached") as caught:
            message_send(channel=channel, message=message_test_of(channel))
    assert base in str(caught.value)
    assert "very-s3cret" not in str(caught.value)


def test_a_receiver_that_hangs_up_is_told() -> None:
    with receiving(lambda request: request.connection.close()) as receiver:
        channel = make_webhook(receiver.url)
        with pytest.raises(NotSent, match="broke off before it answered") as caught:
            message_send(channel=channel, message=message_test_of(channel))
        assert Receiver.SECRET_PATH not in str(caught.value)


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = server_side(tmp_path)
    with receiving() as receiver:
        receiver._server.socket = context.wrap_socket(receiver._server.socket, server_side=True)
        channel = make_webhook(receiver.url.replace("http://", "https://"))
        with pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
            message_send(channel=channel, message=message_test_of(channel))
        assert receiver.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        message_send(channel=channel, message=message_test_of(channel))
        assert len(receiver.requests) == 1


def test_a_url_that_can_not_be_decrypted_says_so() -> None:
    channel = make_webhook("http://127.0.0.1/")
    channel.url = Secret("lost:gAAAAAAA")
    with pytest.raises(NotSent, match="its key 'lost' is not in AMIWEB_ENCRYPTION_KEYS"):
        message_send(channel=channel, message=message_test_of(channel))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://chat.example.com/hook?x=1", ""),
        ("http://127.0.0.1:8065/hook", ""),
        ("ftp://chat.example.com/", "begins with https"),
        ("file:///etc/passwd", "begins with https"),
        ("chat.example.com/hook", "begins with https"),
        ("https:///hook", "names no host"),
        ("https://chat.example.com:99999/", "not a URL"),
        ("https://chat.example.com/a b", "blank"),
    ],
)
def test_only_http_and_https_are_urls_of_a_webhook(url: str, problem: str) -> None:
    assert problem in url_problem(url)
    assert bool(url_problem(url)) == bool(problem)


def test_of_a_url_only_scheme_host_and_port_are_shown() -> None:
    assert url_shown("https://bot:word@chat.example.com/services/x?y=z") == "https://chat.example.com"
    assert url_shown("http://[::1]:8065/hook") == "http://[::1]:8065"


# Many


def test_a_summary_lists_what_opened_and_what_is_over() -> None:
    channel = make_channel()
    for number in range(60):
        make_alert(channel, schedule=make_watched(channel, name=f"Nightly {number}"), closing=number == 0)
    deliveries = list(AlertDelivery.objects.order_by("pk").select_related("alert"))
    told = message_of(deliveries=deliveries, channel=channel, now=timezone.now())
    assert told.subject == "[amiweb] 60 alerts, 1 over"
    assert "- Failing: Nightly 0. It failed 3 times in a row." in told.text
    assert "- and 11 more" in told.text
    assert (told.body["event"], told.body["count"], len(told.body["alerts"])) == ("alert.summary", 61, 61)
