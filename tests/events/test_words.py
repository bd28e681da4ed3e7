"""The words by which events are found."""

from __future__ import annotations

from ami_integration.events import words
from ami_integration.events.rows import event_row
from ami_integration.events.words import words_joined, words_of
from tests.events.making import raw, stamped


def tokens(name: str, **headers: str) -> list[str]:
    return event_row(1, stamped(raw(name, **headers))).tokens.split()


def test_words_are_runs_of_letters_and_digits_without_case_and_accents() -> None:
    assert words_of("PJSIP/100-0000001A") == ["pjsip", "100", "0000001a"]
    assert words_of("Müller, Ånna_Lena") == ["muller", "anna", "lena"]
    assert words_of("+49 (30) 12.34") == ["49", "30", "12", "34"]
    assert words_of("Иван 李") == ["иван", "李"]
    assert words_of(" .,- ") == []


def test_caller_connected_line_exten_context_account_and_application_are_searched() -> None:
    found = tokens(
        "Newexten",
        **{
            "Channel": "PJSIP/chan-1",
            "CallerIDNum": "100",
            "CallerIDName": "Ada",
            "ConnectedLineNum": "200",
            "ConnectedLineName": "<unknown>",
            "Exten": "300",
            "Context": "from-internal",
            "AccountCode": "sales",
            "Application": "Dial",
            "AppData": "PJSIP/300,30",
            "DestCallerIDName": "Grace",
            "Language": "en",
        },
    )
    assert found == ["100", "ada", "200", "300", "from", "internal", "sales", "dial", "pjsip", "30", "grace"]


def test_of_a_user_event_all_that_its_sender_said_is_searched() -> None:
    found = tokens(
        "UserEvent", Privilege="user,all", UserEvent="Door", Uniqueid="1.2", Who="Ada", Floor="3rd"
    )
    assert found == ["door", "ada", "3rd"]


def test_words_are_bounded() -> None:
    assert words_of("x" * 500) == ["x" * words.LONGEST_WORD]
    joined = words_joined([f"word{number}" for number in range(10_000)])
    assert len(joined) <= words.MOST_CHARACTERS
    assert all(word.startswith("word") for word in joined.split())


def test_what_is_remembered_is_bounded() -> None:
    words._remembered.clear()
    for number in range(words._MOST_REMEMBERED + 5):
        words_joined([str(number)])
    assert len(words._remembered) <= words._MOST_REMEMBERED
