"""The words by which events are found: which headers they come from, and what a word is.

A word is a run of letters and digits, folded: `Müller` is `muller`, `PJSIP/100-0000001a` is `pjsip`, `100`
and `0000001a`. What is stored and what is looked for go through the same function, so both databases take
words as they come.
"""

import re
import unicodedata
from collections.abc import Iterable

#: Endings of the names of headers whose values are searched, in lower case. Endings, since Asterisk puts
#: roles before them: DestCallerIDNum, TransfereeExten, OrigTransfererConnectedLineName.
SEARCHED = (
    "calleridnum",
    "calleridname",
    "callerid",  # of old Asterisks, and of list items
    "connectedlinenum",
    "connectedlinename",
    "exten",
    "context",
    "accountcode",
    "application",
    "appdata",
)
#: Of these events every header is searched but those that Asterisk itself adds.
SEARCHED_WHOLE = ("userevent",)
_ADDED = frozenset(
    ("event", "privilege", "timestamp", "sequencenumber", "file", "line", "func", "systemname", "actionid")
    + ("channelstate", "channelstatedesc", "language", "priority", "uniqueid", "linkedid", "channel")
)

#: What Asterisk says where there is no value.
_NOTHING = frozenset(("", "<unknown>", "<none>", "(none)"))
#: Characters; a longer word is found by its beginning.
LONGEST_WORD = 64
#: Characters of one event's words; what a UserEvent says beyond them is found in its headers only.
MOST_CHARACTERS = 2_000

_WORD = re.compile(r"[^\W_]+")
_MOST_REMEMBERED = 20_000
_remembered: dict[tuple[str, ...], str] = {}


def is_searched(name: str) -> bool:
    """Whether the values of a header of this name (in lower case) are searched."""
    return name.endswith(SEARCHED)


def is_body(name: str) -> bool:
    """Whether a UserEvent's header (its name in lower case) was said by whoever sent it."""
    return name not in _ADDED


def words_of(text: str) -> list[str]:
    """The words of a text in their order."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.casefold())
        text = "".join([char for char in decomposed if not unicodedata.combining(char)])
    return [word[:LONGEST_WORD] for word in _WORD.findall(text.lower())]


def words_joined(values: Iterable[str]) -> str:
    """What `Event.tokens` holds: each word of these values once, divided by blanks.

    Remembered, since the events of a call say the same of it.
    """
    key = tuple(values)
    try:
        return _remembered[key]
    except KeyError:
        pass
    words = words_of("\n".join([value for value in key if value not in _NOTHING]))
    joined = " ".join(dict.fromkeys(words))
    if len(joined) > MOST_CHARACTERS:
        joined = joined[:MOST_CHARACTERS].rpartition(" ")[0]
    if len(_remembered) >= _MOST_REMEMBERED:
        _remembered.clear()
    _remembered[key] = joined
    return joined
