"""A failing alert says why: on which servers, with the log's sentences, and where to look."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.schedules.alerts.failures import LISTED, LONGEST
from ami_integration.schedules.alerts.messages import Message, message_of
from ami_integration.schedules.alerts.models import Alert, AlertChannel, AlertDelivery
from ami_integration.schedules.alerts.services import alerts_look
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.rules import moment_words
from tests.access.factories import grant
from tests.actions.factories import make_user
from tests.schedules.alerts.factories import make_channel, make_failed, make_watched
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
BASE = "https://amiweb.example.com"
DENIED = "The PBX refused: Permission denied."


@pytest.fixture
def channel(settings: Any) -> AlertChannel:
    settings.AMIWEB_PUBLIC_URL = BASE
    return make_channel()


def told(channel: AlertChannel) -> Message:
    """What the channel is told after a look."""
    alerts_look()
    deliveries = list(AlertDelivery.objects.select_related("alert").order_by("pk"))
    return message_of(deliveries=deliveries, channel=channel, now=timezone.now())


def page(name: str, pk: int | None) -> str:
    return BASE + reverse(f"admin:ami_integration_{name}_change", args=(pk,))


def test_a_failing_alert_says_why_on_which_server_and_links_to_the_run(channel: AlertChannel) -> None:
    schedule = make_watched(channel)
    planned = make_failed(schedule, (make_server(name="Oslo"), "failed", DENIED))
    message = told(channel)
    assert message.text.splitlines()[2:] == [
        "It failed 3 times in a row. It has never succeeded.",
        "",
        f"Seen at {moment_words(Alert.objects.get().opened_at)}.",
        "",
        f"What was planned for {moment_words(planned.planned_at)} failed on 1 server:",
        f"- Oslo: {DENIED}",
        "",
        "What ran:",
        page("actionrun", planned.run_id),
        "",
        "The schedule:",
        page("schedule", schedule.pk),
    ]
    assert message.body["text"].endswith(f"It has never succeeded. Oslo: {DENIED}")
    assert message.body["alerts"][0]["failure"] == {
        "planned_at": f"{planned.planned_at:%Y-%m-%dT%H:%M:%S}Z",
        "url": page("actionrun", planned.run_id),
        "note": "",
        "count": 1,
        "servers": [{"server": "Oslo", "status": "failed", "reason": DENIED}],
    }


def test_of_several_servers_each_reason_is_told_once_behind_their_names(channel: AlertChannel) -> None:
    ends = [(make_server(name=f"PBX {number}"), "failed", DENIED) for number in range(7)]
    ends.append((make_server(name="Oslo"), "expired", ""))
    ends.append((make_server(name="Rome"), "succeeded", "Pong"))
    planned = make_failed(make_watched(channel), *ends, result="partly")
    message = told(channel)
    assert "failed on 8 servers:" in message.text
    assert f"- PBX 0, PBX 1, PBX 2, PBX 3, PBX 4 and 2 more: {DENIED}\n" in message.text
    assert "- Oslo: It ended expired.\n" in message.text
    assert "Rome" not in message.text
    assert page("fanout", planned.fanout_id) in message.text


def test_a_failure_of_the_whole_fleet_is_told_in_part_and_counted(channel: AlertChannel) -> None:
    ends = [(make_server(name=f"PBX {number}"), "failed", f"Reason {number}") for number in range(LISTED + 5)]
    make_failed(make_watched(channel), *ends)
    message = told(channel)
    failure = message.body["alerts"][0]["failure"]
    assert (len(failure["servers"]), failure["count"]) == (LISTED, LISTED + 5)
    assert "- And 5 more servers.\n" in message.text
    assert "Reason 2" in message.body["text"] and "Reason 3" not in message.body["text"]


def test_what_amiweb_refused_is_told_although_nothing_ran(channel: AlertChannel) -> None:
    make_failed(make_watched(channel), reason="Oslo is disabled.")
    message = told(channel)
    assert " failed:\n- Oslo is disabled.\n" in message.text
    assert "What ran" not in message.text
    assert message.body["alerts"][0]["failure"]["url"] is None


def test_a_long_sentence_is_cut(channel: AlertChannel) -> None:
    make_failed(make_watched(channel), (make_server(name="Oslo"), "failed", "x" * 2000))
    assert f"- Oslo: {'x' * (LONGEST - 1)}…\n" in told(channel).text


def test_it_is_the_last_failure_and_not_what_was_left_out_since(channel: AlertChannel) -> None:
    schedule = make_watched(channel)
    make_failed(schedule, reason="Refused.")
    make_failed(schedule, planned_at=timezone.now(), outcome="blackout", reason="The move of the office.")
    assert "- Refused.\n" in told(channel).text


def test_a_summary_says_why_with_as_many_queries_for_many_as_for_two(
    channel: AlertChannel, django_assert_max_num_queries: Any
) -> None:
    server, other = make_server(name="Oslo"), make_server(name="Rome")
    for number in range(12):
        schedule = make_watched(channel, name=f"Nightly {number}")
        make_failed(schedule, *[(one, "failed", f"Reason {number}") for one in (server, other)][number % 2 :])
    alerts_look()
    deliveries = list(AlertDelivery.objects.select_related("alert").order_by("pk"))
    with django_assert_max_num_queries(4):
        message = message_of(deliveries=deliveries, channel=channel, now=timezone.now())
    assert "It has never succeeded. Oslo, Rome: Reason 4\n" in message.text
    assert "It has never succeeded. Rome: Reason 5\n" in message.text


def test_that_it_is_over_is_told_without_what_failed(channel: AlertChannel) -> None:
    schedule = make_watched(channel)
    make_failed(schedule, (make_server(name="Oslo"), "failed", DENIED))
    alerts_look()
    Schedule.objects.update(failures=0, last_good_at=timezone.now())
    alerts_look()
    closing = AlertDelivery.objects.select_related("alert").get(closing=True)
    message = message_of(deliveries=[closing], channel=channel, now=timezone.now())
    assert DENIED not in message.text
    assert message.body["alerts"][0]["failure"] is None


def test_what_the_log_and_the_history_have_forgotten_is_left_out(channel: AlertChannel) -> None:
    schedule = make_watched(channel)
    make_failed(schedule, (make_server(name="Oslo"), "failed", DENIED))
    alerts_look()
    ActionRun.objects.all().delete()
    assert " failed.\n\nThe schedule:" in told(channel).text
    schedule.planned_runs.all().delete()
    assert "What was planned" not in told(channel).text


def test_the_page_of_an_alert_tells_of_the_servers_that_one_sees(
    client: Client, channel: AlertChannel
) -> None:
    oslo, rome = make_server(name="Oslo"), make_server(name="Rome")
    schedule = make_watched(channel, servers=[oslo, rome])
    ends = [(oslo, "failed", DENIED), (rome, "failed", "No answer came.")]
    planned = make_failed(schedule, *ends, reason="Rome is slow.")
    alerts_look()
    url = reverse("admin:ami_integration_alert_change", args=(Alert.objects.get().pk,))
    bo = make_user("bo", "view_schedule", "view_alert", "view_actionrun")
    for sees_rome in (True, False):
        client.force_login(bo)
        text = client.get(url).content.decode()
        assert f"Oslo: {DENIED}" in text
        assert reverse("admin:ami_integration_fanout_change", args=(planned.fanout_id,)) in text
        assert ("Rome" in text) is ("No answer came." in text) is sees_rome
        bo.groups.clear()  # no access rule any more, but this one
        grant(bo, on=oslo)
