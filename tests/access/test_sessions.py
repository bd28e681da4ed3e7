"""What is left of logins that have ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from ami_integration.access.tasks import sessions_clear
from ami_integration.audit.models import AuditEntry
from amiweb.celery import app


@pytest.mark.django_db
def test_expired_logins_are_removed_and_others_stay() -> None:
    clients = Client(), Client()
    for client in clients:
        client.force_login(User.objects.get_or_create(username="ada")[0])
    gone, stays = (str(client.session.session_key) for client in clients)
    Session.objects.filter(pk=gone).update(expire_date=timezone.now() - timedelta(seconds=1))
    sessions_clear()
    sessions_clear()
    told = AuditEntry.objects.get(verb="login.end")
    assert (told.actor_name, told.what["why"], told.object_name) == ("ada", "limit", "ada")
    assert [session.pk for session in Session.objects.all()] == [stays]


def test_beat_calls_for_that_every_hour() -> None:
    entry = app.conf.beat_schedule["access.sessions_clear"]
    assert (entry["task"], entry["schedule"]) == ("access.sessions_clear", 3600.0)
    assert entry["task"] in app.tasks
