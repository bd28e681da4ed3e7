"""Runs of the actions that people use most, on both real versions: what is asked, and what the log keeps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from ami_integration.access.masking import MASK
from ami_integration.actions import services
from ami_integration.actions.models import ActionRun
from ami_integration.actions.worker import run_execute
from ami_integration.ami import TCP
from tests.pbx.asterisk import Asterisk
from tests.polling import wait_until
from tests.servers.factories import make_server

pytestmark = [pytest.mark.pbx, pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
Status = ActionRun.Status
Headers = list[tuple[str, str]]


class Office:
    """A server of amiweb's that is one of the real Asterisks, with a worker's hands."""

    def __init__(self, asterisk: Asterisk) -> None:
        username, secret = asterisk.users["admin"]
        self.asterisk = asterisk
        self.server = make_server(TCP(asterisk.host, asterisk.port), username=username, secret=secret)

    def ask(self, action: str, headers: Headers | None = None, **values: Any) -> ActionRun:
        return services.run_submit(
            user=None, origin="command", server=self.server, action=action, headers=headers or [], **values
        )

    def run(self, action: str, headers: Headers | None = None, **values: Any) -> ActionRun:
        """Submit, and execute as the worker does."""
        run = self.ask(action, headers, **values)
        assert run_execute(run_id=run.pk)
        run.refresh_from_db()
        return run

    def done(self, action: str, headers: Headers | None = None) -> ActionRun:
        """A run that has to succeed."""
        run = self.run(action, headers)
        assert run.status == Status.SUCCEEDED, run.reason
        return run

    def call(self, channel: str, *, context: str = "phones", exten: str = "hold") -> str:
        """A call that goes on; returns its channel."""
        run = self.done(
            "Originate",
            [("Channel", channel), ("Context", context), ("Exten", exten), ("Priority", "1")],
        )
        return dict(run.items[0])["Channel"]

    def channels(self) -> list[dict[str, str]]:
        return [dict(item) for item in self.done("CoreShowChannels").items]


@pytest.fixture
def office(asterisk: Asterisk) -> Iterator[Office]:
    """The calls that a test leaves end with it: the Asterisk is everybody's."""
    asterisk.cli("channel request hangup all")
    yield Office(asterisk)
    asterisk.cli("channel request hangup all")
    wait_until(
        lambda: "0 active channels" in asterisk.cli("core show channels count"),
        seconds=15,
        what="the end of the calls",
    )


def members(office: Office, queue: str) -> dict[str, dict[str, str]]:
    items = [dict(item) for item in office.done("QueueStatus", [("Queue", queue)]).items]
    return {item["StateInterface"]: item for item in items if item["Event"] == "QueueMember"}


def test_ping_is_answered(office: Office) -> None:
    run = office.done("Ping")
    assert ["Ping", "Pong"] in run.response
    assert (run.started_at is not None, run.finished_at is not None) == (True, True)
    assert run.answer_seconds is not None
    assert 0 < run.answer_seconds < 30


def test_corestatus_tells_when_it_started(office: Office) -> None:
    assert {"CoreStartupTime", "CoreCurrentCalls"} <= set(dict(office.done("CoreStatus").response))


def test_coreshowchannels_lists_the_calls_there_are(office: Office) -> None:
    assert office.channels() == []
    channel = office.call("Local/hold@phones")
    found = office.channels()
    assert channel in [item["Channel"] for item in found]
    assert {item["ChannelStateDesc"] for item in found} == {"Up"}


def test_a_member_is_added_paused_and_removed(office: Office) -> None:
    interface = "Local/2042@phones/n"
    who = [("Queue", "desk"), ("Interface", interface)]
    office.done("QueueAdd", [*who, ("MemberName", "Zoë"), ("Penalty", "3")])
    try:
        member = members(office, "desk")[interface]
        assert (member["Name"], member["Penalty"], member["Paused"]) == ("Zoë", "3", "0")
        again = office.run("QueueAdd", who)
        assert again.status == Status.FAILED
        assert "Already there" in again.reason
        office.done("QueuePause", [*who, ("Paused", "true"), ("Reason", "lunch; back at 1, sharp")])
        member = members(office, "desk")[interface]
        assert (member["Paused"], member["PausedReason"]) == ("1", "lunch; back at 1, sharp")
    finally:
        office.done("QueueRemove", who)
    assert interface not in members(office, "desk")
    assert office.run("QueueRemove", who).status == Status.FAILED


def test_two_thousand_endpoints_are_one_whole_list(office: Office) -> None:
    run = office.done("PJSIPShowEndpoints")
    names = [dict(item)["ObjectName"] for item in run.items if dict(item)["Event"] == "EndpointList"]
    assert set(map(str, range(1000, 3000))) <= set(names)
    assert int(dict(run.response)["ListItems"]) == len(run.items)
    assert run.result.item_count == len(run.items)
    assert run.result.stored_size < run.result.size / 5
    assert run.result.note == ""


# -- calls


def test_an_originate_is_followed_until_somebody_answers(office: Office) -> None:
    run = office.run(
        "Originate",
        [("Channel", "Local/2001@phones"), ("Application", "Wait"), ("Data", "1"), ("CallerID", "Zoë <100>")],
    )
    assert (run.status, run.reason) == (Status.SUCCEEDED, "The call was answered.")
    assert [state for state, _, _ in run.call_steps] == ["dialling", "ringing", "answered"]
    assert {channel.partition("-")[0] for _, _, channel in run.call_steps} == {"Local/2001@phones"}


@pytest.mark.parametrize(
    ("channel", "words", "steps"),
    [
        ("Local/busy@phones", "it was busy", ["dialling", "failed"]),
        ("Local/ring@phones", "rang and nobody answered", ["dialling", "ringing", "failed"]),
        ("PJSIP/nobody", "no such channel", ["failed"]),
    ],
)
def test_an_originate_that_fails_says_how_far_it_came(
    office: Office, channel: str, words: str, steps: list[str]
) -> None:
    headers = [("Channel", channel), ("Application", "Wait"), ("Data", "1"), ("Timeout", "1000")]
    run = office.run("Originate", headers)
    assert run.status == Status.FAILED
    assert words in run.reason
    assert [state for state, _, _ in run.call_steps] == steps


@pytest.mark.django_db(transaction=True)
def test_an_originate_is_hung_up_while_it_rings(office: Office) -> None:
    headers = [("Channel", "Local/ring@phones"), ("Application", "Wait"), ("Data", "1"), ("Timeout", "60000")]
    run = office.ask("Originate", headers)

    def work() -> None:
        try:
            run_execute(run_id=run.pk)
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        wait_until(
            lambda: "ringing" in [step[0] for step in ActionRun.objects.get().call_steps],
            seconds=20,
            what="it rings",
        )
        assert ActionRun.objects.ask_hangup(run.pk, "ada")
        assert not ActionRun.objects.ask_hangup(run.pk, "bob"), "once is enough"
    finally:
        worker.join(30)
    run.refresh_from_db()
    assert (run.status, run.reason) == (Status.CANCELLED, "Hung up by ada before anybody answered.")
    assert run.call_steps[-1][0] == "failed"
    wait_until(lambda: office.channels() == [], seconds=15, what="the channels are gone")


def test_a_call_is_hung_up(office: Office) -> None:
    channel = office.call("Local/hold@phones")
    office.done("Hangup", [("Channel", channel), ("Cause", "16")])
    wait_until(lambda: office.channels() == [], seconds=15, what="the call is over")
    gone = office.run("Hangup", [("Channel", channel)])
    assert gone.status == Status.FAILED
    assert "No such channel" in gone.reason


def test_a_call_is_redirected(office: Office) -> None:
    channel = office.call("Local/hold@phones", context="office", exten="hold")
    office.done(
        "Redirect",
        [("Channel", channel), ("Context", "office"), ("Exten", "conference"), ("Priority", "1")],
    )
    wait_until(
        lambda: "ConfBridge" in {item["Application"] for item in office.channels()},
        seconds=15,
        what="the conference",
    )
    lost = office.run(
        "Redirect",
        [("Channel", "Local/nobody"), ("Context", "office"), ("Exten", "hold"), ("Priority", "1")],
    )
    assert lost.status == Status.FAILED
    assert "Channel does not exist" in lost.reason


def test_a_conference_lists_who_is_in_it(office: Office) -> None:
    empty = office.run("ConfbridgeList", [("Conference", "1000")])
    assert empty.status == Status.FAILED
    assert "conference" in empty.reason.lower()
    channel = office.call("Local/conference@office")
    wait_until(
        lambda: office.run("ConfbridgeList", [("Conference", "1000")]).status == Status.SUCCEEDED,
        seconds=15,
        what="the caller is in the conference",
    )
    run = office.done("ConfbridgeList", [("Conference", "1000")])
    assert [dict(item)["Event"] for item in run.items] == ["ConfbridgeList"]
    assert dict(run.items[0])["Channel"].rpartition(";")[0] == channel.rpartition(";")[0]


# -- values that hurt


@pytest.mark.parametrize(
    "value",
    [
        "comma,and;semicolon",
        "quote\"and'quote",
        "back\\slash",
        "${EXTEN}$[1+1]",
        "a: b=c|d&e",
        "Zoë 📞 日本",
        "--END COMMAND--",
        "0",
        "x" * 700,
    ],
)
def test_a_variable_comes_back_as_it_was_set(office: Office, value: str) -> None:
    office.done("Setvar", [("Variable", "AMIWEB_NASTY"), ("Value", value)])
    run = office.done("Getvar", [("Variable", "AMIWEB_NASTY")])
    assert ["Value", value] in run.response


@pytest.mark.parametrize("value", ["one\r\ntwo", "one\ntwo", "one\rtwo", "nul\x00"])
def test_a_value_that_would_break_the_protocol_never_leaves(office: Office, value: str) -> None:
    with pytest.raises(services.RunRefused) as refused:
        office.ask("Setvar", [("Variable", "AMIWEB_NASTY"), ("Value", value)])
    assert refused.value.field == "headers"
    assert not ActionRun.objects.exists()


def test_a_variable_that_names_a_secret_is_masked(office: Office) -> None:
    office.done("Setvar", [("Variable", "AMIWEB_SECRET"), ("Value", "hunter2")])
    run = office.done("Getvar", [("Variable", "AMIWEB_SECRET")])
    assert ["Value", MASK] in run.response
    assert ("Value", "hunter2") in run.result.in_clear().response


# -- output


def test_a_command_succeeds(office: Office) -> None:
    assert "Asterisk " in office.done("Command", [("Command", "core show version")]).output


def test_a_command_that_is_none_fails_and_keeps_its_words(office: Office) -> None:
    run = office.run("Command", [("Command", "core show nonsense")])
    assert run.status == Status.FAILED
    assert "No such command" in run.output


def test_five_thousand_lines_of_output_are_all_there(office: Office) -> None:
    run = office.done("Command", [("Command", "pjsip show endpoints")])
    lines = run.output.split("\n")
    assert len(lines) > 5_000
    shown = {line.split()[1].partition("/")[0] for line in lines if line.startswith(" Endpoint:  ")}
    assert set(map(str, range(1000, 3000))) <= shown
    assert run.result.note == ""


# -- configuration and database


def test_getconfig_shows_all_but_secrets(office: Office) -> None:
    username, secret = office.asterisk.users["admin"]
    run = office.done("GetConfig", [("Filename", "manager.conf")])
    values = [value for _, value in run.response]
    assert username in values
    assert f"secret={MASK}" in values
    assert secret not in str(run.response)
    assert secret.encode() not in bytes(run.result.data)
    assert secret in str(run.result.in_clear().response)
    missing = office.run("GetConfig", [("Filename", "nowhere.conf")])
    assert missing.status == Status.FAILED


def test_the_database_keeps_returns_and_forgets(office: Office) -> None:
    key = [("Family", "amiweb"), ("Key", "test/one")]
    value = "a, b; ${c} = 'd' Zoë"
    office.done("DBPut", [*key, ("Val", value)])
    run = office.done("DBGet", key)
    assert [dict(item)["Val"] for item in run.items] == [value]
    office.done("DBDel", key)
    gone = office.run("DBGet", key)
    assert gone.status == Status.FAILED
    assert "not found" in gone.reason
