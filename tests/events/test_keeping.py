"""What is stored of a server's events."""

from __future__ import annotations

from time import process_time

import pytest
from django.core.exceptions import ValidationError

from ami_integration.events.keeping import REREAD_SECONDS, Keeping, KeepingRules
from ami_integration.servers.models import Server, validate_event_names
from tests.servers.factories import make_server

Mode = Server.EventKeeping


def test_the_default_leaves_the_noise_out() -> None:
    keeping = Keeping()
    for name in ("VarSet", "Newexten", "RTCPSent", "RTCPReceived", "ChannelTalkingStart", "varset"):
        assert not keeping.keeps(name)
    for name in ("Newchannel", "Hangup", "DialBegin", "QueueCallerJoin", "UserEvent", "", "VarSetter"):
        assert keeping.keeps(name)


def test_all_and_none_are_what_they_say() -> None:
    assert Keeping(Mode.ALL).keeps("VarSet")
    assert not Keeping(Mode.NONE).keeps("Hangup")


def test_chosen_names_and_patterns_are_kept_and_no_others() -> None:
    keeping = Keeping.of_text(Mode.CHOSEN, "Hangup\n\n Queue* \n! QueueMemberPause\n*Auth*")
    assert [name for name in ("Hangup", "queuecallerjoin", "ChallengeSentAuth") if keeping.keeps(name)] == [
        *("Hangup", "queuecallerjoin", "ChallengeSentAuth")
    ]
    assert not any(keeping.keeps(name) for name in ("QueueMemberPause", "Newchannel", "Hangups", ""))


def test_with_nothing_but_exceptions_all_others_are_kept() -> None:
    keeping = Keeping.of_text(Mode.CHOSEN, "!RTCP*")
    assert keeping.keeps("VarSet")
    assert not keeping.keeps("RTCPSent")


def test_chosen_without_a_name_keeps_nothing() -> None:
    assert not Keeping.of_text(Mode.CHOSEN, " \n").keeps("Hangup")


def test_a_line_of_many_stars_holds_nobody_up() -> None:
    keeping = Keeping(Mode.CHOSEN, ["*" + "a*" * 45 + "b", "!*" + "a*" * 45 + "c"])
    begin = process_time()
    assert not keeping.keeps("a" * 100)
    assert keeping.keeps("a" * 100 + "B")
    assert process_time() - begin < 10  # backtracking would take years


def test_stars_stand_for_anything_also_for_nothing() -> None:
    keeping = Keeping(Mode.CHOSEN, ["a*b**c", "X*X"])
    assert all(keeping.keeps(name) for name in ("abc", "AxBxC", "abbcc", "xx", "XaX"))
    assert not any(keeping.keeps(name) for name in ("ab", "acb", "abcd", "x", ""))


def test_a_line_with_too_many_stars_is_refused() -> None:
    validate_event_names("a*" * 10)
    with pytest.raises(ValidationError, match="at most 10 stars"):
        validate_event_names("Hangup\n!" + "a*" * 11)


@pytest.mark.parametrize("line", ["a b", "!", "Hang(up)", "x" * 101, "[a-z]"])
def test_a_line_that_is_no_name_is_refused_with_an_example(line: str) -> None:
    with pytest.raises(ValidationError, match="one name a line"):
        validate_event_names(f"Hangup\n{line}")


def test_too_many_lines_are_refused() -> None:
    with pytest.raises(ValidationError, match="at most 200 lines"):
        validate_event_names("\n".join(["Hangup"] * 201))


@pytest.mark.django_db
def test_an_edit_of_a_server_holds_at_the_next_look() -> None:
    now = 100.0
    rules = KeepingRules(clock=lambda: now)
    server = make_server()
    rules.refresh()
    assert rules.of(server.pk).keeps("Hangup")
    assert rules.of(0).keeps("Hangup")
    Server.objects.filter(pk=server.pk).update(event_keeping=Mode.NONE)
    now += REREAD_SECONDS / 2
    rules.refresh()
    assert rules.of(server.pk).keeps("Hangup")
    now += REREAD_SECONDS
    rules.refresh()
    assert not rules.of(server.pk).keeps("Hangup")
