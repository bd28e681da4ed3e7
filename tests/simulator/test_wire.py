"""Event classes and masks as Asterisk reads and writes them."""

import pytest

from ami_integration.simulator.wire import Event, EventClass, encode, mask_from_text, privilege_text


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("on", EventClass.ALL),
        ("YES", EventClass.ALL),
        ("off", EventClass.NONE),
        ("0", EventClass.NONE),
        ("call,system", EventClass.CALL | EventClass.SYSTEM),
        (" Call , agent", EventClass.CALL | EventClass.AGENT),
        ("all", EventClass.ALL),
        ("nonsense", EventClass.NONE),
        ("3", EventClass.CALL | EventClass.SYSTEM),
        ("", None),
    ],
)
def test_a_mask_is_read_as_asterisk_reads_it(text: str, mask: EventClass | None) -> None:
    assert mask_from_text(text) == mask


def test_a_privilege_names_its_classes_in_asterisks_order_and_all() -> None:
    assert privilege_text(EventClass.REPORTING | EventClass.SYSTEM) == "system,reporting,all"
    assert privilege_text(EventClass.NONE) == "<none>"


def test_an_event_of_two_classes_needs_both() -> None:
    event = Event("VoicemailPasswordChange", EventClass.SYSTEM | EventClass.USER, ())
    assert not event.passes(EventClass.SYSTEM)
    assert event.passes(EventClass.SYSTEM | EventClass.USER | EventClass.CALL)


def test_an_empty_value_keeps_the_blank_after_its_colon() -> None:
    assert encode([("AccountCode", "")]) == b"AccountCode: \r\n\r\n"
