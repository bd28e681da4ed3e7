"""Takes Asterisk's documentation out of what is recorded: sentences have an author, facts have none.

What `manager show command` prints keeps its form to the line: headings, names of arguments and of their
values, indentation, privileges. Where a sentence stood, one of ours stands. `ListCommands` keeps the names of
actions and their privileges.
"""

from __future__ import annotations

import re

#: Sections of a page that are sentences, and what stands there instead.
_SENTENCES = {b"Synopsis": b"Text of the synopsis.", b"Description": b"Text of the description."}
_HEADING = re.compile(rb"Output: \[([A-Z][\w ]*)\]\s*")
_LISTED = re.compile(rb"(\w+: ).*?(\s*\(Priv: [^()]*\)\s*)")
_ARGUMENT = re.compile(rb"(Output:  +)(?:([^\s-]\S*)( - ).*?|(.*?))(\s*)")
#: Where sentences may stand at all: the name of a value alone is none.
_NAME = re.compile(rb"[\w,.:/-]+(?<!\.)|\.\.\.")


def neutral(data: bytes) -> bytes:
    """What a PBX sent, with words of our own in the place of its documentation's."""
    lines = []
    section = b""
    for line in data.split(b"\n"):
        if not line.startswith(b"Output:"):
            section = b""
        if heading := _HEADING.fullmatch(line):
            section = heading[1]
        elif section in _SENTENCES and line.removeprefix(b"Output:").strip():
            line = _replaced(line, _SENTENCES[section])
        elif section == b"Arguments":
            line = _argument(line)
        elif listed := _LISTED.fullmatch(line):
            line = listed[1] + _SENTENCES[b"Synopsis"] + listed[2]
        lines.append(line)
    return b"\n".join(lines)


def _replaced(line: bytes, words: bytes) -> bytes:
    text = line.removeprefix(b"Output: ")
    indented = len(text) - len(text.lstrip(b" "))
    behind = text[len(text.rstrip()) :]
    return b"Output: " + text[:indented] + words + behind


def _argument(line: bytes) -> bytes:
    """A line below an argument's name: a sentence, a value with one, or a value alone."""
    found = _ARGUMENT.fullmatch(line)
    if found is None:
        return line
    indent, value, dash, text, behind = found.groups()
    if value is not None:
        return bytes(indent + value + dash + b"Text of the value." + behind)
    if not text or _NAME.fullmatch(text):
        return line
    return bytes(indent + b"Text of the argument." + behind)
