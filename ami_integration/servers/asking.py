"""What the connection doctor asks a PBX once it is logged in: whether it is ready, and what the login may do.

An account's write= line shows in the actions that ListCommands names. Its read= line shows nowhere but in
“manager show user”, which takes write=command; without, the doctor can only tell which events came.
"""

import re
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import cast

from ami_integration.ami import AMIClient, AMIError, Event
from ami_integration.servers.findings import Finding

#: Seconds by which two clocks may differ before it is told as a fault.
CLOCK_TOLERANCE = 2.0
_PINGS = 3
_PRIVILEGES = re.compile(r"\(Priv: ([^()]*)\)\s*\Z")
_RELOAD = "Then run “manager reload” in Asterisk's CLI."


class Hearing:
    """The events of one session, as the doctor takes them."""

    def __init__(self, client: AMIClient) -> None:
        self._client = client
        self.names: list[str] = []

    def listen(self, seconds: float, enough: Callable[[Event], bool]) -> bool:
        """Take events until one is enough, for so many seconds at most. Whether one was.

        Raises:
            ConnectionLost: the session ended.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            # Closed at once, it gives back what it took and didn't yield.
            with closing(cast(Generator[Event, None, None], self._client.events(timeout=left))) as events:
                event = next(events, None)
            if event is None:
                return False
            self.names.append(event.name)
            if enough(event):
                return True
        return False


def ask_booted(client: AMIClient, hearing: Hearing, username: str, seconds: float) -> Finding:
    """Whether Asterisk has finished starting: it says so to every login that reads class system."""
    if hearing.listen(seconds, lambda event: event.name == "FullyBooted"):
        return Finding("Asterisk said FullyBooted: all its modules are loaded.")
    reads = _reads(client, username)
    said = f"No FullyBooted came within {seconds:g} s of the login"
    if reads is None:
        return Finding(
            f"{said}. Either Asterisk is still starting, or this account may not read it.",
            f"See “core show uptime” in Asterisk's CLI. If it has long started: in manager.conf, add system "
            f"to the read= line of [{username}], so that amiweb hears when it starts. {_RELOAD}",
        )
    if "system" in reads:
        return Finding(
            f"{said}: Asterisk is still starting. It answers, but most of its modules don't work yet.",
            "Wait until it has started: “core waitfullybooted” in Asterisk's CLI returns then. If that takes "
            "minutes, a module waits for something (a database, a name server): see its log.",
            ok=False,
        )
    return Finding(
        f"{said}, since read= of this account lacks system.",
        f"In manager.conf, add system to the read= line of [{username}], so that amiweb hears when Asterisk "
        f"starts and ends. {_RELOAD}",
    )


def ask_version(client: AMIClient, username: str) -> tuple[str, Finding]:
    """Which Asterisk it is; "" if it doesn't tell."""
    settings = client.action("CoreSettings")
    if settings.success:
        version = settings.response.get("AsteriskVersion", "")
        return version, Finding(f"Asterisk {version}.")
    return "", Finding(
        f"The account may not ask for the version ({settings.message}).",
        f"It works as it is. To show the version: in manager.conf, on the write= line of [{username}], add "
        f"system or reporting. {_RELOAD}",
    )


def ask_rights(client: AMIClient, username: str, *, listens: bool, acts: bool) -> Finding:
    """What this login may do, and which events it is told.

    Args:
        listens: whether amiweb listens to events with it.
        acts: whether amiweb runs actions with it.
    """
    listed = client.action("ListCommands").response
    actions = {
        name: set(found[1].split(",")) - {"", "all", "<none>"}
        for name, text in listed.items()
        if (found := _PRIVILEGES.search(text))
    }
    known = {name.lower() for name in actions}
    can = [name for name in ("Originate", "Command") if name.lower() in known]
    writes = sorted({next(iter(classes)) for classes in actions.values() if len(classes) == 1})
    seen = [f"The account may run {len(actions)} actions"]
    seen[0] += f", {' and '.join(can)} among them." if can else "."
    if writes:
        seen.append(f"Its write= has {', '.join(writes)}.")
    elif not any(actions.values()):
        seen.append("It has no write class, so it may run only what needs none.")
    mends = []
    if acts:
        wants = {"Originate": "originate", "Command": "command"}
        lacks = [f"for {name}, add {wants[name]}" for name in wants if name not in can]
        if lacks:
            mends.append(f"on the write= line of [{username}], {'; '.join(lacks)}")
    if listens:
        reads = _reads(client, username) if "command" in known else None
        if reads is not None:
            shown = "all" if "all" in reads else ", ".join(sorted(reads)) or "nothing"
            seen.append(f"Its read= has {shown}.")
            if "call" not in reads:
                seen.append("So no events of calls come.")
                mends.append(f"on the read= line of [{username}], add call to see calls")
    if not mends:
        return Finding(" ".join(seen))
    return Finding(
        " ".join(seen), f"It works as it is. If you want more: in manager.conf, {'; '.join(mends)}. {_RELOAD}"
    )


def ask_clock(client: AMIClient) -> Finding:
    """How long an answer takes, and how far the PBX's clock is from this machine's."""
    quickest, ahead = float("inf"), None
    for _ in range(_PINGS):
        sent_at, began = time.time(), time.monotonic()
        answer = client.action("Ping").response
        took = time.monotonic() - began
        if took < quickest:
            quickest = took
            ahead = _number(answer.get("Timestamp", ""))
            if ahead is not None:
                ahead -= sent_at + took / 2
    took_words = f"An answer takes {quickest * 1000:.1f} ms."
    if ahead is None:
        return Finding(f"{took_words} The PBX doesn't tell its time.")
    if abs(ahead) <= CLOCK_TOLERANCE:
        return Finding(f"{took_words} The clocks differ by {abs(ahead):.2f} s.")
    way = "ahead of" if ahead > 0 else "behind"
    return Finding(
        f"{took_words} The PBX's clock is {_span(abs(ahead))} {way} this machine's.",
        "Events and calls will carry wrong times. Look at “timedatectl” on both machines and let chrony or "
        "systemd-timesyncd set the one that is wrong.",
    )


def ask_events(hearing: Hearing, seconds: float) -> Finding:
    """Which events come by themselves."""
    own = ("FullyBooted", "SuccessfulAuth", "ChallengeSent", "ChallengeResponseFailed")
    hearing.listen(seconds, lambda event: event.name not in own)
    names = list(dict.fromkeys(name for name in hearing.names if name not in own))
    if not names:
        return Finding(f"None within {seconds:g} s, which is usual while nobody calls.")
    more = f" and {len(names) - 8} other kinds" if len(names) > 8 else ""
    return Finding(f"They come: {', '.join(names[:8])}{more}.")


def _reads(client: AMIClient, username: str) -> set[str] | None:
    """The classes of an account's read= line, as far as this login may ask; None: unknown."""
    if not re.fullmatch(r"[\w.@+-]+", username):
        return None  # the CLI would take it apart
    try:
        answer = client.command(f"manager show user {username}")
    except AMIError:
        return None  # whether the session still lives, the next step tells
    for line in answer.output if answer.success else ():
        if found := re.fullmatch(r"\s*read perm: (.*?)\s*", line):
            classes = set(found[1].split(",")) - {"", "<none>"}
            return classes
    return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
