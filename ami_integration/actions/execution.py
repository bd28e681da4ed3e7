"""What a worker does with a run: check again, get a session, claim it, send once, collect, judge.

The claim comes last before the sending. Until then the run is queued: somebody may cancel it, it may expire,
and a worker that is killed while it connects leaves nothing behind but a run that another one takes up. A run
that is RUNNING may have reached the PBX.

Nothing is sent twice. Which status a failure becomes follows from one fact, `AMIError.sent`: what may have
reached the PBX is UNKNOWN and left for a person to look at; what never left is FAILED and may be run again.
"""

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings
from django.db import Error

from ami_integration.access.danger import changes_session
from ami_integration.access.masking import output_mask, readable, secret_values, storable, text_without
from ami_integration.actions.calls import LOOK_EVERY, Call, header, is_async_originate, originate_timeout
from ami_integration.actions.models import ActionRun
from ami_integration.actions.results import Result
from ami_integration.actions.rights import run_refusal
from ami_integration.ami import Action, AMIClient, AMIError, Event, Reply, Unanswered
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server
from ami_integration.servers.sessions import ActionSession, action_session

logger = logging.getLogger(__name__)

#: Characters of a CLI command's first line that tell in a list how it went.
_SHORT = 120

#: What is said of an answer that began and didn't end.
NOT_ENDED = "Not whole: this is what had come of the answer when it broke off."
#: Seconds by which an Originate may outlast the time that the call itself is given.
ORIGINATE_MARGIN = 10.0
#: Asterisk's own limit of an Originate without a Timeout header, in seconds.
ORIGINATE_DEFAULT = 30.0
#: The Reason header of an OriginateResponse: Asterisk's frame codes (main/manager.c,
#: include/asterisk/frame.h).
ORIGINATE_REASONS = {
    "0": "there is no such channel or number, or it can't be reached",
    "1": "it was hung up",
    "3": "it rang and nobody answered in time",
    "4": "it was answered",
    "5": "it was busy",
    "8": "congestion: the channel or its provider had no room",
}


@dataclass
class Outcome:
    """How a run ended: its status, a sentence, and what came back."""

    status: str
    reason: str = ""
    results: dict[str, Any] = field(default_factory=dict)


def run_perform(*, run: ActionRun, claim: Callable[[], ActionRun | None]) -> Outcome | None:
    """Carry a queued run out, once.

    Args:
        run: as it was read just now.
        claim: makes this worker the only one that executes it and returns it as it is now; None: it is taken,
            cancelled, expired or gone.

    Returns:
        how it ended, to be stored; None where the claim was lost.

    Raises:
        MustWait: no session can be had just now. The run is queued as before, and nothing was sent.
        Error: the claim found the database away. Nothing was sent.
    """
    secrets: set[str] = set()
    try:
        prepared = _prepare(run, secrets)
        if isinstance(prepared, Outcome):
            return prepared if claim() else None
        with action_session(prepared.server, waiter=str(run.pk)) as session:
            claimed = claim()
            if claimed is None:
                return None
            return _carry_out(claimed, prepared, session, secrets)
    except (SecretUnreadable, AMIError) as error:
        # No session was had. What goes wrong after the claim is an outcome.
        return _unsent(error, secrets) if claim() else None


@dataclass(frozen=True)
class _Prepared:
    server: Server
    headers: list[tuple[str, str]]
    action: Action
    limit: float


def _prepare(run: ActionRun, secrets: set[str]) -> "_Prepared | Outcome":
    """All that can be found out before anybody connects."""
    try:
        refusal = run_refusal(run=run)
        if refusal:
            return Outcome(ActionRun.Status.FAILED, f"Not sent: {refusal}")
        server = run.server
        assert server is not None  # run_refusal saw to it
        headers = run.headers_in_clear()
        secrets |= secret_values(headers)
        secrets.add(server.action_account[1].reveal())
        secrets.discard("")
        action = Action(run.action, headers, action_id=run.action_id)
        action.encode()
        return _Prepared(server, headers, action, run_time_limit(run=run, headers=headers))
    except (SecretUnreadable, AMIError, Error):
        raise
    except Exception:
        return _mistake(run, secrets)


def _carry_out(run: ActionRun, prepared: _Prepared, session: ActionSession, secrets: set[str]) -> Outcome:
    """Send a claimed run. Never raises: a bug of ours is an outcome too."""
    values: dict[str, Any] = {}
    try:
        # Getting the session may have taken a while.
        refusal = "" if session.reused else run_refusal(run=run)
        if refusal:
            return Outcome(ActionRun.Status.FAILED, f"Not sent: {refusal}")
        outcome = _send(run, prepared, session, values)
    except AMIError as error:
        session.discard()
        outcome = _failure(error, secrets, _command_of(prepared.action))
    except Exception:
        session.discard()
        outcome = _mistake(run, secrets)
    values |= {"connect_seconds": session.connect_seconds, "login_seconds": session.login_seconds}
    outcome.results |= values
    return outcome


def _send(run: ActionRun, prepared: _Prepared, session: ActionSession, values: dict[str, Any]) -> Outcome:
    action = prepared.action
    follows = is_async_originate(action.name, action.headers)
    began = time.monotonic()
    try:
        reply = _reply(prepared, session, follows)
        if follows and reply.success:
            call = Call(run, header(action.headers, "ChannelId"))
            deadline = began + prepared.limit
            outcome = _follow_call(session.client, reply, call, action.action_id, deadline)
        else:
            outcome = _judge(reply, _command_of(action))
            if "permission denied" in reply.message.lower():
                session.discard()  # rights are copied at login: a corrected manager.conf counts from the next
    finally:
        if changes_session(action.name):
            session.discard()
        values["answer_seconds"] = time.monotonic() - began
    if follows:
        _events_off(session)
    return outcome


def _reply(prepared: _Prepared, session: ActionSession, follows: bool) -> Reply:
    """Send, and have the answer. A kept session that ended before a byte left gives way to a new one."""
    try:
        return _reply_once(prepared, session.client, follows)
    except AMIError as error:
        if error.sent or not session.reused:
            raise
    session.connect()
    return _reply_once(prepared, session.client, follows)


def _reply_once(prepared: _Prepared, client: AMIClient, follows: bool) -> Reply:
    if follows:
        try:
            client.set_events_mask("call")
        except AMIError as error:
            error.sent = False  # what was sent is not the action that the run is about
            raise
    return client.action(prepared.action, timeout=prepared.limit)


def _events_off(session: ActionSession) -> None:
    """The next action of this session wants no events, and none of those that came."""
    try:
        if not session.client.set_events_mask("off").success:
            session.discard()
        for _ in session.client.events(timeout=0):
            pass
    except AMIError:
        session.discard()


def _mistake(run: ActionRun, secrets: set[str]) -> Outcome:
    trace = storable(text_without(traceback.format_exc(), secrets))
    logger.error("Run %s met a mistake of amiweb:\n%s", run.pk, trace)
    return Outcome(
        ActionRun.Status.ERRORED,
        "amiweb itself failed; the technical details are below. The PBX may have carried the action "
        "out: look there before you run it again.",
        {"traceback": trace},
    )


def _unsent(error: SecretUnreadable | AMIError, secrets: set[str]) -> Outcome:
    if isinstance(error, SecretUnreadable):
        return Outcome(ActionRun.Status.FAILED, f"Not sent. {error}")
    said = readable(text_without(str(error), secrets))
    return Outcome(
        ActionRun.Status.FAILED,
        f"Not sent: {said} “Test connection” on the server's page says more; then run it again.",
    )


def run_time_limit(*, run: ActionRun, headers: Sequence[tuple[str, str]]) -> float:
    """Seconds from sending to the end of the answer; an Originate gets the call's own time and a margin."""
    if run.action.lower() != "originate":
        return float(settings.AMIWEB_ACTION_TIMEOUT) if run.timeout is None else run.timeout
    rings = originate_timeout(headers)
    call = (ORIGINATE_DEFAULT if rings is None else rings / 1000) + ORIGINATE_MARGIN
    # A limit that ends before the call does would leave a call that nobody follows and nobody can hang up.
    return max(call, run.timeout or 0.0)


def _failure(error: AMIError, secrets: set[str], command: str) -> Outcome:
    said = readable(text_without(str(error), secrets))
    if error.sent:
        came = error.reply if isinstance(error, Unanswered) else None
        return Outcome(
            ActionRun.Status.UNKNOWN,
            f"{said} The action had been sent, so the PBX may or may not have carried it out: look there "
            "before you run it again. amiweb doesn't send it a second time.",
            {}
            if came is None
            else {"result": replace(Result.of_reply(came, command=command), note=NOT_ENDED)},
        )
    return _unsent(error, secrets)


def _follow_call(client: AMIClient, reply: Reply, call: Call, action_id: str, deadline: float) -> Outcome:
    """Wait for the OriginateResponse: an asynchronous Originate is answered before anything rings."""
    try:
        while (left := deadline - time.monotonic()) > 0:
            call.hang_up_if_unwanted(client)
            event = next(client.events(timeout=min(left, LOOK_EVERY)), None)
            if event is None or (event.name == "OriginateResponse" and event.action_id != action_id):
                continue
            call.hear(event)
            if event.name == "OriginateResponse":
                if _answered(event):
                    call.hang_up_if_unwanted(client, last=True)
                return _judge_call(reply, event, call.unwanted_by)
    except AMIError as error:
        why = str(error)
    else:
        why = "No OriginateResponse came in time: the read= line of this login in manager.conf may lack call."
    return Outcome(
        ActionRun.Status.UNKNOWN,
        readable(f"Asterisk took the call into its queue, and what became of it is not known. {why}"),
        _results(reply),
    )


def _answered(event: Event) -> bool:
    return event.get("Response", "").lower() == "success"


def _judge_call(reply: Reply, event: Event, unwanted_by: str) -> Outcome:
    answered = _answered(event)
    code = event.get("Reason") or ""
    meaning = ORIGINATE_REASONS.get(code, f"reason {code or 'not given'}")
    results = _results(reply)
    results["result"] = Result.of_reply(reply, events=[event])
    if answered and unwanted_by:
        words = f"The call was answered while {unwanted_by} had it hung up, which ended it."
        return Outcome(ActionRun.Status.SUCCEEDED, readable(words), results)
    if answered:
        return Outcome(ActionRun.Status.SUCCEEDED, "The call was answered.", results)
    if unwanted_by:
        words = f"Hung up by {unwanted_by} before anybody answered."
        return Outcome(ActionRun.Status.CANCELLED, readable(words), results)
    return Outcome(ActionRun.Status.FAILED, readable(f"The call failed: {meaning}."), results)


def _judge(reply: Reply, command: str) -> Outcome:
    message = readable(_in_short(reply, command))
    results = _results(reply, command)
    if reply.success:
        return Outcome(ActionRun.Status.SUCCEEDED, message, results)
    hint = (
        " The login's write= classes in manager.conf don't allow it."
        if "permission denied" in message.lower()
        else ""
    )
    words = message.rstrip(". ") or "it gave no reason"
    return Outcome(ActionRun.Status.FAILED, f"The PBX refused: {words}.{hint}", results)


def _command_of(action: Action) -> str:
    """The CLI command that an action asks for; "" if it asks for none."""
    return header(action.headers, "Command") if action.name.lower() == "command" else ""


def _in_short(reply: Reply, command: str) -> str:
    """The PBX's own words; of a Command's answer its first line, since the words are always the same."""
    if reply.message.lower() != "command output follows":
        return reply.message
    first = next((line.strip() for line in reply.output if line.strip()), "It printed nothing.")
    masked = output_mask(first, command)
    return masked if len(masked) <= _SHORT else f"{masked[: _SHORT - 1]}…"


def _results(reply: Reply, command: str = "") -> dict[str, Any]:
    """What came back, in clear: `ActionRun.finish` masks what is stored."""
    return {"result": Result.of_reply(reply, command=command)}
