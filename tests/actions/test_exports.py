"""A result as a file."""

from __future__ import annotations

import csv
import io
import json

import pytest

from ami_integration.actions.exports import result_columns, result_json, rows_csv
from ami_integration.actions.models import ActionRun
from ami_integration.actions.results import Result
from tests.actions.factories import make_run

LIST = Result(
    [("Response", "Success")],
    [
        [
            ("Event", "Status"),
            ("ActionID", "1"),
            ("Channel", "PJSIP/1"),
            ("Variable", "a=1"),
            ("Variable", "b=2"),
        ],
        [("Event", "Status"), ("ActionID", "1"), ("Channel", "PJSIP/2"), ("CallerIDName", 'Zoë, "the boss"')],
    ],
)


def table(result: Result, *preferred: str) -> list[list[str]]:
    text = "".join(rows_csv(result, preferred))
    assert text[0] == "\ufeff"
    return list(csv.reader(io.StringIO(text[1:], newline="")))


def test_a_list_becomes_a_table_with_a_column_for_each_name() -> None:
    assert table(LIST) == [
        ["Event", "Channel", "Variable", "CallerIDName"],
        ["Status", "PJSIP/1", "a=1\nb=2", ""],
        ["Status", "PJSIP/2", "", 'Zoë, "the boss"'],
    ]


def test_the_catalogues_columns_come_first_and_only_those_that_there_are() -> None:
    assert result_columns(LIST, ["Event", "CallerIDName", "Nowhere", "Channel"]) == [
        "Event",
        "CallerIDName",
        "Channel",
        "Variable",
    ]


@pytest.mark.parametrize("value", ["=HYPERLINK(1)", "+SUM(A1)", "-2+3", "@x", "\tcmd", "=1"])
def test_a_strangers_formula_is_a_text_in_a_spreadsheet(value: str) -> None:
    assert table(Result(items=[[("CallerIDName", value)]]))[1] == [f"'{value}"]
    assert table(Result(items=[[(value, "x")]]))[0] == [f"'{value}"]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("Ada;=HYPERLINK(1)", "Ada;'=HYPERLINK(1)"),
        ("Ada\n=1+1", "Ada\n'=1+1"),
        ("\n@x", "'\n'@x"),
        ("\uff1dcmd", "'\uff1dcmd"),
        ("sip:a@b;transport=tls;+1;x", "sip:a@b;transport=tls;+1;x"),
    ],
)
def test_nor_is_one_behind_what_other_spreadsheets_part_cells_at(value: str, cell: str) -> None:
    assert table(Result(items=[[("CallerIDName", value)]]))[1] == [cell]


@pytest.mark.parametrize("value", ["+493012345", "-1", "+3.5", "12", "", "a=b", "PJSIP/1-00"])
def test_numbers_and_plain_words_stay_as_they_are(value: str) -> None:
    assert table(Result(items=[[("CallerIDNum", value)]]))[1] == [value]


def test_the_output_of_a_command_is_one_column_and_a_bare_response_is_two() -> None:
    assert table(Result(output="one\n\n=two")) == [["Output"], ["one"], [""], ["'=two"]]
    assert table(Result([("Response", "Success"), ("Ping", "Pong")])) == [
        ["Header", "Value"],
        ["Response", "Success"],
        ["Ping", "Pong"],
    ]


def test_what_is_missing_is_said_in_the_file_too() -> None:
    result = Result(items=LIST.items, note="Not whole: …")
    assert table(result)[-1] == ["Not whole: …"]


@pytest.mark.django_db
def test_json_is_exact_and_says_what_it_is_a_result_of() -> None:
    run = make_run(status=ActionRun.Status.SUCCEEDED, action="Status")
    document = json.loads(result_json(run, LIST))
    assert document["items"] == [[list(pair) for pair in item] for item in LIST.items]
    assert (document["run"], document["server"], document["action"]) == (str(run.pk), "Berlin", "Status")
