"""What the recorder tells the pages: one message for each server and batch, rendered once.

A message goes to the server's group of the channel layer and is read by the hub of each web process (see
`ami_integration.events.hub`), however many pages watch. A hub forwards an item's JSON as text and never looks
into it; what it needs to match a filter lies beside it, already folded. So for 100 pages an item is rendered
once, in the recorder, and decoded once in each web process.

The message is a dict of what msgpack knows::

    {"type": "events.batch", "server": id, "after": id, "last": id, "items": [row, …]}

`after` and `last` are the chain of the stream: every id of the server after `after`, up to `last`, is in this
message or will never come. A row is the list ``[id, name, linkedid, json, searched]``:

- id: a number; the JSON has it as a string.
- name: the event's, None for what isn't an event (a gap, a snapshot), which passes every filter.
- linkedid: as in the event, perhaps empty.
- json: the item as pages get it.
- searched: `searched_text` of its headers.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MESSAGE_TYPE = "events.batch"
#: Where a row has what.
ID, NAME, LINKEDID, JSON, SEARCHED = range(5)
#: Between a header's name and its value, and before each header, in the text that filters search.
VALUE_MARK, HEADER_MARK = "\x1f", "\n"

#: As it comes out of msgpack.
Row = Sequence[Any]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def searched_text(headers: Iterable[Sequence[str]]) -> str:
    """All headers in one text, folded: a mark, the name, another mark, the value. See `EventFilter`."""
    return "".join([f"{HEADER_MARK}{name}{VALUE_MARK}{value}" for name, value in headers]).casefold()


def item_row(item: Mapping[str, Any]) -> Row:
    """The row of an item as `event_item`, `gap_item` and the like make it."""
    if item["kind"] != "event":
        return [int(item["id"]), None, "", _encode(item), ""]
    return [int(item["id"]), item["name"], item["linkedid"], _encode(item), searched_text(item["headers"])]


def batch_message(*, server_id: int, after_id: int, last_id: int, rows: Sequence[Row]) -> dict[str, Any]:
    """The message of one batch; `rows` as `item_row` makes them, oldest first."""
    return {"type": MESSAGE_TYPE, "server": server_id, "after": after_id, "last": last_id, "items": rows}
