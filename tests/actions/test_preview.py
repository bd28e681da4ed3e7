"""What is shown before anything is sent, and what has to be said then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.actions.models import ActionRun
from ami_integration.actions.preview import Confirm, Ticket, confirm_needed, request_preview
from ami_integration.actions.services import RunRefused
from ami_integration.actions.submission import request_submit
from ami_integration.servers.models import Server, ServerAbilities
from tests.access.factories import grant, make_person
from tests.actions.asking import look_at, make_servers, person_on
from tests.actions.factories import make_operator
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("danger", "servers", "confirm"),
    [
        (Danger.READ, 1, Confirm.NONE),
        (Danger.READ, 50, Confirm.NONE),
        (Danger.OPERATE, 1, Confirm.ONCE),
        (Danger.ORIGINATE, 5, Confirm.ONCE),
        (Danger.COMMAND, 5, Confirm.ONCE),
        (Danger.OPERATE, 6, Confirm.TYPE),
        (Danger.CONFIG, 1, Confirm.TYPE),
        (Danger.SYSTEM, 1, Confirm.TYPE),
    ],
)
def test_what_has_to_be_confirmed_follows_the_danger_and_the_number_of_servers(
    danger: Danger, servers: int, confirm: Confirm
) -> None:
    assert confirm_needed(danger=danger, servers=servers) == confirm


def test_the_preview_names_the_servers_and_the_bytes_and_writes_nothing() -> None:
    servers = make_servers(2)
    preview = look_at(make_operator(), servers, headers=[("Queue", "sales"), ("Secret", "hunter2")])
    assert [member.server for member in preview.members] == servers
    first = preview.members[0].action_id
    assert preview.text == f"Action: QueuePause\nActionID: {first}\nQueue: sales\nSecret: ********"
    wire = f"Action: QueuePause\r\nActionID: {first}\r\nQueue: sales\r\nSecret: hunter2\r\n\r\n"
    assert preview.size == len(wire)
    assert first != preview.members[1].action_id
    assert not ActionRun.objects.exists()


def test_the_bytes_of_an_originate_hold_what_amiweb_adds() -> None:
    preview = look_at(
        make_operator(), [make_server()], "Originate", [("Channel", "PJSIP/1"), ("Application", "Wait")]
    )
    assert "Async: true" in preview.text
    assert preview.danger == Danger.ORIGINATE


def test_a_stranger_a_viewer_and_somebody_elsewhere_are_told_no_with_the_reason() -> None:
    berlin, bonn = make_server(), make_server(name="Bonn")
    stranger = make_person("stranger")
    viewer = person_on(berlin, dangers=("read",), username="viewer")
    elsewhere = person_on(bonn, username="elsewhere")
    for person in (stranger, viewer, elsewhere):
        preview = look_at(person, [berlin])
        assert [member.server for member in preview.refused] == [berlin], person
        assert "No access rule" in preview.refused[0].decision.reason
    assert look_at(person_on(berlin, username="ada"), [berlin]).refused == []


def test_one_refused_server_refuses_all() -> None:
    berlin, bonn = make_servers(2)
    person = person_on(berlin)
    grant(person, "read", on=bonn)
    assert [member.server for member in look_at(person, [berlin, bonn]).refused] == [bonn]


def test_no_server_is_refused() -> None:
    with pytest.raises(RunRefused, match="nothing runs without one"):
        look_at(make_operator(), [])


@pytest.mark.parametrize(
    ("count", "tag", "phrase"), [(1, "", "PBX 0"), (3, "", "3 servers"), (3, "berlin", "berlin")]
)
def test_the_phrase_is_the_tag_or_the_server_or_their_number(count: int, tag: str, phrase: str) -> None:
    preview = look_at(make_operator(), make_servers(count, tag=tag), "Reload", tag=tag)
    assert (preview.confirm, preview.phrase) == (Confirm.TYPE, phrase)


def test_the_worst_server_decides_on_the_class() -> None:
    servers = make_servers(2)
    for server, privileges in zip(servers, ("reporting,all", "system,all"), strict=True):
        ServerAbilities.objects.create(
            server=server, actions={"Homemade": privileges}, read_at=timezone.now()
        )
    one, other = (look_at(make_operator(name), servers[i:], "Homemade") for i, name in ((0, "a"), (1, "b")))
    assert one.danger == other.danger
    assert one.danger > look_at(make_operator("c"), servers[:1], "Homemade").danger


def test_a_server_whose_login_lacks_the_action_is_marked() -> None:
    berlin, bonn = make_servers(2)
    ServerAbilities.objects.create(server=berlin, actions={"Ping": "<none>"}, read_at=timezone.now())
    preview = look_at(make_operator(), [berlin, bonn])
    assert [member.server for member in preview.lacking] == [berlin]


# -- the token


def test_the_token_hides_the_payload_and_gives_it_back() -> None:
    ada = make_operator()
    preview = look_at(ada, [make_server()], headers=[("Secret", "hunter2")])
    assert "hunter2" not in preview.token
    assert Ticket.unpack(preview.token, user=ada).pairs == [("Secret", "hunter2")]


def test_the_token_is_for_one_person_for_an_hour_and_whole() -> None:
    ada = make_operator()
    token = look_at(ada, [make_server()]).token
    with pytest.raises(RunRefused, match="somebody else"):
        Ticket.unpack(token, user=make_operator("bob"))
    with pytest.raises(RunRefused, match="can't be read"):
        Ticket.unpack(token[:-4], user=ada)
    with (
        time_machine.travel(timezone.now() + timedelta(minutes=61)),
        pytest.raises(RunRefused, match="older than 60 minutes"),
    ):
        Ticket.unpack(token, user=ada)


def test_a_preview_costs_the_same_with_many_servers(django_assert_max_num_queries: Any) -> None:
    user, number = make_operator(), len(make_servers(30))
    with django_assert_max_num_queries(12):
        preview = request_preview(user=user, servers=list(Server.objects.all()), action="Ping", headers=())
        assert [member.server.state.value for member in preview.members] == ["unknown"] * number


def test_the_bytes_are_shown_in_their_order_and_none_is_invisible() -> None:
    """A right-to-left override would show another number than the one that is called."""
    ada = make_operator()
    headers = [("Queue", "sales\u202e1001\u200b"), ("Interface", "a\x85b\x1bc"), ("Reason", "Zoë 📞")]
    preview = look_at(ada, [make_server()], headers=headers)
    shown = "Queue: sales\\u202e1001\\u200b\nInterface: a\\x85b\\x1bc\nReason: Zoë 📞"
    assert preview.text.endswith(shown)
    submitted = request_submit(user=ada, token=preview.token, confirmed=True)
    assert submitted.run is not None
    assert submitted.run.request_text == preview.text
    client = Client()
    client.force_login(ada)
    page = client.get(reverse("admin:ami_integration_actionrun_change", args=(submitted.run.pk,)))
    assert "sales\\u202e1001" in page.content.decode() and "\u202e" not in page.content.decode()
    listed = client.get(reverse("admin:ami_integration_actionrun_changelist")).content.decode()
    assert "sales\\u202e1001" in listed and "\u202e" not in listed
