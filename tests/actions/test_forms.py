"""Headers as people write them."""

from __future__ import annotations

import pytest
from django import forms

from ami_integration.actions.forms import HeadersField, RunForm, headers_text
from tests.servers.factories import make_server


def test_lines_become_pairs_in_order_and_names_may_repeat() -> None:
    text = "Channel: PJSIP/100\r\nVariable: a=b:c\r\n\r\nVariable:x\n  Data :  spaced out  "
    assert HeadersField().clean(text) == [
        ("Channel", "PJSIP/100"),
        ("Variable", "a=b:c"),
        ("Variable", "x"),
        ("Data", "spaced out"),
    ]


@pytest.mark.parametrize("text", ["", "  \n\r\n ", None])
def test_no_headers_are_fine(text: str | None) -> None:
    assert HeadersField().clean(text) == []


@pytest.mark.parametrize("line", ["Channel PJSIP/100", ": no name"])
def test_a_line_that_is_no_header_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(forms.ValidationError, match="Line 2 is not a header"):
        HeadersField().clean(f"Channel: a\n{line}")


def test_characters_that_only_unicode_calls_a_line_end_stay_in_the_value() -> None:
    assert HeadersField().clean("Data: a\u2028b\x0bc") == [("Data", "a\u2028b\x0bc")]


def test_what_the_field_shows_it_reads_again() -> None:
    pairs = [("Channel", "PJSIP/100"), ("Variable", "a: b")]
    assert HeadersField().clean(headers_text(pairs)) == pairs


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"server": ""}, "server", "nothing runs without one"),
        ({"action": ""}, "action", "Name an action"),
        ({"action": "Two words\rX"}, "action", "line end"),
        ({"headers": "Data: a\rAction: Originate"}, "headers", "line end"),
        ({"headers": "Data: " + "x" * 1100}, "headers", "1022"),
        ({"headers": "Bad name: x"}, "headers", "header's name"),
        ({"headers": "ActionID: mine"}, "headers", "Leave the header ActionID out"),
        ({"action": "Originate", "headers": "Timeout: 600001"}, "headers", "at most 600000 milliseconds"),
        ({"action_id": "mine"}, "action_id", "valid value"),
    ],
)
def test_a_mistake_is_told_beside_its_field(values: dict[str, str], field: str, words: str) -> None:
    data = {"server": str(make_server().pk), "action": "Ping", "headers": "", "action_id": "0" * 32}
    form = RunForm(data | values)
    assert not form.is_valid()
    assert list(form.errors) == [field]
    assert words in form.errors[field][0]


@pytest.mark.django_db
def test_a_disabled_server_is_no_choice() -> None:
    server = make_server(enabled=False)
    form = RunForm({"server": str(server.pk), "action": "Ping", "action_id": "0" * 32})
    assert "disabled" in form.errors["server"][0]


@pytest.mark.django_db
def test_every_new_form_has_an_action_id_of_its_own() -> None:
    assert RunForm().initial["action_id"] != RunForm().initial["action_id"]
