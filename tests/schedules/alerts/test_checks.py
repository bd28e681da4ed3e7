"""What Django's check tells of alerts."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from ami_integration.schedules.alerts.checks import mail_check
from ami_integration.schedules.alerts.models import AlertChannel
from tests.schedules.alerts.factories import make_channel, make_webhook


def check(*options: str) -> str:
    told = StringIO()
    call_command("check", *options, stdout=told, stderr=told)
    return told.getvalue()


@pytest.mark.django_db
def test_a_mail_channel_without_a_mail_server_is_a_warning_where_the_database_is_asked(settings: Any) -> None:
    channel = make_channel()
    told = check("--database", "default")
    assert "ami_integration.W001" in told and "AMIWEB_SMTP_HOST is not set" in told
    channel.enabled = False
    channel.save()
    assert "W001" not in check("--database", "default")
    AlertChannel.objects.update(enabled=True)
    settings.AMIWEB_SMTP_HOST = "mail.example.com"
    assert "W001" not in check("--database", "default")


@pytest.mark.django_db
def test_a_webhook_needs_no_mail_server() -> None:
    make_webhook("https://chat.example.com/one")
    assert "W001" not in check("--database", "default")


def test_the_plain_check_asks_no_database() -> None:
    assert "W001" not in check()  # pytest-django refuses each query here


@pytest.mark.django_db
def test_before_the_first_migration_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AlertChannel._meta, "db_table", "not_there_yet")
    assert mail_check(databases=["default"]) == []
