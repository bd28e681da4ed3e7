"""What an alert says, in a mail and in a webhook.

One message tells of one alert, or of all that came at once when much is wrong. A webhook has the same shape
in both cases, and a `text` beside the particulars, which chat servers show as it is. docs/alerts.md describes
it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.urls import reverse

from ami_integration.schedules.alerts.failures import Failure, failures_told
from ami_integration.schedules.alerts.models import Alert, AlertChannel, AlertDelivery
from ami_integration.schedules.rules import moment_words

#: Of the JSON; it grows when a receiver has to know.
VERSION = 1
#: Alerts that a summary lists by name in a mail, and in a webhook.
LISTED, LISTED_JSON = 50, 200
#: Sentences of a failure that stand in one line.
IN_A_LINE = 3


@dataclass(frozen=True)
class Message:
    """Ready to be sent.

    Attributes:
        key: the same for each attempt at the same message, so that a receiver may drop what comes twice.
        subject, text: for a mail; the subject is one line.
        body: for a webhook, ready for JSON.
    """

    key: str
    subject: str
    text: str
    body: dict[str, Any]


def message_of(*, deliveries: Sequence[AlertDelivery], channel: AlertChannel, now: datetime) -> Message:
    """What these deliveries tell, one or many.

    Args:
        deliveries: at least one, with their alerts, the oldest first.
    """
    first = deliveries[0]
    failures = failures_told(alerts=[one.alert for one in deliveries[:LISTED_JSON] if not one.closing])
    key = f"alert-{first.alert_id}-{'closed' if first.closing else 'opened'}"
    if len(deliveries) == 1:
        event = "alert.closed" if first.closing else "alert.opened"
        subject, text = _subject(first), _text(first, failures.get(first.alert_id))
    else:
        event, key = "alert.summary", f"{key}-and-{len(deliveries) - 1}"
        opened = sum(not one.closing for one in deliveries)
        parts = [f"{opened} alerts"] * bool(opened) + [f"{len(deliveries) - opened} over"] * (
            opened < len(deliveries)
        )
        subject = f"[amiweb] {', '.join(parts)}"
        lines = [f"- {_line(one, failures)}" for one in deliveries[:LISTED]]
        if len(deliveries) > LISTED:
            lines.append(f"- and {len(deliveries) - LISTED} more")
        text = "\n".join(["Much came at once, so it comes as one message.", "", *lines, *_link()])
    body = {
        "version": VERSION,
        "event": event,
        "text": _one_line(
            subject.removeprefix("[amiweb] ") if len(deliveries) > 1 else _line(first, failures)
        ),
        "channel": channel.name,
        "sent_at": _json_moment(now),
        "count": len(deliveries),
        "alerts": [_json(one, failures) for one in deliveries[:LISTED_JSON]],
    }
    return Message(key, subject, text, body)


def message_test(*, channel: AlertChannel, username: str, now: datetime) -> Message:
    """What the test button sends."""
    words = f"A test of the alert channel “{channel.name}”, asked for by {username}. Nothing is wrong."
    body = {
        "version": VERSION,
        "event": "test",
        "text": words,
        "channel": channel.name,
        "sent_at": _json_moment(now),
        "count": 0,
        "alerts": [],
    }
    return Message(f"test-{now.timestamp():.6f}", f"[amiweb] Test of {_one_line(channel.name)}", words, body)


def _subject(delivery: AlertDelivery) -> str:
    return _one_line(f"[amiweb] {_title(delivery)}")


def _title(delivery: AlertDelivery) -> str:
    alert = delivery.alert
    return f"{'Over: ' if delivery.closing else ''}{alert.get_kind_display()}: {alert.schedule_name}"


def _says(delivery: AlertDelivery) -> str:
    return delivery.alert.closing_text if delivery.closing else delivery.alert.text


def _line(delivery: AlertDelivery, failures: Mapping[int, Failure]) -> str:
    failure = None if delivery.closing else failures.get(delivery.alert_id)
    why = failure.sentences[:IN_A_LINE] if failure is not None else []
    return _one_line(" ".join([f"{_title(delivery)}. {_says(delivery)}", *why]))


def _text(delivery: AlertDelivery, failure: Failure | None) -> str:
    alert = delivery.alert
    lines = [f"Schedule: {alert.schedule_name}", "", _says(delivery), ""]
    if delivery.closing:
        lines += [f"It had been so since {moment_words(alert.opened_at)}: {alert.text}"]
    else:
        lines += [f"Seen at {moment_words(alert.opened_at)}."]
    if failure is not None:
        why = failure.sentences
        lines += ["", f"{failure.title}{':' if why else '.'}", *(f"- {one}" for one in why)]
        if url := _absolute(failure.path):
            lines += ["", "What ran:", url]
    return "\n".join([*lines, *_link(alert)])


def _link(alert: Alert | None = None) -> list[str]:
    url = schedule_url(alert)
    return ["", "The schedules:" if alert is None else "The schedule:", url] if url else []


def schedule_url(alert: Alert | None = None) -> str:
    """The address of an alert's schedule, or of the list of all; "" where nobody said where amiweb is."""
    if alert is None or alert.schedule_id is None:
        return _absolute(reverse("admin:ami_integration_schedule_changelist"))
    return _absolute(reverse("admin:ami_integration_schedule_change", args=(alert.schedule_id,)))


def _absolute(path: str) -> str:
    """The whole address of a page; "" for no page, and where nobody said where amiweb is."""
    base: str = settings.AMIWEB_PUBLIC_URL
    return base + path if base and path else ""


def _json(delivery: AlertDelivery, failures: Mapping[int, Failure]) -> dict[str, Any]:
    alert = delivery.alert
    failure = None if delivery.closing else failures.get(alert.pk)
    return {
        "id": str(alert.pk),
        "state": "closed" if delivery.closing else "open",
        "kind": alert.kind,
        "schedule": {
            "id": None if alert.schedule_id is None else str(alert.schedule_id),
            "name": alert.schedule_name,
            "url": schedule_url(alert) or None,
        },
        "text": _says(delivery),
        "failure": None if failure is None else _json_failure(failure),
        "opened_at": _json_moment(alert.opened_at),
        "closed_at": _json_moment(alert.closed_at) if delivery.closing and alert.closed_at else None,
    }


def _json_failure(failure: Failure) -> dict[str, Any]:
    return {
        "planned_at": _json_moment(failure.planned_at),
        "url": _absolute(failure.path) or None,
        "note": failure.note,
        "count": failure.count,
        "servers": [asdict(one) for one in failure.servers],
    }


def _json_moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"


def _one_line(text: str) -> str:
    """A header of a mail is one line, whatever a schedule is called."""
    return " ".join(text.split())
