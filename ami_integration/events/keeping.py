"""Which events of a server are stored: all, none, chosen names, or all but the noise.

What isn't stored is still live: pages show it, marked so, and find it again while the stream holds it.
"""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Self

from ami_integration.events.filters import Pattern
from ami_integration.servers.models import Server

#: What the default leaves out: what comes many times for each call and tells little afterwards. Steps of the
#: dialplan and its variables, quality reports, who talks just now, logins that went well, and the wiring that
#: Asterisk does between two legs of a call.
NOISE = (
    "VarSet",
    "Newexten",
    "RTCP*",
    "AGIExec*",
    "AsyncAGIExec",
    "ChannelTalking*",
    "ConfbridgeTalking",
    "MeetmeTalking",
    "ChallengeSent",
    "SuccessfulAuth",
    "LocalOptimization*",
    "MusicOnHold*",
)
#: Seconds until an edit of a server holds.
REREAD_SECONDS = 2.0
_MOST_REMEMBERED = 2_000


class Keeping:
    """The rule of one server. Names match without regard to case; `*` stands for anything.

    Args:
        mode: a `Server.EventKeeping`.
        lines: for mode CHOSEN; a name or pattern in each, with `!` before what is left out. With nothing but
            `!` lines, all others are kept.
    """

    def __init__(self, mode: str = Server.EventKeeping.DEFAULT, lines: Iterable[str] = ()) -> None:
        wanted: list[str] = ["*"]
        unwanted: list[str] = []
        if mode == Server.EventKeeping.NONE:
            wanted = []
        elif mode == Server.EventKeeping.DEFAULT:
            unwanted = list(NOISE)
        elif mode == Server.EventKeeping.CHOSEN:
            stripped = [line.strip() for line in lines if line.strip()]
            unwanted = [line[1:].strip() for line in stripped if line.startswith("!")]
            wanted = [line for line in stripped if not line.startswith("!")]
            if unwanted and not wanted:
                wanted = ["*"]
        # Not one regular expression: with many stars that may take years, and one server's lines would hold
        # up the events of all.
        self._wanted = [Pattern.parse(line) for line in wanted]
        self._unwanted = [Pattern.parse(line) for line in unwanted]
        self._known: dict[str, bool] = {}

    @classmethod
    def of_text(cls, mode: str, text: str) -> Self:
        """From the fields of a server."""
        return cls(mode, text.splitlines())

    def keeps(self, name: str) -> bool:
        """Whether events of this name are stored."""
        kept = self._known.get(name)
        if kept is None:
            folded = name.casefold()
            kept = any(wanted.whole_folded(folded) for wanted in self._wanted) and not any(
                unwanted.whole_folded(folded) for unwanted in self._unwanted
            )
            if len(self._known) >= _MOST_REMEMBERED:  # names may be made up without end
                self._known.clear()
            self._known[name] = kept
        return kept


class KeepingRules:
    """The rules of all servers, read again every `REREAD_SECONDS`.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._read_at = float("-inf")
        self._texts: dict[int, tuple[str, str]] = {}
        self._rules: dict[int, Keeping] = {}
        self._default = Keeping()

    def of(self, server_id: int) -> Keeping:
        """The rule of a server, as it was at the last `refresh`; the default for one that is gone."""
        return self._rules.get(server_id, self._default)

    def refresh(self) -> None:
        """Read what was changed, if it is time to look. Raises django.db.Error."""
        now = self._clock()
        if now - self._read_at < REREAD_SECONDS:
            return
        texts = {
            pk: (mode, names)
            for pk, mode, names in Server.objects.values_list("pk", "event_keeping", "event_names")
        }
        # Rules that stay remember which names they keep.
        self._rules = {
            pk: self._rules[pk] if self._texts.get(pk) == text else Keeping.of_text(*text)
            for pk, text in texts.items()
        }
        self._texts = texts
        self._read_at = now
