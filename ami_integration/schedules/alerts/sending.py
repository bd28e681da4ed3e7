"""One message on its way: a mail to each address of a channel, or a webhook.

What a member of staff reaches who may edit channels: a mail to any address, through the mail server of the
settings, with amiweb's words; and one POST of amiweb's JSON to any http or https address that the workers
(and the web process, by the test button) can reach, addresses of the inner network, of this machine and of a
cloud's metadata service among them, since receivers of webhooks live there. They learn whether it answered
and with which status, no word of the answer. Redirects aren't followed, so a receiver can't send amiweb
elsewhere. Give the permission to change channels to whom you would give that, and keep worker and web process
behind a firewall that holds what they must not reach.

The URL of a webhook is a secret: whoever knows that of a chat may write there. It is in no message of an
error here, and the loggers of httpx, which write it, are silenced in the settings.
"""

import asyncio
import hashlib
import hmac
import json
import smtplib
import ssl
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend

import ami_integration
from ami_integration.schedules.alerts.messages import Message
from ami_integration.schedules.alerts.models import AlertChannel
from ami_integration.secrets.encryption import SecretUnreadable

#: Seconds that a webhook has, from the look-up of its name to the status of the answer.
WEBHOOK_SECONDS = 10.0
#: Seconds after which no further address of a channel is begun; the others get it with the next attempt.
MAIL_SECONDS = 60.0

NO_MAIL_SERVER = (
    "Mail can't be sent: AMIWEB_SMTP_HOST is not set. Set it and AMIWEB_MAIL_FROM (docs/settings.md), and "
    "restart amiweb."
)


class NotSent(Exception):
    """It didn't arrive, or nobody knows. The message says why, for people, without a secret.

    Attributes:
        reached: mail addresses that have it nevertheless.
    """

    def __init__(self, message: str, *, reached: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.reached = list(reached)


def message_send(*, channel: AlertChannel, message: Message, reached: Sequence[str] = ()) -> str:
    """Send a message. Holds its caller for `WEBHOOK_SECONDS`, or for some more than `MAIL_SECONDS`.

    Args:
        reached: mail addresses that have it already, and are left out.

    Returns:
        what came of it, as a sentence.

    Raises:
        NotSent: not to everybody.
    """
    if channel.kind == AlertChannel.Kind.MAIL:
        return _mail(channel, message, reached)
    return _webhook(channel, message)


# Mail


def _mail(channel: AlertChannel, message: Message, reached: Sequence[str]) -> str:
    if not settings.AMIWEB_SMTP_HOST:
        raise NotSent(NO_MAIL_SERVER)
    got = list(reached)
    missing = [address for address in channel.address_list if address not in got]
    refused: list[str] = []
    until = time.monotonic() + MAIL_SECONDS
    connection = get_connection()
    try:
        connection.open()
        for address in missing:
            if time.monotonic() >= until:
                raise NotSent(f"The mail server is too slow for {len(missing)} addresses.", reached=got)
            # One by one: of a mail to several, a refused one would go unnoticed beside those that are taken.
            try:
                _mail_one(connection, message, address)
            except smtplib.SMTPRecipientsRefused as error:
                refused += [f"{who}: {code} {_words(why)}" for who, (code, why) in error.recipients.items()]
            else:
                got.append(address)
    except (OSError, smtplib.SMTPException) as error:
        raise NotSent(_mail_reason(error), reached=got) from None
    finally:
        _close(connection)
    if refused:
        raise NotSent(f"The mail server refused {'; '.join(refused)}.", reached=got)
    return f"Mailed to {', '.join(got)}."


def _mail_one(connection: BaseEmailBackend, message: Message, address: str) -> None:
    EmailMessage(
        subject=message.subject,
        body=message.text,
        from_email=settings.AMIWEB_MAIL_FROM,
        to=[address],
        headers={"Auto-Submitted": "auto-generated", "X-Amiweb-Key": message.key},
        connection=connection,
    ).send()


def _close(connection: BaseEmailBackend) -> None:
    try:
        connection.close()
    except (OSError, smtplib.SMTPException):
        pass  # what it said before counts


def _mail_reason(error: OSError | smtplib.SMTPException) -> str:
    server = f"The mail server {settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"{server} refused the login ({error.smtp_code}). Mend AMIWEB_SMTP_USERNAME or its password."
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{server} refused: {error.smtp_code} {_words(error.smtp_error)}"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return f"{server} doesn't offer what AMIWEB_SMTP_SECURITY or a login wants: {error}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{server} shows a certificate that is not valid: {error.verify_message}."
    if isinstance(error, TimeoutError):
        return f"{server} does not answer within {settings.EMAIL_TIMEOUT} s."
    words = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return f"{server} can't be used: {words or type(error).__name__}"


def _words(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())[:200]


# Webhook


def signature(*, secret: str, timestamp: str, body: bytes) -> str:
    """The value of X-Amiweb-Signature: HMAC-SHA256 over the timestamp, a full stop and the body."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


def url_problem(url: str) -> str:
    """Why no webhook can go there, or ""."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "That is not a URL."
    if parts.scheme not in ("http", "https"):
        return "A webhook's URL begins with https:// or http://."
    if not parts.hostname:
        return "The URL names no host."
    if any(character.isspace() or not character.isprintable() for character in url):
        return "There is a blank or a character that can't be seen in the URL."
    return ""


def url_shown(url: str) -> str:
    """Of a webhook's URL what anybody may read: scheme, host and port."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}"[:300]


def _webhook(channel: AlertChannel, message: Message) -> str:
    try:
        url = channel.url.reveal() if channel.url else ""
        secret = channel.secret.reveal() if channel.secret else ""
    except SecretUnreadable as error:
        raise NotSent(str(error)) from None
    if problem := url_problem(url):
        raise NotSent(problem)
    body = json.dumps(message.body, ensure_ascii=False).encode()
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"amiweb/{ami_integration.__version__}",
        "X-Amiweb-Key": message.key,
        "X-Amiweb-Timestamp": timestamp,
    }
    if secret:
        headers["X-Amiweb-Signature"] = signature(secret=secret, timestamp=timestamp, body=body)
    status = asyncio.run(_post(url, body, headers))
    if 200 <= status < 300:
        return f"{channel.url_shown} answered {status}."
    if 300 <= status < 400:
        raise NotSent(
            f"{channel.url_shown} answered {status}, a redirect, and those aren't followed. Enter the "
            "address that it leads to."
        )
    raise NotSent(f"{channel.url_shown} answered {status}.")


async def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """The status of the answer. Raises NotSent. In a loop of its own, since only there a time limit holds for
    the whole: a receiver may answer byte by byte for ever.
    """
    import httpx  # a fifth of a second, which only those pay who send

    shown = url_shown(url)
    try:
        async with (
            asyncio.timeout(WEBHOOK_SECONDS),
            # The system's certificates, and nothing of the environment: no proxy, no .netrc.
            httpx.AsyncClient(
                verify=ssl.create_default_context(),
                trust_env=False,
                follow_redirects=False,
                timeout=WEBHOOK_SECONDS,
            ) as client,
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            return answer.status_code
    except (TimeoutError, httpx.TimeoutException):
        raise NotSent(f"{shown} did not answer within {WEBHOOK_SECONDS:g} s.") from None
    except httpx.ConnectError as error:
        raise NotSent(f"{shown} can't be reached: {_without(url, error)}") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NotSent(
            f"{shown} broke off before it answered: {_without(url, error) or type(error).__name__}"
        ) from None


def _without(url: str, error: Exception) -> str:
    """An error's words without the URL, whole or in parts."""
    words = str(error)
    parts = urlsplit(url)
    for part in (url, parts.query, parts.path.strip("/"), parts.username, parts.password):
        if part and len(part) > 3:
            words = words.replace(part, "…")
    return words
