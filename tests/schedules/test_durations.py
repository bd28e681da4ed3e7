"""Lengths of time as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.schedules.durations import duration_parse, duration_text, duration_words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45", 45),
        ("45 s", 45),
        ("5min", 300),
        ("5 Minutes", 300),
        ("1 h 30 min", 5400),
        ("2d", 172_800),
        ("1 week", 604_800),
        (" 0 ", 0),
    ],
)
def test_people_write_lengths_in_many_ways(text: str, seconds: int) -> None:
    assert duration_parse(text) == seconds


@pytest.mark.parametrize("text", ["a while", "5 parsecs", "-5", "1.5 h", "h", "5 min or so"])
def test_what_is_no_length_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="Write a time like 45 s"):
        duration_parse(text)


def test_what_no_column_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 60 years"):
        duration_parse("99999999 w")


@given(st.integers(min_value=0, max_value=2**31 - 1))
def test_what_is_shown_reads_as_the_same_length(seconds: int) -> None:
    assert duration_parse(duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (60, "1 minute"), (5400, "1 hour 30 minutes"), (172_800, "2 days")],
)
def test_a_page_that_is_read_says_the_units_in_words(seconds: int, words: str) -> None:
    assert duration_words(seconds) == words
