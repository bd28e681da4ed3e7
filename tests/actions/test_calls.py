"""The Uniqueid of an Originate's call, and hanging it up."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.actions import services
from ami_integration.actions.calls import call_headers, is_async_originate
from ami_integration.actions.models import ActionRun
from ami_integration.actions.snapshots import run_snapshot
from ami_integration.actions.worker import run_execute
from ami_integration.ami import TCP
from tests.access.factories import grant, make_person
from tests.actions.factories import make_operator, make_run
from tests.ami.scripted import Peer, scripted
from tests.polling import wait_until
from tests.servers.factories import make_server
from tests.simulator.fixtures import Simulator

ASYNC = [("Channel", "Local/1"), ("Async", "true")]


@pytest.mark.parametrize(
    ("action", "headers", "follows"),
    [
        ("Originate", [("Async", "true")], True),
        ("originate", [("async", " YES ")], True),
        ("Originate", [("Async", "1"), ("Async", "no")], True),
        ("Originate", [("Async", "no"), ("Async", "1")], False),
        ("Originate", [("Async", "false")], False),
        ("Originate", [], False),
        ("Ping", [("Async", "true")], False),
    ],
)
def test_what_asterisk_takes_for_an_asynchronous_originate(
    action: str, headers: list[tuple[str, str]], follows: bool
) -> None:
    assert is_async_originate(action, headers) is follows


def test_a_call_gets_a_uniqueid_of_its_own() -> None:
    assert call_headers(action="Originate", headers=ASYNC, action_id="one") == [
        *ASYNC,
        ("ChannelId", "amiweb-one"),
    ]


def test_a_uniqueid_that_somebody_chose_stays() -> None:
    chosen = [*ASYNC, ("channelid", "mine")]
    assert call_headers(action="Originate", headers=chosen, action_id="one") == chosen


def test_a_repetition_does_not_take_the_uniqueid_of_the_call_before() -> None:
    first = call_headers(action="Originate", headers=ASYNC, action_id="one")
    assert call_headers(action="Originate", headers=first, action_id="two") == [
        *ASYNC,
        ("ChannelId", "amiweb-two"),
    ]
    assert call_headers(action="Originate", headers=first, action_id="one") == first


def test_an_empty_uniqueid_is_none() -> None:
    blank = [("ChannelId", " "), *ASYNC]
    assert call_headers(action="Originate", headers=blank, action_id="one") == [
        *ASYNC,
        ("ChannelId", "amiweb-one"),
    ]


def test_other_actions_are_left_alone() -> None:
    headers = [("Channel", "Local/1")]
    assert call_headers(action="Hangup", headers=headers, action_id="one") == headers
    assert call_headers(action="Originate", headers=headers, action_id="one") == headers


# -- hanging up

pytestmark = pytest.mark.django_db


def ringing(**values: Any) -> ActionRun:
    steps = [
        ["dialling", timezone.now().isoformat(), "PJSIP/1"],
        ["ringing", timezone.now().isoformat(), "PJSIP/1"],
    ]
    return make_run(
        **{"action": "Originate", "status": "running", "started_at": timezone.now(), "call_steps": steps}
        | values
    )


def test_a_ringing_call_is_hung_up_once_by_its_button() -> None:
    run, ada = ringing(), make_operator()
    client = Client()
    client.force_login(ada)
    path = reverse("admin:ami_integration_actionrun_hangup", args=(run.pk,))
    assert client.get(path).status_code == 405
    assert "being hung up" in client.post(path, follow=True).content.decode()
    run.refresh_from_db()
    assert run.hangup_asked_by == "ada"
    snapshot = run_snapshot(run)
    assert (snapshot["hangable"], snapshot["waiting"]) == (False, "ada has it hung up.")
    assert "nothing to hang up" in client.post(path, follow=True).content.decode()


@pytest.mark.parametrize(
    "values",
    [{"status": "queued", "call_steps": []}, {"status": "succeeded"}, {"action": "Ping", "call_steps": []}],
)
def test_what_does_not_ring_is_not_hung_up(values: dict[str, Any]) -> None:
    run = ringing(**values)
    assert not run_snapshot(run)["hangable"]
    assert not services.call_hang_up(user=make_operator(), run=run)
    run.refresh_from_db()
    assert run.hangup_asked_by == ""


def test_strangers_hang_up_nothing() -> None:
    run = ringing()
    stranger, elsewhere = make_person("eve"), make_person("mallory")
    grant(elsewhere, on=make_server(name="Bonn"))
    reader = make_person("vera")
    grant(reader, Danger.READ, on=run.server)
    for person in (stranger, elsewhere, reader):
        client = Client()
        client.force_login(person)
        response = client.post(reverse("admin:ami_integration_actionrun_hangup", args=(run.pk,)))
        assert response.status_code in (403, 404), person
    run.refresh_from_db()
    assert run.hangup_asked_by == ""


def test_the_page_shows_how_far_a_call_has_come() -> None:
    run = ringing()
    steps = run_snapshot(run)["steps"]
    assert [(step["name"], step["state"]) for step in steps] == [
        ("Queued", "ok"),
        ("Running", "ok"),
        ("Dialling", "ok"),
        ("Ringing", "current"),
        ("Outcome", "waiting"),
    ]
    assert steps[3]["detail"] == "PJSIP/1"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("valkey")
def test_a_call_of_the_simulated_office_is_followed_and_hung_up_too(simulator: Simulator) -> None:
    transport = TCP(simulator.host, simulator.port)
    server = make_server(transport, username=simulator.username, secret=simulator.secret)
    headers = [("Channel", "PJSIP/100"), ("Application", "Wait"), ("Data", "1"), ("Timeout", "60000")]
    run = services.run_submit(user=None, origin="command", server=server, action="Originate", headers=headers)

    def work() -> None:
        try:
            run_execute(run_id=run.pk)
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        wait_until(
            lambda: "ringing" in [step[0] for step in ActionRun.objects.get(pk=run.pk).call_steps],
            seconds=20,
            what=lambda: f"it rings: {ActionRun.objects.get(pk=run.pk).call_steps}",
        )
        asked = ActionRun.objects.ask_hangup(run.pk, "ada")
    finally:
        worker.join(60)
    run.refresh_from_db()
    assert asked
    # The people of the office are quick: somebody may have picked up in the same second.
    assert "ada" in run.reason
    assert run.status in (ActionRun.Status.CANCELLED, ActionRun.Status.SUCCEEDED)
    wait_until(lambda: not simulator.office.switch.channels, seconds=15, what="the call is over")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("valkey")
def test_who_asks_in_the_moment_of_the_answer_talks_to_nobody_either() -> None:
    said: list[str] = []

    def answers(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        while action.name != "Originate":
            peer.answer(action)
            action = peer.hear()
        peer.answer(action, "Message: Originate successfully queued")
        peer.say(b"Event: Newchannel\r\nUniqueid: one\r\nChannel: PJSIP/100-1\r\n\r\n")
        # The worker has looked whether anybody wants it hung up, and looks again in a second.
        wait_until(lambda: ActionRun.objects.get().call_steps, seconds=20, what="it dials")
        assert ActionRun.objects.ask_hangup(run.pk, "ada")
        connection.close()
        event = "Event: OriginateResponse\r\nActionID: {0}\r\nResponse: Success\r\nReason: 4\r\n\r\n"
        peer.say(event.format(action.action_id).encode())
        while True:
            other = peer.hear()
            said.append(f"{other.name} {other.get('Channel')}")
            peer.answer(other)

    with scripted(answers) as transport:
        headers = [("Channel", "PJSIP/100"), ("Async", "true"), ("ChannelId", "one")]
        run = make_run(server=make_server(transport), action="Originate", headers=headers)
        run_execute(run_id=run.pk)
    run.refresh_from_db()
    assert said[0] == "Hangup one"
    assert run.reason == "The call was answered while ada had it hung up, which ended it."
