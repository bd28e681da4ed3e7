"""CSV files that people open in spreadsheets.

Spreadsheets take a cell that begins with `=`, `+`, `-` or `@` for a formula, and strangers on the telephone
network choose their own names: such a cell gets an apostrophe before it, which a spreadsheet hides. Numbers
keep their sign (`+4930123`, `-1`), since they can do nothing. The same holds behind a semicolon, a tab or the
end of a line within a value: where a comma is the decimal sign, spreadsheets part the cells of a file there.

What begins with apostrophes before such a sign gets one more, so that `cell_read` finds each value again.
"""

import csv
import re
from collections.abc import Iterable, Iterator

#: Excel takes a file without it for one in the local eight-bit characters.
_BYTE_ORDER_MARK = "\ufeff"
# The last four are the wide forms of the first, which some spreadsheets take for the same.
_SIGNS = r"=+\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(rf"'*[{_SIGNS}\t\r\n]")
_NUMBER = re.compile(r"[+-]?\d[\d.]*")
_FORMULA_WITHIN = re.compile(rf"([;\t\r\n])(?='*[{_SIGNS}])(?![+-]\d[\d.]*(?:[;\t\r\n]|$))")

_APOSTROPHE = re.compile(rf"'(?='*[{_SIGNS}\t\r\n])")
_APOSTROPHE_WITHIN = re.compile(rf"([;\t\r\n])'(?='*[{_SIGNS}])")


def csv_lines(rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The pieces of a file with these rows, made as they are taken: it never lies in memory as a whole."""
    yield _BYTE_ORDER_MARK
    writer = csv.writer(_Lines())
    for row in rows:
        yield writer.writerow([_harmless(cell) for cell in row])


def cell_read(text: str) -> str:
    """The value of a cell that `csv_lines` wrote, or that somebody typed with an apostrophe before it."""
    if _APOSTROPHE.match(text):
        text = text[1:]
    return _APOSTROPHE_WITHIN.sub(r"\1", text)


def _harmless(value: str) -> str:
    value = _FORMULA_WITHIN.sub(r"\1'", value)
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value


class _Lines:
    """What csv writes into: hands each line back."""

    def write(self, line: str) -> str:
        return line
