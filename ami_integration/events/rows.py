"""One event on its way from the stream to the store and to the pages: read once, rendered once.

This is the hot path: at 10,000 events a second each microsecond is a hundredth of a core. So an event becomes
a tuple, never an instance of the model; the JSON of its headers is made once and serves row and pages alike;
and where the text is as it nearly always is (each line ends in CRLF and reads `Name: value`, no character
needs an escape in JSON), that JSON comes out of two replacements. Everything else goes the long way, with the
same result: a test compares both.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ami_integration.ami import Message
from ami_integration.events.models import headers_json
from ami_integration.events.pushes import Row as PushedRow
from ami_integration.events.stream import StampedEvent
from ami_integration.events.words import SEARCHED_WHOLE, is_body, is_searched, words_joined

#: Characters of the columns, as in the model.
NAME_LENGTH, CHANNEL_LENGTH, UNIQUEID_LENGTH, LINKEDID_LENGTH = 100, 200, 150, 150

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_escaped = json.encoder.encode_basestring

# What a header is to us, by its name as it was spelled. Of a UserEvent other headers are searched, so bits.
_CHANNEL, _UNIQUEID, _LINKEDID, _SEARCHED, _BODY = 1, 2, 4, 8, 16
_COLUMNS = {"channel": _CHANNEL, "uniqueid": _UNIQUEID, "linkedid": _LINKEDID}
_uses: dict[str, int] = {}
_MOST_USES = 5_000


class EventRow(NamedTuple):
    """An event as it is stored: the columns of `Event` in the order of its fields, but `at` in microseconds
    since 1970 and `headers` as JSON text.
    """

    id: int
    server_id: int
    at: int
    name: str
    channel: str
    uniqueid: str
    linkedid: str
    tokens: str
    headers: str


def event_row(server_id: int, stamped: StampedEvent) -> EventRow:
    """The row of an event.

    Databases hold no NUL, which is dropped, and no lone surrogates, which are what bytes that aren't UTF-8
    decode to: these stay visible as ``\\udcff``.
    """
    text = clean_text(stamped.raw.decode("utf-8", "surrogateescape"))
    ends = text.count("\r\n")
    # Each end of a line is four characters in JSON, in quotes. Longer: something else needs an escape, too.
    if len(_escaped(text)) == len(text) + 2 + 2 * ends:
        row = _regular_row(server_id, stamped, text, ends + 1)
        if row is not None:
            return row
    return _any_row(server_id, stamped, Message(text).items())


def _regular_row(server_id: int, stamped: StampedEvent, text: str, lines: int) -> EventRow | None:
    """The row of a regular text; None if it turns out to be none."""
    channel = uniqueid = linkedid = ""
    split = text.split("\r\n")
    name = split[0].partition(": ")[2].strip()
    wanted = _BODY if name.lower() in SEARCHED_WHOLE else _SEARCHED
    searched: list[str] = []
    for line in split:
        header, colon, value = line.partition(": ")
        use = _uses.get(header)
        if use is None or not colon:
            if not colon or not header or " " in header:
                return None
            use = _use_of(header)
        if use and value:
            if use & wanted:
                searched.append(value)
            if use & _LINKEDID:
                linkedid = linkedid or value
            elif use & _UNIQUEID:
                uniqueid = uniqueid or value
            elif use & _CHANNEL:
                channel = channel or value
    if text.count(": ") == lines:
        pairs = text.replace(": ", '","').replace("\r\n", '"],["')
    else:
        pairs = '"],["'.join([line.replace(": ", '","', 1) for line in split])
    return EventRow(
        stamped.id,
        server_id,
        stamped.at,
        name[:NAME_LENGTH],
        channel[:CHANNEL_LENGTH],
        uniqueid[:UNIQUEID_LENGTH],
        linkedid[:LINKEDID_LENGTH],
        words_joined(searched),
        f'[["{pairs}"]]',
    )


def _use_of(header: str) -> int:
    """What a header of this name is to us; remembered, unless strangers make up names without end."""
    lowered = header.lower()
    use = _COLUMNS.get(lowered, 0)
    use |= _SEARCHED if is_searched(lowered) else 0
    use |= _BODY if is_body(lowered) else 0
    if len(_uses) < _MOST_USES and len(header) < 100:
        _uses[header] = use
    return use


def _any_row(server_id: int, stamped: StampedEvent, headers: Iterable[tuple[str, str]]) -> EventRow:
    """The row of whatever came."""
    pairs = list(headers)
    columns = {"channel": "", "uniqueid": "", "linkedid": ""}
    name = pairs[0][1].strip() if pairs else ""
    wanted = _BODY if name.lower() in SEARCHED_WHOLE else _SEARCHED
    searched = []
    for header, value in pairs:
        lowered = header.lower()
        if lowered in columns:
            columns[lowered] = columns[lowered] or value
        if value and _use_of(header) & wanted:
            searched.append(value)
    return EventRow(
        stamped.id,
        server_id,
        stamped.at,
        name[:NAME_LENGTH],
        columns["channel"][:CHANNEL_LENGTH],
        columns["uniqueid"][:UNIQUEID_LENGTH],
        columns["linkedid"][:LINKEDID_LENGTH],
        words_joined(searched),
        headers_json(pairs),
    )


def pushed_row(row: EventRow, *, kept: bool) -> PushedRow:
    """What pages get of a row: `ami_integration.events.pushes` describes it.

    The JSON is what `ami_integration.events.services.event_item` gives for the stored event.
    """
    item = (
        f'{{"kind":"event","id":"{row.id}","server":"{row.server_id}","at":{row.at // 1000},'
        f'"name":{_escaped(row.name)},"channel":{_escaped(row.channel)},"uniqueid":{_escaped(row.uniqueid)},'
        f'"linkedid":{_escaped(row.linkedid)},"headers":{row.headers},"kept":{"true" if kept else "false"}}}'
    )
    return [row.id, row.name, row.linkedid, item, _searched(row.headers)]


def _searched(headers: str) -> str:
    """`pushes.searched_text`, from the JSON of the headers."""
    if "\\" in headers:
        from_json = json.loads(headers)
        return "".join([f"\n{name}\x1f{value}" for name, value in from_json]).casefold()
    return "\n" + headers[3:-3].replace('"],["', "\n").replace('","', "\x1f").casefold()


def clean_text(text: str) -> str:
    """A text that every database and every browser takes."""
    if "\0" in text:
        text = text.replace("\0", "")
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def moment(microseconds: int) -> datetime:
    """Microseconds since 1970 as a moment."""
    return _EPOCH + timedelta(microseconds=microseconds)
