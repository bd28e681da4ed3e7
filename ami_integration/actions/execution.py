"""What a worker does with a run that it claimed: check again, open a session, send once, collect, judge.

Nothing here is tried twice. Which status a failure becomes follows from one fact, `AMIError.sent`: what may
have reached the PBX is UNKNOWN and left for a person to look at; what never left is FAILED and may be run
again.
"""

import logging
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from ami_integration.actions.calls import LOOK_EVERY, Call, header, is_async_originate
from ami_integration.actions.masking import secret_values, storable, text_without
from ami_integration.actions.models import ActionRun
from ami_integration.actions.results import Result
from ami_integration.actions.rights import run_refusal
from ami_integration.ami import Action, AMIClient, AMIError, Event, Reply
from ami_integration.servers.encryption import SecretUnreadable
from ami_integration.servers.sessions import open_session

logger = logging.getLogger(__name__)

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


def run_perform(*, run: ActionRun) -> Outcome:
    """Carry a claimed run out, once. Never raises: a bug of ours is an outcome too."""
    secrets: set[str] = set()
    try:
        return _perform(run, secrets)
    except SecretUnreadable as error:
        return Outcome(ActionRun.Status.FAILED, f"Not sent. {error}")
    except AMIError as error:
        return _failure(error, secrets)
    except Exception:
        trace = storable(text_without(traceback.format_exc(), secrets))
        logger.error("Run %s met a mistake of amiweb:\n%s", run.pk, trace)
        return Outcome(
            ActionRun.Status.ERRORED,
            "amiweb itself failed; the technical details are below. The PBX may have carried the action "
            "out: look there before you run it again.",
            {"traceback": trace},
        )


def _perform(run: ActionRun, secrets: set[str]) -> Outcome:
    refusal = run_refusal(run=run)
    if refusal:
        return Outcome(ActionRun.Status.FAILED, f"Not sent: {refusal}")
    server = run.server
    assert server is not None  # run_refusal saw to it
    headers = run.headers_in_clear()
    secrets |= secret_values(headers)
    secrets.add(server.secret.reveal())
    secrets.discard("")
    limit = run_time_limit(run=run, headers=headers)
    action = Action(run.action, headers, action_id=run.action_id)
    action.encode()  # a mistake in it is found before anybody connects
    follows = is_async_originate(action.name, action.headers)
    with open_session(server, events="call" if follows else "off") as client:
        deadline = time.monotonic() + limit
        reply = client.action(action, timeout=limit)
        if follows and reply.success:
            call = Call(run, header(action.headers, "ChannelId"))
            return _follow_call(client, reply, call, action.action_id, deadline)
    return _judge(reply)


def run_time_limit(*, run: ActionRun, headers: Sequence[tuple[str, str]]) -> float:
    """Seconds from sending to the end of the answer; an Originate gets the call's own time and a margin."""
    if run.timeout is not None:
        return run.timeout
    if run.action.lower() != "originate":
        return float(settings.AMIWEB_ACTION_TIMEOUT)
    for name, value in headers:
        if name.lower() == "timeout" and value.strip().isdecimal():
            return int(value) / 1000 + ORIGINATE_MARGIN
    return ORIGINATE_DEFAULT + ORIGINATE_MARGIN


def _failure(error: AMIError, secrets: set[str]) -> Outcome:
    said = storable(text_without(str(error), secrets))
    if error.sent:
        return Outcome(
            ActionRun.Status.UNKNOWN,
            f"{said} The action had been sent, so the PBX may or may not have carried it out: look there "
            "before you run it again. amiweb doesn't send it a second time.",
        )
    return Outcome(
        ActionRun.Status.FAILED,
        f"Not sent: {said} “Test connection” on the server's page says more; then run it again.",
    )


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
                return _judge_call(reply, event, call.unwanted_by)
    except AMIError as error:
        why = str(error)
    else:
        why = "No OriginateResponse came in time: the read= line of this login in manager.conf may lack call."
    return Outcome(
        ActionRun.Status.UNKNOWN,
        storable(f"Asterisk took the call into its queue, and what became of it is not known. {why}"),
        _results(reply),
    )


def _judge_call(reply: Reply, event: Event, unwanted_by: str) -> Outcome:
    answered = (event.get("Response") or "").lower() == "success"
    code = event.get("Reason") or ""
    meaning = ORIGINATE_REASONS.get(code, f"reason {code or 'not given'}")
    results = _results(reply)
    results["result"] = Result.of_reply(reply, events=[event])
    if answered and unwanted_by:
        words = f"The call was answered while {unwanted_by} had it hung up, which ended it."
        return Outcome(ActionRun.Status.SUCCEEDED, storable(words), results)
    if answered:
        return Outcome(ActionRun.Status.SUCCEEDED, "The call was answered.", results)
    if unwanted_by:
        words = f"Hung up by {unwanted_by} before anybody answered."
        return Outcome(ActionRun.Status.CANCELLED, storable(words), results)
    return Outcome(ActionRun.Status.FAILED, storable(f"The call failed: {meaning}."), results)


def _judge(reply: Reply) -> Outcome:
    message = storable(reply.message)
    results = _results(reply)
    if reply.success:
        return Outcome(ActionRun.Status.SUCCEEDED, message, results)
    hint = (
        " The login's write= classes in manager.conf don't allow it."
        if "permission denied" in message.lower()
        else ""
    )
    words = message.rstrip(". ") or "it gave no reason"
    return Outcome(ActionRun.Status.FAILED, f"The PBX refused: {words}.{hint}", results)


def _results(reply: Reply) -> dict[str, Any]:
    """What came back, in clear: `ActionRun.finish` masks what is stored."""
    return {"result": Result.of_reply(reply)}
