"""The call of an asynchronous Originate: followed while it dials and rings, and hung up when somebody asks.

Asterisk answers such an Originate before anything rings, and tells how it goes by events, to everybody who
sees events of calls, about all calls. The call's own are told by its Uniqueid, which the originator may
choose (`ChannelId`), so amiweb chooses one.

Whoever wants the call hung up leaves a mark in the row; the worker that follows the call looks for it every
second, and hangs up over the very session that dialled. A run of its own for the Hangup could wait behind
the calls that it is to end.
"""

import contextlib
import logging
import re
import time
from collections.abc import Iterable

from django.db import Error

from ami_integration.actions import doorbell
from ami_integration.actions.models import ActionRun
from ami_integration.ami import Action, AMIClient, Event

logger = logging.getLogger(__name__)

#: Seconds between two looks for a person who wants the call hung up.
LOOK_EVERY = 1.0
#: Seconds that the answer to a Hangup may take.
HANGUP_WITHIN = 5.0
#: The words that Asterisk's ast_true() takes.
_TRUE = ("yes", "true", "y", "t", "1", "on")
#: Newstate's ChannelState: include/asterisk/channelstate.h.
_RINGING = "5"

_PREFIX = "amiweb-"

Pairs = list[tuple[str, str]]


def is_async_originate(action: str, headers: Iterable[tuple[str, str]]) -> bool:
    """Whether Asterisk answers this at once, and tells by events what becomes of the call."""
    return action.strip().lower() == "originate" and header(headers, "Async").strip().lower() in _TRUE


def header(headers: Iterable[tuple[str, str]], name: str) -> str:
    """The value that Asterisk takes of a header: the first one's."""
    return next((value for key, value in headers if key.lower() == name.lower()), "")


def originate_timeout(headers: Iterable[tuple[str, str]]) -> int | None:
    """Milliseconds that an Originate lets it ring; None where the header doesn't say (Asterisk: 30,000).

    Raises:
        ValueError: it isn't a whole number above 0. Asterisk reads what begins like a number as far as it
            goes, and takes 0 and less for "without end".
    """
    given = header(headers, "Timeout").strip()
    if not given:
        return None
    if not re.fullmatch(r"\+?[0-9]{1,15}", given) or int(given) == 0:
        raise ValueError(given)
    return int(given)


def call_headers(*, action: str, headers: Iterable[tuple[str, str]], action_id: str) -> Pairs:
    """The headers with a Uniqueid for the call, so that it can be told from others and hung up.

    Args:
        action: any; only an asynchronous Originate is changed.
        headers: its headers. A `ChannelId` that a person chose stays; an empty one, and one that amiweb
            chose for an earlier run, give way: a Uniqueid names one channel.
        action_id: the run's.
    """
    pairs = list(headers)
    if not is_async_originate(action, pairs):
        return pairs
    kept = [
        (name, value)
        for name, value in pairs
        if name.lower() != "channelid" or (value.strip() and not _is_of_another_run(value, action_id))
    ]
    if not header(kept, "ChannelId"):
        kept.append(("ChannelId", _PREFIX + action_id))
    return kept


def _is_of_another_run(uniqueid: str, action_id: str) -> bool:
    return uniqueid.startswith(_PREFIX) and uniqueid != _PREFIX + action_id


def is_own_header(name: str, value: str) -> bool:
    """Whether amiweb added this header for one run alone; the next one gets its own."""
    return name.lower() == "channelid" and value.startswith(_PREFIX)


class Call:
    """The call of a run that this worker follows.

    Args:
        run: the run, RUNNING under this worker.
        uniqueid: the one that its Originate asked for.
    """

    def __init__(self, run: ActionRun, uniqueid: str) -> None:
        self.run = run
        self.uniqueid = uniqueid
        #: Who wants it hung up; empty: nobody.
        self.unwanted_by = ""
        self._look_at = 0.0
        self._may_hang_up = True

    def hear(self, event: Event) -> None:
        """Keep what an event tells of the call, and tell the open pages."""
        if event.name == "OriginateResponse":
            answered = event.get("Response", "").lower() == "success"
            # Of a failed call, Channel is only what was dialled.
            state = ActionRun.Call.ANSWERED if answered else ActionRun.Call.FAILED
            self._note(state, event.get("Channel", "") if answered else "")
        elif event.get("Uniqueid") != self.uniqueid:
            return
        elif event.name == "Newchannel":
            self._note(ActionRun.Call.DIALLING, event.get("Channel", ""))
        elif event.name == "Newstate" and event.get("ChannelState") == _RINGING:
            self._note(ActionRun.Call.RINGING, event.get("Channel", ""))

    def hang_up_if_unwanted(self, client: AMIClient, *, last: bool = False) -> None:
        """Hang up if somebody asked for it. To be called often; raises what the client raises.

        Asterisk makes the channel in a thread of its own, so the first Hangup may find none: the next look,
        a second later, tries again.

        Args:
            last: the call was answered, and nobody looks after this. Who asked within the last second wants
                to talk to nobody.
        """
        if not self._may_hang_up or (time.monotonic() < self._look_at and not last):
            return
        self._look_at = time.monotonic() + LOOK_EVERY
        with contextlib.suppress(Error):  # the database is away: nobody can have asked
            asked = ActionRun.objects.filter(pk=self.run.pk).values_list("hangup_asked_by", flat=True).first()
            self.unwanted_by = asked or ""
        if self.unwanted_by:
            hangup = Action("Hangup", [("Channel", self.uniqueid), ("Cause", "16")])
            reply = client.action(hangup, timeout=HANGUP_WITHIN)
            self._may_hang_up = reply.success or "permission" not in reply.message.lower()

    def _note(self, state: str, channel: str = "") -> None:
        with contextlib.suppress(Error):  # a page misses a step; the outcome is what counts
            if self.run.note_call(state, channel):
                doorbell.push(self.run.pk)
