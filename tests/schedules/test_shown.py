"""The page of a schedule for somebody who may only look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.access.masking import MASK
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Tag
from tests.access.factories import grant, make_person
from tests.actions.factories import make_user
from tests.schedules.asking import change, signed_in
from tests.schedules.factories import make_schedule
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


def test_who_may_only_look_sees_no_secret_and_no_form() -> None:
    schedule = make_schedule(
        headers=[("Secret", "hunter2")],
        headers_masked=[["Secret", MASK]],
        timezone="Europe/Berlin",
        starts_at=datetime(2031, 1, 1, 5, tzinfo=UTC),
    )
    page = signed_in(make_user("eve", "view_schedule")).get(change(schedule))
    assert page.status_code == 200
    text = page.content.decode()
    assert MASK in text
    assert "hunter2" not in text
    assert 'id="request"' not in text and "Run now" not in text
    assert "not before Wed 2031-01-01 06:00:00 CET (+0100)" in text


def test_who_may_only_look_reads_words_and_the_next_runs() -> None:
    anchor = timezone.now() - timedelta(minutes=7)
    schedule = make_schedule(
        interval_seconds=600,
        anchor_at=anchor,
        timezone="Europe/Berlin",
        max_runs=12,
        runs_counted=10,
        grace_seconds=5400,
        jitter_seconds=600,
        alert_silent_seconds=26 * 3600,
        timeout=30,
    )
    client = signed_in(make_user("eve", "view_schedule"))
    answer = client.get(change(schedule))
    text = answer.content.decode()
    for words in ("1 hour 30 minutes", "10 minutes", "alert after 1 day 2 hours", "30 s", "Every 10 min"):
        assert words in text, words
    for raw in ("5400", ">600<", "93600", "(seconds)"):
        assert raw not in text, raw
    coming = answer.context["coming"]
    assert [time["at"] for time in coming["times"]] == [
        (anchor + timedelta(minutes=10 * number)).isoformat() for number in (1, 2)
    ]
    assert (coming["words"], coming["zone"]) == ("Every 10 min", "Europe/Berlin")
    assert 'id="schedule-times"' in text and 'id="preview-table"' in text
    Schedule.objects.update(enabled=False, next_at=None)
    assert "None: it is paused." in client.get(change(schedule)).content.decode()


def test_the_next_runs_name_no_server_and_no_window_that_a_viewer_does_not_see() -> None:
    berlin, narvik = make_server(), make_server(name="Narvik")
    north = Tag.objects.create(name="north")
    narvik.tags.add(north)
    schedule = make_schedule(servers=[berlin, narvik])
    Blackout.objects.create(
        name="Polar night", kind="weekly", weekdays="1234567", starts_time="00:00", minutes=1440, tag=north
    )
    eve = make_person("eve", "view_schedule")
    grant(eve, Danger.READ, on=berlin)
    answer = signed_in(eve).get(change(schedule))
    assert answer.context["coming"]["times"][0]["blackout"] == (
        "Will not run on some servers that you don't see."
    )
    text = answer.content.decode()
    assert "Narvik" not in text and "Polar night" not in text
    ada = make_user("bob", "view_schedule")
    noted = signed_in(ada).get(change(schedule)).context["coming"]["times"][0]["blackout"]
    assert noted.startswith("Without Narvik: “Polar night” until")
