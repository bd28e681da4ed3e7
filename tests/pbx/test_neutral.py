"""No sentence of Asterisk's documentation is in the repository, and what records captures takes them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pbx.neutral import neutral
from tests.pbx.recorder import save

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("ami_integration", "amiweb", "docs", "templates", "tests")
#: In pieces, so that this file isn't one of those that it looks for.
WELL_KNOWN = (
    ("ActionID for this", "transaction"),
    ("Generates an outgoing call", "to a"),
    ("Channel name to", "call."),
    ("How long to wait for call", "to be answered"),
    ("Set absolute", "timeout."),
    ("Originate a", "call."),
    ("Keepalive", "command."),
    ("Username to login with", "as specified"),
    ("List currently active", "channels."),
    ("multiple Variable: headers", "are allowed"),
    ("A 'Ping' action will ellicit a", "'Pong' response"),
    ("Raised when a new channel is", "created"),
)

#: A page of `manager show command`, without its sentences.
FORM = """\
Response: Success
Juggle: {}  (Priv: call,all)
Output: [Synopsis]
Output: {}
Output:
Output: [Description]
Output: {}
Output:   {}
Output:
Output: [Syntax]
Output: Action: Juggle
Output: [Kind:] <value>
Output:
Output: [Arguments]
Output:
Output: Kind
Output:     {}
Output:     red - {}
Output:     blue
Output:     on,off
Output:         left - {}
Output:
Output: [Privilege]
Output: call,all

Response: Success
Message: Throw balls.
"""
PAGE = FORM.format(
    "Throw them. Again.", "Throw balls.", "Keeps them in the", "air.", "What is thrown, and how",
    "As a rose - or so.", "This hand.",
)  # fmt: skip
SHOWN = FORM.format(
    *("Text of the synopsis.",) * 2, *("Text of the description.",) * 2, "Text of the argument.",
    *("Text of the value.",) * 2,
)  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_page_keeps_its_form_and_its_names_and_loses_its_sentences(end: str, tmp_path: Path) -> None:
    page, shown = (text.replace("\n", end).encode() for text in (PAGE, SHOWN))
    assert neutral(page) == shown
    assert neutral(shown) == shown
    save(tmp_path / "22" / "page.ami", page)
    assert (tmp_path / "22" / "page.ami").read_bytes() == shown


def test_no_well_known_sentence_of_the_documentation_is_in_the_repository() -> None:
    sentences = [" ".join(pieces).lower().encode() for pieces in WELL_KNOWN]
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    files = [path for path in files if path.suffix not in (".pyc", ".png")]
    found = []
    for path in [*files, *ROOT.glob("*.md")]:
        text = path.read_bytes().lower()
        found += [(str(path), sentence) for sentence in sentences if sentence in text]
    assert len(files) > 500
    assert found == []


def test_no_capture_holds_more_than_the_recorders_would_write_today() -> None:
    captures = [*(ROOT / "tests").rglob("*.ami")]
    assert len(captures) > 100
    assert [path for path in captures if neutral(path.read_bytes()) != path.read_bytes()] == []
