"""A call from its Originate to its outcome: the steps, without I/O, so that both clients take the same ones.

Asterisk answers an Originate with ``Async: true`` before anything has rung; how the call went is told by an
OriginateResponse event, which needs ``read=call``, an EventMask with ``call``, and no Filter that hides it.
Without ``Async`` the whole session would stand still until somebody answers. So the ChannelId is chosen here,
the channel's events are followed, and where none comes, the PBX is asked about the channel.
"""

from __future__ import annotations

import copy
import enum
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, TypedDict, TypeVar

from ami_integration.ami.action import Action, Headers, HeaderValue, new_action_id
from ami_integration.ami.errors import AMIError
from ami_integration.ami.messages import Event, Reply, Response

#: Without an event of the channel for so long (seconds), the PBX is asked about it.
SILENCE: Final = 2.0
#: And then every so often (seconds).
ASK_EVERY: Final = 1.0
#: Beyond the time that it may ring, a call is followed for so long (seconds).
GRACE: Final = 10.0
#: A call that was hung up before it existed is looked for so long (seconds).
HANGUP_WITHIN: Final = 3.0

#: What OriginateResponse's Reason says (main/pbx.c, ast_channel_reason2str; the codes are frames of
#: include/asterisk/frame.h).
REASONS: Final[Mapping[int, str]] = {
    0: "the call failed: the number can't be reached, or it hung up before answering",
    1: "it was hung up",
    2: "it was not answered (it was still being dialled)",
    3: "it rang and was not answered in time",
    4: "it was answered",
    5: "it was busy",
    6: "it was off the hook",
    7: "it was off the hook",
    8: "there was congestion: no free circuit",
}


class Outcome(enum.Enum):
    """How a call went, as far as its originator could see."""

    ANSWERED = "answered"
    #: Busy, not answered, hung up, unreachable: see `Originated.reason`.
    FAILED = "failed"
    #: The PBX didn't accept the Originate: no such extension, no permission.
    REFUSED = "refused"
    #: The PBX accepted it, and this login is shown nothing of it.
    UNOBSERVABLE = "unobservable"
    #: It was cancelled from this side, and hung up.
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Originated:
    """What became of an Originate.

    Attributes:
        outcome: how it went.
        message: a sentence for people.
        channel_id: the Uniqueid of its channel, chosen by this side.
        reason: OriginateResponse's Reason, 0 to 8, or None where none came.
        channel: the channel's name, or an empty string where it was never seen.
        response: the PBX's answer to the Originate; None where it was cancelled before.
        event: the OriginateResponse, where one came.
    """

    outcome: Outcome
    message: str
    channel_id: str
    reason: int | None = None
    channel: str = ""
    response: Response | None = None
    event: Event | None = None

    @property
    def answered(self) -> bool:
        return self.outcome is Outcome.ANSWERED


@dataclass(frozen=True)
class Await:
    """A step: wait for events of the call, so many seconds at most."""

    seconds: float


T = TypeVar("T")
#: What to do next; it is sent the reply to an action, or the events that came, and returns its result.
Steps: TypeAlias = Generator[Action | Await, Reply | list[Event], T]


class OriginateOptions(TypedDict, total=False):
    """The options of `Origination`."""

    context: str
    exten: str
    priority: int | str
    application: str
    data: str
    caller_id: str
    ring: float
    variables: Mapping[str, str] | None
    account: str
    channel_id: str
    other_channel_id: str
    wait: bool
    headers: Headers


class Origination:
    """One Originate: the action, and the steps that follow it.

    Args:
        channel: whom to call: ``PJSIP/100``, ``Local/100@office``.
        context, exten, priority: where the answered channel goes in the dialplan; or
        application, data: what it runs instead.
        caller_id: as in ``Ada <100>``.
        ring: how long it may ring, in seconds.
        variables: channel variables; they arrive as they are, commas and quotes included.
        account: the account code.
        channel_id: the channel's Uniqueid; chosen at random when not given.
        other_channel_id: of a Local channel, the Uniqueid of its other end.
        wait: True leaves ``Async`` out: the session stands still until the call is answered, and the
            Response tells its outcome.
        headers: further headers, as they are.
        clock: for tests.

    Raises:
        ValueError: it has neither an extension nor an application, or both.
    """

    def __init__(
        self,
        channel: str,
        *,
        context: str = "",
        exten: str = "",
        priority: int | str = 1,
        application: str = "",
        data: str = "",
        caller_id: str = "",
        ring: float = 30.0,
        variables: Mapping[str, str] | None = None,
        account: str = "",
        channel_id: str = "",
        other_channel_id: str = "",
        wait: bool = False,
        headers: Headers = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if bool(application) == bool(context and exten):
            raise ValueError("An Originate needs either context and exten, or an application.")
        # Asterisk uses it as the Uniqueid, so it must be no other channel's, now or ever.
        self.channel_id = channel_id or f"amiweb-{new_action_id()}"
        self.wait = wait
        self.ring = ring
        pairs: list[tuple[str, HeaderValue]] = [("Channel", channel)]
        if application:
            pairs += [("Application", application), ("Data", data)]
        else:
            pairs += [("Context", context), ("Exten", exten), ("Priority", str(priority))]
        pairs.append(("Timeout", str(round(ring * 1000))))
        if not wait:
            pairs.append(("Async", "true"))
        pairs.append(("ChannelId", self.channel_id))
        for name, value in (
            ("OtherChannelId", other_channel_id),
            ("CallerID", caller_id),
            ("Account", account),
        ):
            if value:
                pairs.append((name, value))
        further = headers.items() if isinstance(headers, Mapping) else headers
        self.action = Action("Originate", _flat([*pairs, *further]), variables=variables)
        self._clock = clock

    def concerns(self, event: Event) -> bool:
        """Whether an event tells how this call goes."""
        if event.get("Uniqueid") == self.channel_id:
            # A login without read=call is shown the channel's VarSet and the like, which tell nothing.
            return "call" in event.get("Privilege", "call").split(",")
        # A failed call's OriginateResponse has no Uniqueid.
        return event.name == "OriginateResponse" and event.action_id == self.action.action_id

    # -- the steps

    def steps(self) -> Steps[Originated]:
        """A generator of what to do next; it returns the outcome."""
        reply = yield self.action
        assert isinstance(reply, Reply)
        response = reply.response
        if self.wait:
            return self._of_waiting(reply)
        if not reply.success:
            return self._refused(reply)
        # Beyond the time that it may ring, nothing is to be expected.
        deadline = self._clock() + self.ring + GRACE
        channel, up, hungup = "", False, None
        heard = asking = False
        while (left := deadline - self._clock()) > 0:
            if asking:
                looked = yield from self._ask(channel)
                if looked is None:
                    return self._unobservable(response, _NO_EVENTS if not heard else _NO_END, channel)
                state, found = looked
                if state == "up":
                    return self._answered(response, found, "by asking for its channel")
                if state == "gone":
                    why = f"{_NO_EVENTS if not heard else _NO_END}; when the PBX was asked, the call was over"
                    return self._unobservable(response, why, channel)
                channel = found
            came = yield Await(min(left, ASK_EVERY if asking else SILENCE))
            assert isinstance(came, list)
            if not came:
                if up:
                    return self._answered(response, channel, "by its channel's state")
                if hungup is not None:
                    return self._hung_up(response, channel, hungup)
                # While it rings, a channel is silent for long; whether events come at all is known by then.
                asking = asking or not heard
                continue
            heard, asking = True, False
            for event in came:
                if event.name == "OriginateResponse":
                    return self._told(response, event, channel)
                channel = event.get("Channel", "") or channel
                up = up or (event.name == "Newstate" and event.get("ChannelState") == "6")
                if event.name == "Hangup":
                    hungup = event
        # A filter may let some events of the call through, and not those that tell how it went.
        looked = yield from self._ask(channel)
        if looked is not None and looked[0] == "up":
            return self._answered(response, looked[1], "by asking for its channel")
        why = f"nothing was heard of its end within {self.ring + GRACE:g} s"
        return self._unobservable(response, why, channel)

    def hangup_steps(self) -> Steps[bool]:
        """What to do when the originator doesn't want the call any more; returns whether it is gone.

        The PBX makes the channel in a thread of its own, so it may not be there yet.
        """
        deadline = self._clock() + HANGUP_WITHIN
        while True:
            reply = yield Action("Hangup", {"Channel": self.channel_id, "Cause": "16"})
            assert isinstance(reply, Reply)
            if reply.success:
                return True
            if "permission" in reply.message.lower():
                return False
            if self._clock() >= deadline:
                # It was never there, or it has ended.
                return True
            came = yield Await(0.1)
            assert isinstance(came, list)
            if any(event.name in ("OriginateResponse", "Hangup") for event in came):
                reply = yield Action("Hangup", {"Channel": self.channel_id, "Cause": "16"})
                return True

    def cancelled(self, *, gone: bool) -> Originated:
        """The outcome of a call that was cancelled."""
        how = "and hung up" if gone else "but this login may not hang it up"
        return Originated(Outcome.CANCELLED, f"The call was cancelled {how}.", self.channel_id)

    # -- inside

    def _ask(self, channel: str) -> Steps[tuple[str, str] | None]:
        """Look at the channel: (state, name), where state is "up", "down" or "gone"; None where this login
        may not look.
        """
        reply = yield Action("Status", {"Channel": self.channel_id})
        assert isinstance(reply, Reply)
        items = reply.events
        if not reply.success and "permission" in reply.message.lower():
            reply = yield Action("CoreShowChannels")
            assert isinstance(reply, Reply)
            if not reply.success:
                return None
            items = [item for item in reply.events if item.get("Uniqueid") == self.channel_id]
        for item in items:
            name = item.get("Channel", "") or channel
            # Asterisk 12 and older have no ChannelStateDesc in Status, but a State.
            up = item.get("ChannelState") == "6" or item.get("State", "").lower() == "up"
            return ("up" if up else "down"), name
        return "gone", channel

    def _of_waiting(self, reply: Reply) -> Originated:
        """Without Async, the Response is the outcome."""
        if reply.success:
            return self._answered(reply.response, "", "")
        if "originate failed" in reply.message.lower():
            return Originated(
                Outcome.FAILED,
                f"The call was not answered: {reply.message}.",
                self.channel_id,
                response=reply.response,
            )
        return self._refused(reply)

    def _refused(self, reply: Reply) -> Originated:
        said = reply.message.strip().rstrip(".") or "no reason given"
        return Originated(
            Outcome.REFUSED, f"The PBX refused the call: {said}.", self.channel_id, response=reply.response
        )

    def _told(self, response: Response, event: Event, channel: str) -> Originated:
        text = event.get("Reason", "")
        reason = int(text) if text.isascii() and text.isdigit() else None
        answered = event.get("Response", "").lower() == "success"
        # Of a failed call, Channel is what was dialled.
        name = (event.get("Channel", "") or channel) if answered else channel
        what = REASONS.get(-1 if reason is None else reason, f"reason {text or 'unknown'}")
        if answered:
            message = "The call was answered."
        else:
            message = f"The call was not answered: {what}."
        return Originated(
            Outcome.ANSWERED if answered else Outcome.FAILED,
            message,
            self.channel_id,
            reason,
            name,
            response,
            event,
        )

    def _answered(self, response: Response, channel: str, how: str) -> Originated:
        seen = f" (seen {how})" if how else ""
        return Originated(
            Outcome.ANSWERED, f"The call was answered{seen}.", self.channel_id, None, channel, response
        )

    def _hung_up(self, response: Response, channel: str, event: Event) -> Originated:
        cause = event.get("Cause-txt", "") or f"cause {event.get('Cause', 'unknown')}"
        return Originated(
            Outcome.FAILED,
            f"The call was hung up before anybody was seen to answer: {cause}.",
            self.channel_id,
            None,
            channel,
            response,
        )

    def _unobservable(self, response: Response, why: str, channel: str) -> Originated:
        return Originated(
            Outcome.UNOBSERVABLE,
            f"The PBX accepted the call; its outcome can't be observed: {why}.",
            self.channel_id,
            None,
            channel,
            response,
        )


def as_sent(error: AMIError) -> AMIError:
    """The same error for a call that the PBX has seen: whatever failed then, the call may be going on."""
    seen = copy.copy(error)
    seen.sent = True
    return seen


_NO_EVENTS: Final = "this login lacks read=call (or a Filter hides the call's events)"
_NO_END: Final = "the call's events stopped before its end"


def _flat(pairs: Iterable[tuple[str, HeaderValue]]) -> list[tuple[str, str]]:
    """Pairs of one value each: a sequence repeats its header."""
    flat: list[tuple[str, str]] = []
    for name, value in pairs:
        if isinstance(value, (str, int)):
            flat.append((name, str(value)))
        else:
            flat += [(name, item) for item in value]
    return flat
