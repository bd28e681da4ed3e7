"""What tests of the pages of schedules send."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from ami_integration.schedules.models import Schedule

LIST = reverse("admin:ami_integration_schedule_changelist")
ADD = reverse("admin:ami_integration_schedule_add")
PREVIEW = reverse("admin:ami_integration_schedule_preview")


def signed_in(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def form(**values: Any) -> dict[str, Any]:
    """The form of a schedule, filled in: a QueueReset every night."""
    return {
        "name": "Nightly",
        "action": "QueueReset",
        "headers": "Queue: sales",
        "enabled": "on",
        "kind": "crontab",
        "crontab": "30 2 * * *",
        "interval_seconds": "",
        "timezone": "Europe/Berlin",
        "mode": "parallel",
        "limit": "20",
        "overlap": "skip",
        "misfire": "skip",
        "misfire_limit": "10",
        "grace_seconds": "1 h",
    } | values


def change(schedule: Schedule) -> str:
    return reverse("admin:ami_integration_schedule_change", args=(schedule.pk,))


def button(name: str, schedule: Schedule) -> str:
    """The address of a button: run_now, take_over, pause, resume."""
    return reverse(f"admin:ami_integration_schedule_{name}", args=(schedule.pk,))


def errors_of(answer: Any) -> dict[str, list[str]]:
    """What a form that was refused says, by field."""
    assert answer.status_code == 200, answer.status_code
    return {name: list(errors) for name, errors in answer.context["adminform"].form.errors.items()}
