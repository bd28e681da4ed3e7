"""Which answer belongs to which action, and when an answer is whole. No I/O: both clients share it.

Answers are matched by ActionID, since proxies interleave what a PBX sends in order. Some answers carry none
(an action that Asterisk couldn't parse): those belong to the oldest action that waits, for replies come in
order. A list is known by ``EventList: start`` or, on Asterisk 12 and older, by the words "will follow"; it
ends with the event that says ``EventList: Complete`` or whose name ends in ``Complete``.

What comes of an answer after its end is expected, and added to it: further responses (ModuleLoad sends up to
three for one ActionID), and the ``Complete`` of a list that an error ended (PJSIPShowEndpoint sends start,
Error, Complete; CoreShowChannelMap sends start and Error alone).
"""

from __future__ import annotations

import time

from ami_integration.ami.action import Action
from ami_integration.ami.messages import Event, Message, OddResponse, Reply, Response
from ami_integration.ami.protocol import Anomalies

#: Answers that nobody waits for any more are told from unknown ones for this many actions.
_MOST_ABANDONED = 1000
#: For this many answered actions, a further response is added to the answer. Few, since answers may be large.
_MOST_ANSWERED = 8
#: Actions that may take Asterisk long; until their end it answers nothing else on their session.
_SLOW = frozenset(
    {"originate", "command", "waitevent", "moduleload", "reload", "updateconfig"}
    # These take as long as a dialplan function, a script or a database does.
    | {"getvar", "setvar", "loggerrotate", "queuereload", "sorcerymemorycachepopulate"}
)
#: What Asterisk takes for "yes" (main/utils.c, ast_true).
_TRUE = frozenset({"yes", "true", "y", "t", "1", "on"})
#: A slow action that nobody waits for any more explains silence for so many seconds. Beyond that, silence
#: means what it always means.
_SLOW_ABANDONED = 300.0
#: Actions that answer without a Response header, or with nothing but a blank line: IAXnetstats, and Queues
#: before Asterisk 14.
_HEADLESS = frozenset({"iaxnetstats", "queues"})


class Exchange:
    """One action on its way.

    Attributes:
        action_id: what its answers carry.
        sent: whether bytes of it may have left.
        reply: the whole answer, once there.
    """

    __slots__ = (
        *("_events", "_headers", "_listing", "_responses", "before", "behind"),
        *("action_id", "action_name", "given_up_at", "reply", "sent"),
    )

    def __init__(self, action: Action) -> None:
        self.action_id = action.action_id
        self.action_name = action.name
        self.given_up_at = 0.0
        #: The action whose end this one's answer tells, and the one that does so for this.
        self.before: Exchange | None = None
        self.behind: Exchange | None = None
        self._headers = action.headers
        self.sent = False
        self.reply: Reply | None = None
        self._responses: list[Response] = []
        self._events: list[Event] = []
        self._listing = False

    @property
    def done(self) -> bool:
        return self.reply is not None

    @property
    def slow(self) -> bool:
        """Whether Asterisk may be long in answering, and answers nothing else until then."""
        name = self.action_name.lower()
        if name == "originate":
            return not any(
                key.lower() == "async" and value.strip().lower() in _TRUE for key, value in self._headers
            )
        return name in _SLOW

    @property
    def partial(self) -> Reply | None:
        """What has come of an answer that isn't whole, or None."""
        return Reply(self._responses, self._events) if self._responses else None

    @property
    def listing(self) -> bool:
        """Whether a list was begun and has not ended."""
        return self._listing and self.reply is None

    def response(self, response: Response) -> None:
        # After the end, too: the reply, which has this very list, learns of further responses.
        self._responses.append(response)
        if self.reply is not None:
            return
        if _starts_list(response):
            self._listing = True
            return
        # An error after a list's start ends it: CoreShowChannelMap sends no Complete then.
        self._finish(None)

    def event(self, event: Event) -> None:
        if _ends_list(event):
            if self.reply is not None:
                self.reply.complete = event
            else:
                self._finish(event)
        else:
            self._events.append(event)

    def _finish(self, complete: Event | None) -> None:
        self._listing = False
        self.reply = Reply(self._responses, self._events, complete)


class Exchanges:
    """All actions of one session that wait for their answers."""

    def __init__(self, anomalies: Anomalies) -> None:
        self._anomalies = anomalies
        self._waiting: dict[str, Exchange] = {}
        # Given up by their caller, but the PBX may still answer: their answers are expected and dropped.
        self._abandoned: dict[str, Exchange] = {}
        # Answered not long ago: further responses belong to them.
        self._answered: dict[str, Exchange] = {}
        #: ActionIDs whose list has begun and not ended. While there is none, no event is an action's.
        self.listing: set[str] = set()
        # The one whose list an error has ended: its Complete may follow.
        self._erring: Exchange | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def slow(self) -> bool:
        """Whether silence may only mean that the PBX works on what it was asked for."""
        if any(one.slow for one in self._waiting.values()):
            return True
        now = time.monotonic()
        return any(now - one.given_up_at < _SLOW_ABANDONED and one.slow for one in self._abandoned.values())

    def begin(self, action: Action) -> Exchange:
        """Expect an answer to this action.

        Raises:
            ValueError: an action with this ActionID is waiting already.
        """
        if action.action_id in self._waiting or action.action_id in self._abandoned:
            raise ValueError(f"An action with the ActionID {action.action_id} is waiting already.")
        exchange = Exchange(action)
        self._waiting[action.action_id] = exchange
        return exchange

    def tail(self, exchange: Exchange) -> bytes:
        """What is to be sent right behind an action: nothing, save behind one that may answer nothing.

        IAXnetstats of a PBX without such calls prints a blank line. Answers come in order, so the answer to a
        Ping behind it tells that it has ended.
        """
        if exchange.action_name.lower() not in _HEADLESS:
            return b""
        ping = Action("Ping")
        exchange.behind = self.begin(ping)
        exchange.behind.before = exchange
        exchange.behind.sent = True
        return ping.encode()

    def abandon(self, exchange: Exchange) -> None:
        """Nobody waits for this one any more (time limit, cancelled)."""
        if exchange.behind is not None:
            exchange.behind.sent = exchange.sent
            self.abandon(exchange.behind)
        if self._waiting.pop(exchange.action_id, None) is not None and exchange.sent:
            exchange.given_up_at = time.monotonic()
            self._abandoned[exchange.action_id] = exchange
            if len(self._abandoned) > _MOST_ABANDONED:
                oldest = next(iter(self._abandoned))
                del self._abandoned[oldest]
                self.listing.discard(oldest)

    def dispatch(self, message: Message) -> Exchange | Event | None:
        """Give a message to whom it belongs.

        Returns:
            the exchange that took it; the event itself when it belongs to none; or None when it was dropped.
        """
        if isinstance(message, Event):
            # Only while a list runs can an event belong to an action: then alone its ActionID is read.
            if not self.listing:
                return message
            exchange = self._find(message.action_id)
            if exchange is None or exchange.action_id not in self.listing:
                return message
            exchange.event(message)
            return self._settle(exchange)
        if isinstance(message, Response):
            action_id = message.action_id
            exchange = self._oldest() if action_id is None else self._find(action_id)
            if exchange is None:
                self._anomalies.record("unknown_action_id", message.raw)
                return None
            if self._erring is not None and exchange is not self._erring:
                # Actions are run in order: nothing more comes for that one.
                self.listing.discard(self._erring.action_id)
                self._erring = None
            was_listing = exchange.listing
            if exchange.reply is not None:
                self._anomalies.record("further_response", message.raw)
            exchange.response(message)
            self._settle(exchange)
            if was_listing and not message.success:
                self._erring = exchange
                self.listing.add(exchange.action_id)
            before = exchange.before
            if before is not None and not before.done:
                before.response(Response(""))
                return self._settle(before)
            return exchange
        waits = self._oldest()
        if waits is not None and waits.action_name.lower() in _HEADLESS and message.text:
            waits.response(OddResponse(message.text))
            return self._settle(waits)
        return None

    def fail_all(self) -> list[Exchange]:
        """Forget everything (the connection is gone); returns what was waiting."""
        waiting = list(self._waiting.values())
        self._waiting.clear()
        self._abandoned.clear()
        self._answered.clear()
        self.listing.clear()
        self._erring = None
        return waiting

    def _find(self, action_id: str | None) -> Exchange | None:
        if action_id is None:
            return None
        return self._waiting.get(action_id) or self._abandoned.get(action_id) or self._answered.get(action_id)

    def _oldest(self) -> Exchange | None:
        return next((e for e in self._waiting.values() if e.sent and not e.listing), None)

    def _settle(self, exchange: Exchange) -> Exchange:
        action_id = exchange.action_id
        if exchange.reply is None:
            if exchange.listing:
                self.listing.add(action_id)
        else:
            self.listing.discard(action_id)
            if self._erring is exchange:
                self._erring = None
            self._abandoned.pop(action_id, None)
            if self._waiting.pop(action_id, None) is not None:
                complete = exchange.reply.complete
                if complete is None:
                    self._answered[action_id] = exchange
                    if len(self._answered) > _MOST_ANSWERED:
                        del self._answered[next(iter(self._answered))]
                elif not exchange.reply.whole:
                    self._anomalies.record("list_items", complete.raw)
        return exchange


def _starts_list(response: Response) -> bool:
    text = response.text.lower()
    if "eventlist" not in text and "will follow" not in text or not response.success:
        return False
    eventlist = response.get("EventList")
    if eventlist is not None:
        return eventlist.strip().lower() == "start"
    return response.message.rstrip().lower().endswith("will follow")


def _ends_list(event: Event) -> bool:
    eventlist = event.get("EventList")
    if eventlist is not None:
        return eventlist.strip().lower() in ("complete", "cancelled")
    return event.name.endswith("Complete")
