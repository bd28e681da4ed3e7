"""What a worker makes of a run, against a PBX that says what the test wrote down."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings

from ami_integration.access.masking import MASK
from ami_integration.actions.execution import run_time_limit
from ami_integration.actions.models import ActionRun
from ami_integration.actions.worker import run_execute
from ami_integration.ami import TCP
from ami_integration.servers.sessions import pool
from tests.actions.factories import make_operator, make_run
from tests.ami.scripted import BANNER, Peer, scripted
from tests.servers.factories import SECRET, make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("action_sessions")]
Status = ActionRun.Status


@contextmanager
def pbx(*scripts: Callable[[Peer], None], **values: Any) -> Iterator[ActionRun]:
    """A queued run on a server that is a scripted PBX."""
    with scripted(*scripts) as transport:
        yield make_run(server=make_server(transport), **values)


def execute(run: ActionRun) -> ActionRun:
    assert run_execute(run_id=run.pk)
    run.refresh_from_db()
    assert run.ended
    assert run.finished_at is not None
    return run


def test_a_run_is_sent_as_it_was_given_and_its_answer_kept() -> None:
    seen: list[list[tuple[str, str]]] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        seen.append(action.items())
        peer.answer(action, "Ping: Pong", "Timestamp: 1.5")

    with pbx(script, headers=[("X-One", "1"), ("X-One", "2"), ("Note", "Zoë")]) as run:
        execute(run)
    assert seen == [
        [("Action", "Ping"), ("ActionID", run.action_id), ("X-One", "1"), ("X-One", "2"), ("Note", "Zoë")]
    ]
    assert run.status == Status.SUCCEEDED
    assert ["Ping", "Pong"] in run.response
    assert run.worker
    assert run.started_at is not None


@pytest.mark.parametrize(("action", "kept"), [("Filter", False), ("events", False), ("QueuePause", True)])
def test_a_session_that_an_action_changed_is_not_kept_for_the_next(action: str, kept: bool) -> None:
    logins = []

    def script(peer: Peer) -> None:
        logins.append(1)
        peer.log_in()
        while (heard := peer.hear()).name != "Logoff":
            peer.answer(heard)

    with scripted(script, script) as transport:
        server = make_server(transport)
        execute(make_run(server=server, action=action))
        execute(make_run(server=server))
        pool.close_idle()
    assert len(logins) == (1 if kept else 2)


def test_a_list_is_kept_whole_with_what_completes_it() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, "EventList: start", "Message: Channels will follow")
        for name in ("one", "two"):
            peer.say(
                f"Event: CoreShowChannel\r\nActionID: {action.action_id}\r\nChannel: {name}\r\n\r\n".encode()
            )
        peer.say(
            f"Event: CoreShowChannelsComplete\r\nActionID: {action.action_id}\r\n"
            "EventList: Complete\r\nListItems: 2\r\n\r\n".encode()
        )

    with pbx(script, action="CoreShowChannels") as run:
        execute(run)
    assert run.status == Status.SUCCEEDED
    assert [dict(item)["Channel"] for item in run.items] == ["one", "two"]
    assert ["ListItems", "2"] in run.response


def test_of_an_answer_beyond_the_limit_the_beginning_is_kept_with_a_note_and_so_is_the_session() -> None:
    """27 MB: more than the client takes in one message by itself, and than a result may have."""

    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.say(f"Response: Success\r\nActionID: {action.action_id}\r\n".encode())
        peer.say(b"Message: Command output follows\r\n")
        for number in range(90):
            peer.say(
                b"".join(b"Output: %05d %s\r\n" % (number * 1000 + at, b"x" * 286) for at in range(1000))
            )
        peer.say(b"\r\n")
        while (action := peer.hear()).name != "Logoff":
            peer.answer(action, "Ping: Pong")

    with scripted(script) as transport:
        server = make_server(transport)
        run = execute(make_run(server=server, action="Command", headers=[("Command", "core show much")]))
        again = execute(make_run(server=server))
        pool.close_idle()
    assert (run.status, again.status) == (Status.SUCCEEDED, Status.SUCCEEDED)
    lines = run.output.split("\n")
    assert 50_000 < len(lines) < 60_000
    assert [line[:5] for line in (lines[0], lines[-1])] == ["00000", f"{len(lines) - 1:05}"]
    note = run.stored_result.note
    assert f"the first {len(lines):,} of more than" in note and "MiB behind it were not even read" in note
    assert "AMIWEB_RESULT_LIMIT_MIB" in note
    assert again.stored_result.note == ""


def test_a_command_keeps_every_line_of_its_output_even_when_it_fails() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(
            peer.hear(), "Message: Command output follows", "Output: No such", "Output: ", response="Error"
        )

    with pbx(script, action="Command") as run:
        execute(run)
    assert (run.status, run.output) == (Status.FAILED, "No such\n")
    assert run.reason == "The PBX refused: No such."
    assert not any(name == "Output" for name, _ in run.response)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (("", "Asterisk 22.10.1 built by root", "more"), "Asterisk 22.10.1 built by root"),
        (("Secret: hunter2",), "Secret: ********"),
        (("x" * 200,), "x" * 119 + "…"),
        ((), "It printed nothing."),
    ],
)
def test_a_list_tells_the_first_line_that_a_command_printed(output: tuple[str, ...], words: str) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "Message: Command output follows", *(f"Output: {line}" for line in output))

    with pbx(script, action="Command") as run:
        execute(run)
    assert (run.status, run.reason) == (Status.SUCCEEDED, words)


def test_what_the_pbx_refuses_is_failed_in_its_own_words() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "Message: Permission denied", response="Error")

    with pbx(script, action="Originate") as run:
        execute(run)
    assert run.status == Status.FAILED
    assert "Permission denied" in run.reason
    assert "write= classes" in run.reason


def test_no_answer_is_unknown_and_nothing_is_sent_again() -> None:
    actions: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        actions.append(peer.hear().name)
        actions.append(peer.hear().name)  # nothing but the Logoff

    with pbx(script, timeout=0.2) as run:
        execute(run)
        assert not run_execute(run_id=run.pk)
    assert run.status == Status.UNKNOWN
    assert "may or may not have carried it out" in run.reason
    assert actions[0] == "Ping"
    assert "Ping" not in actions[1:]


@pytest.mark.parametrize("end", ["silence", "the connection ends"])
def test_a_list_that_breaks_off_keeps_what_had_come_and_says_so(end: str) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, "EventList: start", "Message: Channels will follow")
        item = "Event: CoreShowChannel\r\nActionID: {0}\r\nChannel: one\r\nSecret: hunter2\r\n\r\n"
        peer.say(item.format(action.action_id).encode())
        if end == "silence":
            peer.hear()

    with pbx(script, timeout=0.5, action="CoreShowChannels") as run:
        execute(run)
    assert run.status == Status.UNKNOWN
    assert [dict(item)["Channel"] for item in run.items] == ["one"]
    assert dict(run.items[0])["Secret"] == MASK
    assert run.result.note.startswith("Not whole:")


def test_a_connection_that_ends_after_the_action_left_is_unknown() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.hear()

    with pbx(script) as run:
        execute(run)
    assert run.status == Status.UNKNOWN


def test_a_closed_port_is_failed_and_says_that_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = execute(make_run(server=make_server(TCP("127.0.0.1", port))))
    assert run.status == Status.FAILED
    assert run.reason.startswith("Not sent: ")
    assert run.traceback == ""


def test_a_refused_login_is_failed_unsent_and_shows_no_secret() -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Authentication failed", response="Error")

    with pbx(script) as run:
        execute(run)
    assert run.status == Status.FAILED
    assert run.reason.startswith("Not sent: ")
    assert SECRET not in run.reason


def test_an_unreadable_secret_is_failed_unsent(settings: Settings) -> None:
    run = make_run()
    settings.AMIWEB_ENCRYPTION_KEYS = {"other": Fernet.generate_key().decode()}
    execute(run)
    assert run.status == Status.FAILED
    assert "AMIWEB_ENCRYPTION_KEYS" in run.reason


def test_a_server_that_was_disabled_meanwhile_gets_nothing() -> None:
    run = make_run(server=make_server(enabled=False))
    execute(run)
    assert run.status == Status.FAILED
    assert run.reason.startswith("Not sent: Berlin was disabled")


def test_a_server_that_was_deleted_meanwhile_gets_nothing() -> None:
    run = make_run()
    assert run.server is not None
    run.server.delete()
    execute(run)
    assert run.status == Status.FAILED
    assert "was deleted" in run.reason


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ("permission", "ada may not run actions."),
        ("rule", "No access rule lets ada run Ping"),
        ("active", "The account ada is not active."),
        ("person", "ada was deleted"),
        ("maintenance", "Berlin is in maintenance"),
        ("read_only", "Berlin is read-only"),
    ],
)
def test_what_was_allowed_at_submit_is_asked_again_by_the_worker(gone: str, reason: str) -> None:
    ada = make_operator()
    run = make_run(user=ada, username="ada", action="QueuePause" if gone == "read_only" else "Ping")
    if gone == "permission":
        ada.user_permissions.clear()
    elif gone == "rule":
        ada.groups.clear()
    elif gone == "active":
        type(ada).objects.update(is_active=False)
    elif gone == "person":
        ada.delete()
    else:
        type(run.server).objects.update(**{gone: True})
    execute(run)
    assert run.status == Status.FAILED
    assert run.reason.startswith(f"Not sent: {reason}")


def test_what_waited_too_long_expires_unsent() -> None:
    run = make_run()
    ActionRun.objects.update(expires_at=run.created_at)
    assert not run_execute(run_id=run.pk)
    run.refresh_from_db()
    assert run.status == Status.EXPIRED


def test_a_message_that_comes_twice_is_executed_once() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "Ping: Pong")

    with pbx(script) as run:
        execute(run)
        assert not run_execute(run_id=run.pk)
    assert run.status == Status.SUCCEEDED


def test_a_message_for_a_run_that_is_gone_does_nothing() -> None:
    assert not run_execute(run_id=4711)


def test_a_mistake_of_ours_is_errored_with_its_traceback_and_without_secrets() -> None:
    run = make_run(headers=[("Secret", "hunter2"), ("Queue", "sales")])
    # A payload that no submit writes: the value is no text, and the error that follows names it.
    ActionRun.objects.filter(pk=run.pk).update(payload='[["Secret", "hunter2"], ["Variable: hunter2"]]')
    execute(run)
    assert run.status == Status.ERRORED
    assert "amiweb itself failed" in run.reason
    assert "Traceback" in run.traceback
    assert "hunter2" not in run.traceback


def test_secrets_and_odd_bytes_in_an_answer_are_stored_masked_and_visible() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.say(
            b"Response: Success\r\nActionID: " + run.action_id.encode() + b"\r\nSecret: hunter2\r\n"
            b"Line-000000-000001: password=hunter2\r\nCallerIDName: Caf\xe9 \x00\r\n\r\n"
        )
        assert action.name == "Ping"

    with pbx(script) as run:
        execute(run)
    assert run.status == Status.SUCCEEDED
    assert ["Secret", MASK] in run.response
    assert ["Line-000000-000001", f"password={MASK}"] in run.response
    assert ["CallerIDName", "Caf\\xe9 \\x00"] in run.response


# -- Originate


def events_set(peer: Peer, mask: str = "call") -> None:
    """An asynchronous Originate turns the events of calls on for itself, and off again."""
    action = peer.hear()
    assert (action.name, action.get("EventMask")) == ("Events", mask)
    peer.answer(action, "Events: On" if mask != "off" else "Events: Off")


def originate_response(run: ActionRun, response: str, reason: str) -> bytes:
    return (
        f"Event: OriginateResponse\r\nPrivilege: call,all\r\nActionID: {run.action_id}\r\n"
        f"Response: {response}\r\nChannel: Local/1\r\nReason: {reason}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("response", "reason", "status", "words"),
    [
        ("Success", "4", Status.SUCCEEDED, "The call was answered."),
        ("Failure", "5", Status.FAILED, "The call failed: it was busy."),
        ("Failure", "9", Status.FAILED, "The call failed: reason 9."),
    ],
)
def test_an_originate_ends_with_what_became_of_the_call(
    response: str, reason: str, status: str, words: str
) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        assert peer.seen[1].get("Events") == "off"
        events_set(peer)
        peer.answer(peer.hear(), "Message: Originate successfully queued")
        peer.say(b"Event: Newchannel\r\nChannel: Local/1\r\n\r\n")
        # Other sessions' responses come by too, and may even copy an ActionID that they guess.
        peer.say(b"Event: OriginateResponse\r\nActionID: another\r\nResponse: Failure\r\nReason: 8\r\n\r\n")
        peer.say(originate_response(run, response, reason))
        events_set(peer, "off")

    with pbx(script, action="Originate", headers=[("Channel", "Local/1"), ("Async", "true")]) as run:
        execute(run)
    assert (run.status, run.reason) == (status, words)
    assert ["Response", response] in run.items[0]


def test_an_originate_whose_outcome_nobody_tells_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ami_integration.actions.execution.ORIGINATE_MARGIN", 0.3)

    def script(peer: Peer) -> None:
        peer.log_in()
        events_set(peer)
        peer.answer(peer.hear(), "Message: Originate successfully queued")
        events_set(peer, "off")

    headers = [("Channel", "Local/1"), ("Async", "true"), ("Timeout", "1")]
    with pbx(script, action="Originate", headers=headers) as run:
        execute(run)
    assert run.status == Status.UNKNOWN
    assert "may lack call" in run.reason
    assert ["Message", "Originate successfully queued"] in run.response


def test_a_synchronous_originate_ends_with_its_response() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        assert peer.seen[1].get("Events") == "off"
        peer.answer(peer.hear(), "Message: Originate failed", response="Error")

    with pbx(script, action="Originate", headers=[("Channel", "Local/1"), ("Async", "false")]) as run:
        execute(run)
    assert (run.status, run.reason) == (Status.FAILED, "The PBX refused: Originate failed.")


@pytest.mark.parametrize(
    ("values", "headers", "seconds"),
    [
        ({}, [], 30),
        ({"timeout": 2.5}, [], 2.5),
        ({"action": "originate"}, [], 40),
        ({"action": "Originate"}, [("timeout", "5000")], 15),
        ({"action": "Originate"}, [("Timeout", " +5000 "), ("Timeout", "90000")], 15),
        ({"action": "Originate", "timeout": 3}, [("Timeout", "5000")], 15),
        ({"action": "Originate", "timeout": 60}, [("Timeout", "5000")], 60),
    ],
)
def test_the_time_limit_of_a_run(
    values: dict[str, Any], headers: list[tuple[str, str]], seconds: float
) -> None:
    assert run_time_limit(run=make_run(**values), headers=headers) == seconds
