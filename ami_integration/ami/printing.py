"""What a PBX says, for a terminal and for a log.

Strangers on the telephone network choose their names, and a PBX may say anything. Where that ends in a
terminal or in a line of a log, it must neither steer the one nor forge the other.
"""


def printable(text: str) -> str:
    """The text on one line, with what is no visible character, and bytes that aren't UTF-8, as escapes."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
