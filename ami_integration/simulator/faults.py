"""
What a PBX, an old version of it or the network between does wrong, on demand.

Each fault was seen on a real one. They are for showing that a client survives, so a simulated PBX can be
told to do any of them all the time, and tests may switch them while it runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from ami_integration.simulator.wire import Header, encode


@dataclass
class Faults:
    """Which faults befall every session; none by default.

    segment: no write is longer than so many bytes (TCP segments that cut lines and characters).
    stall: every answer stops in its middle for so many seconds.
    half: the answer to this action ends in its middle, and with it the session.
    kick: each session is closed without a word so many seconds after its login.
    holes: of every so-manieth event the second half is missing, and the next one follows at once (what
    Asterisk before 16.25 and 18.11 did after a write that timed out).
    slow_login: seconds that a login takes.
    old_command: Command is answered as Asterisk 13 and older did, ``Response: Follows`` to END COMMAND.
    double_response: each response comes twice (ModuleLoad, PRIDebugSet, JabberSend).
    crlf_lf: items of lists end in CR LF LF (CoreShowChannelMap of 18.19 to 18.23, 20.4 to 20.8).
    list_items: added to ListItems, which then is wrong.
    no_complete: lists don't end.
    error_after_start: lists end with an error after their items instead of Complete (PJSIPShowEndpoint).
    booting: nobody is told FullyBooted, as while modules are still loading.
    """

    segment: int = 0
    stall: float = 0.0
    half: str = ""
    kick: float = 0.0
    holes: int = 0
    slow_login: float = 0.0
    old_command: bool = False
    double_response: bool = False
    crlf_lf: bool = False
    list_items: int = 0
    no_complete: bool = False
    error_after_start: bool = False
    booting: bool = False

    @classmethod
    def from_words(cls, words: Iterable[str]) -> "Faults":
        """Faults of words like ``old-command`` and ``segment=3``.

        Raises ValueError with a sentence that names what there is.
        """
        faults = cls()
        known = {field.name.replace("_", "-"): type(getattr(faults, field.name)) for field in fields(cls)}
        for word in words:
            name, equals, text = word.partition("=")
            kind = known.get(name)
            if kind is None:
                raise ValueError(f"there is no fault {name!r}; known are {', '.join(sorted(known))}")
            if bool(equals) == (kind is bool):
                form = name if kind is bool else f"{name}=VALUE"
                raise ValueError(f"the fault {name} is written {form}")
            try:
                value = kind is bool or kind(text)
            except ValueError:
                raise ValueError(f"the fault {name} wants a number, not {text!r}") from None
            if not isinstance(value, str) and value < 0 and name != "list-items":
                raise ValueError(f"the fault {name} can't be negative")
            setattr(faults, name.replace("-", "_"), value)
        return faults

    def spoil_list(
        self, start: bytes, items: list[bytes], complete: str, action_id: list[Header], more: list[Header]
    ) -> bytes:
        """A list as it goes out, right unless a fault says otherwise: its start, its items, and its end, with
        ``more`` headers last.
        """
        if self.crlf_lf:
            items = [item.removesuffix(b"\r\n\r\n") + b"\r\n\n" for item in items]
        count = str(len(items) + self.list_items)
        if self.no_complete:
            end = b""
        elif self.error_after_start:
            end = encode([("Response", "Error"), *action_id, ("Message", "Simulated error after the start")])
        else:
            counted: list[Header] = [("EventList", "Complete"), ("ListItems", count)]
            end = encode([("Event", complete), *action_id, *counted, *more])
        return b"".join([start, *items, end])
