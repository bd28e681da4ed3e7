"""The actions on Asterisk's own small database."""

from ami_integration.simulator.catalogue.pages import Argument, Description
from ami_integration.simulator.wire import EventClass

_FAMILY = Argument("Family", "Family of the entry: the group that its key belongs to.", True)
_KEY = Argument("Key", "The entry's key within its family.", True)

ACTIONS = (
    Description(
        "DBDel",
        "Delete an entry of the database.",
        "Deletes one entry.",
        EventClass.SYSTEM,
        (_FAMILY, _KEY),
        since="1.6.0",
    ),
    Description(
        "DBDelTree",
        "Delete many entries of the database.",
        "Deletes a whole family, or what is below one key of it.",
        EventClass.SYSTEM,
        (_FAMILY, Argument("Key", "Only entries below this key.")),
        since="1.6.0",
    ),
    Description(
        "DBGet",
        "Read an entry of the database.",
        "Answers with one entry.",
        EventClass.SYSTEM | EventClass.REPORTING,
        (_FAMILY, _KEY),
        since="1.2.0",
    ),
    Description(
        "DBGetTree",
        "List entries of the database.",
        "Lists everything, a whole family, or what is below one key of it.",
        EventClass.SYSTEM | EventClass.REPORTING,
        (Argument("Family", "Only entries of this family."), Argument("Key", "Only entries below this key.")),
        since="19.6.0, 18.14.0, 16.28.0",
    ),
    Description(
        "DBPut",
        "Write an entry of the database.",
        "Writes one entry, over the one that is there if there is one.",
        EventClass.SYSTEM,
        (_FAMILY, _KEY, Argument("Val", "The value to write; nothing, if it is left out.")),
        since="1.2.0",
    ),
)
