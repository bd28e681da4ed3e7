"""Headers as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import User

from ami_integration.access.masking import headers_mask
from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument
from ami_integration.actions.checks import catalogue_faults
from ami_integration.actions.forms import HeadersField, RunForm, headers_text
from ami_integration.actions.models import ActionTemplate
from ami_integration.actions.placeholders import (
    HiddenValueMissing,
    Kept,
    stars_restore,
    variables_fill,
    variables_of,
)
from ami_integration.servers.models import Server, Tag
from tests.actions.asking import make_template, person_on
from tests.actions.catalogue.making import make_catalogue
from tests.actions.factories import make_operator
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


def run_form(user: User | None = None, template: ActionTemplate | None = None, **values: Any) -> RunForm:
    """The form as somebody sent it, on the one server that there is unless the values say otherwise."""
    data: dict[str, Any] = {"action": "Ping", "headers": "", "action_id": "0" * 32}
    if "server" not in values and "tag" not in values:
        data["server"] = [(Server.objects.first() or make_server()).pk]
    return RunForm(data | values, user=user or make_operator(), template=template)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"server": []}, "server", "nothing runs without one"),
        ({"server": ["4711"]}, "server", "disabled or gone"),
        ({"server": ["9" * 30]}, "server", "There is no such server"),
        ({"server": ["\0"]}, "server", "There is no such server"),
        ({"action": ""}, "action", "Name an action"),
        ({"action": "Two words\rX"}, "action", "line end"),
        ({"headers": "Data: a\rAction: Originate"}, "headers", "line end"),
        ({"headers": "Data: " + "x" * 1100}, "headers", "1022"),
        ({"headers": "Bad name: x"}, "headers", "header's name"),
        ({"headers": "ActionID: mine"}, "headers", "Leave the header ActionID out"),
        ({"headers": "Secret: ********"}, "headers", "hidden value that isn't there"),
        ({"action": "Originate", "headers": "Timeout: 600001"}, "headers", "at most 600000 milliseconds"),
        ({"action_id": "mine"}, "action_id", "valid value"),
        ({"limit": "0"}, "limit", "greater than or equal to 1"),
        ({"mode": "at random"}, "mode", "not one of the available choices"),
    ],
)
def test_a_mistake_is_told_beside_its_field(values: dict[str, Any], field: str, words: str) -> None:
    form = run_form(**values)
    assert not form.is_valid()
    assert list(form.errors) == [field]
    assert words in form.errors[field][0]


@pytest.mark.django_db
def test_every_mistake_in_the_headers_has_its_place_in_the_generated_fields() -> None:
    ada = make_operator()
    form = run_form(ada, action="Originate", headers="Channel: PJSIP/1\nTimeout: 0", unchecked="on")
    assert not form.is_valid()
    assert [fault["header"] for fault in form.faults_by_header] == ["Timeout"]
    form = run_form(ada, headers="ActionID: mine")
    assert not form.is_valid()
    assert [fault["header"] for fault in form.faults_by_header] == ["ActionID"]
    form = run_form(ada, headers="\n".join(["Data: x"] * 127))
    assert not form.is_valid()
    [fault] = form.faults_by_header
    assert fault["header"] == ""  # of none in particular
    assert [fault["text"]] == form.errors["headers"]


@pytest.mark.django_db
def test_a_disabled_server_is_no_choice() -> None:
    form = run_form(server=[make_server(enabled=False).pk])
    assert "disabled" in form.errors["server"][0]


@pytest.mark.django_db
def test_a_server_that_a_person_does_not_see_is_no_choice() -> None:
    berlin, bonn = make_server(), make_server(name="Bonn")
    form = run_form(person_on(bonn), server=[berlin.pk])
    assert list(form.errors) == ["server"]
    assert run_form(person_on(bonn, username="bob"), server=[bonn.pk]).is_valid()


@pytest.mark.django_db
def test_a_tag_means_its_enabled_servers_that_the_person_sees_and_no_others() -> None:
    tag = Tag.objects.create(name="berlin")
    seen = make_server(name="B")
    for server in (seen, make_server(name="C"), make_server(name="A", enabled=False)):
        server.tags.add(tag)
    make_server(name="stranger")
    form = run_form(person_on(seen), tag="berlin")
    assert form.is_valid(), form.errors
    assert form.cleaned_data["servers"] == [seen]
    form = run_form(make_operator("bob"), tag="berlin")
    assert form.is_valid()
    assert [server.name for server in form.cleaned_data["servers"]] == ["B", "C"]


@pytest.mark.django_db
def test_a_tag_with_other_servers_beside_it_is_refused() -> None:
    tag = Tag.objects.create(name="berlin")
    make_server().tags.add(tag)
    stray = make_server(name="Bonn")
    form = run_form(tag="berlin", server=[stray.pk])
    assert "Bonn doesn't have the tag berlin" in form.errors["server"][0]


@pytest.mark.django_db
def test_every_new_form_has_an_action_id_of_its_own() -> None:
    ada = make_operator()
    assert RunForm(user=ada).initial["action_id"] != RunForm(user=ada).initial["action_id"]


# -- what the catalogue says


def queue_pause(**values: Any) -> ActionDescription:
    arguments = (
        Argument("Interface", required=True),
        Argument("Paused", required=True, choices=("true", "false"), closed=True, boolean=("true", "false")),
        Argument("Reason"),
    )
    return ActionDescription("QueuePause", arguments=arguments, **values)


def test_a_required_header_that_is_missing_is_told_by_its_name() -> None:
    faults = catalogue_faults(queue_pause(), [("interface", "PJSIP/1"), ("Reason", "lunch")])
    assert [fault.header for fault in faults] == ["Paused"]
    assert faults[0].text == "Paused is required."


def test_a_value_that_is_not_listed_is_told_with_those_that_are() -> None:
    faults = catalogue_faults(queue_pause(), [("Interface", "x"), ("Paused", "maybe")])
    assert [fault.header for fault in faults] == ["Paused"]
    assert "true, false" in faults[0].text


def test_case_does_not_count_and_an_unknown_header_is_nobodys_fault() -> None:
    assert catalogue_faults(queue_pause(), [("Interface", "x"), ("Paused", "TRUE"), ("X-Mine", "1")]) == []


def test_numbered_headers_count_as_their_row() -> None:
    description = ActionDescription("UpdateConfig", arguments=(Argument("Action-000000", required=True),))
    assert catalogue_faults(description, [("Action-000000", "NewCat"), ("ACTION-000001", "x")]) == []
    assert len(catalogue_faults(description, [("Action", "NewCat")])) == 1


@pytest.mark.django_db
def test_the_form_refuses_what_the_catalogue_does_not_know_until_somebody_insists() -> None:
    server = make_server()
    make_catalogue(actions=[queue_pause()], servers=[server])
    values = {"server": [server.pk], "action": "QueuePause", "headers": "Interface: x\nPaused: maybe"}
    ada = make_operator()
    form = run_form(ada, **values)
    assert not form.is_valid()
    assert [fault["header"] for fault in form.faults_by_header] == ["Paused"]
    assert form.insistable
    assert run_form(ada, **values, unchecked="on").is_valid()


@pytest.mark.django_db
def test_nobody_can_insist_on_what_does_not_go_on_the_wire() -> None:
    form = run_form(headers="Data: " + "x" * 1100, unchecked="on")
    assert not form.is_valid()
    assert not form.insistable
    assert form.faults_by_header[0]["header"] == "Data"


# -- variables and hidden values


def test_variables_are_found_once_each_in_order_and_filled_in() -> None:
    pairs = [("Channel", "PJSIP/{{exten}}"), ("CallerID", "{{ name }} <{{exten}}>")]
    assert variables_of(pairs) == ["exten", "name"]
    assert variables_fill(pairs, {"exten": "100", "name": "{{exten}}"}) == [
        ("Channel", "PJSIP/100"),
        ("CallerID", "{{exten}} <100>"),
    ]


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ([("Variable", "PASSWORD"), ("Value", "x")], [("Variable", "NOTE"), ("Value", "********")]),
        ([("Variable", "PASSWORD"), ("Value", "x")], [("Variable", "{{PASSWORD}}"), ("Value", "********")]),
        ([("Variable", "PASSWORD"), ("Value", "x")], [("Value", "********")]),
        (
            [("Var-000000", "secret"), ("Value-000000", "x")],
            [("Var-000000", "note"), ("Value-000000", "********")],
        ),
        # Asterisk takes the first of them, and the next Getvar would tell.
        (
            [("Variable", "PASSWORD"), ("Value", "x")],
            [("Variable", "PLAIN"), ("Variable", "PASSWORD"), ("Value", "********")],
        ),
        (
            [("Var-000000", "secret"), ("Value-000000", "x")],
            [("var-000000", "note"), ("Var-000000", "secret"), ("Value-000000", "********")],
        ),
    ],
)
def test_a_hidden_value_is_not_put_back_where_it_would_be_seen(stored: Any, asked: Any) -> None:
    with pytest.raises(HiddenValueMissing):
        stars_restore(asked, stored, own=True)
    for own in (True, False):
        assert stars_restore(headers_mask(stored), stored, own=own) == stored


def test_stars_that_were_left_alone_become_what_they_hide() -> None:
    stored = [("Secret", "a"), ("Note", "x"), ("Secret", "b")]
    shown = [("Secret", "********"), ("Secret", "********"), ("Note", "y")]
    assert stars_restore(shown, stored, own=True) == [("Secret", "a"), ("Secret", "b"), ("Note", "y")]
    with pytest.raises(HiddenValueMissing):
        stars_restore([*shown, ("Secret", "********")], stored, own=True)


_CALL = [
    ("Channel", "PJSIP/{{exten}}"),
    ("Application", "Dial"),
    ("Data", "PJSIP/x"),
    ("Variable", "API_SECRET=x"),
]


@pytest.mark.parametrize(
    "asked",
    [
        [
            *headers_mask(_CALL)[:1],
            ("Application", "MSet"),
            ("Data", "PLAIN=${API_SECRET}"),
            *headers_mask(_CALL)[3:],
        ],
        [("Channel", "Local/1@mine"), *headers_mask(_CALL)[1:]],
        [*headers_mask(_CALL), ("Priority", "1")],
        headers_mask(_CALL)[1:],
        list(reversed(headers_mask(_CALL))),
    ],
)
def test_what_somebody_else_hid_goes_into_the_same_request_only(asked: Any) -> None:
    with pytest.raises(HiddenValueMissing, match="Somebody else wrote the hidden value of Variable"):
        stars_restore(asked, _CALL)
    assert stars_restore(headers_mask(_CALL), _CALL) == _CALL
    secret_asked_for = [("Secret", "{{secret}}"), ("Note", "Zoë "), ("Password", "x")]
    shown = [("Secret", "{{secret}}"), ("Note", "Zoë"), ("Password", "********")]
    assert stars_restore(shown, secret_asked_for) == secret_asked_for


@pytest.mark.django_db
def test_a_hidden_value_is_lent_to_its_own_action_and_person_only() -> None:
    ada, bob = make_operator(), make_operator("bob")
    kept = Kept(ada.pk, "QueueAdd", [["Secret", "hunter2"]])
    token = kept.pack()
    assert "hunter2" not in token
    again = Kept.unpack(token)
    assert again is not None
    assert again.for_request(user=ada, action="queueadd") == [("Secret", "hunter2")]
    assert again.for_request(user=ada, action="UserEvent") == []
    assert again.for_request(user=bob, action="QueueAdd") == []
    assert Kept.unpack("nonsense") is None


@pytest.mark.django_db
def test_a_templates_variables_are_fields_and_end_up_in_the_headers() -> None:
    template = make_template(headers=[("Channel", "PJSIP/{{exten}}"), ("Secret", "hunter2")])
    ada = make_operator()
    kept = Kept(ada.pk, template.action, template.headers_in_clear()).pack()
    values = {
        "action": template.action,
        "headers": "Channel: PJSIP/{{exten}}\nSecret: ********",
        "kept": kept,
    }
    form = run_form(ada, template, **values, var_exten="100")
    assert form.is_valid(), form.errors
    assert form.cleaned_data["headers"] == [("Channel", "PJSIP/100"), ("Secret", "hunter2")]
    assert list(run_form(ada, template, **values).errors) == ["var_exten"]
    assert (
        "line break" in run_form(ada, template, **values, var_exten="1\r\nAction: x").errors["var_exten"][0]
    )
