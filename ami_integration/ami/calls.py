"""Following a call over a session: the steps are `originate`'s, the waiting is each client's own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ami_integration.ami.action import Action
from ami_integration.ami.errors import AMIError
from ami_integration.ami.messages import Event
from ami_integration.ami.originate import Originated, Origination, Steps, T, as_sent

if TYPE_CHECKING:
    from ami_integration.ami.aio import AsyncAMIClient, Subscription
    from ami_integration.ami.blocking import AMIClient, BlockingSubscription

logger = logging.getLogger(__name__)

#: A blocking client looks this often (seconds) whether the call was cancelled.
_SLICE = 0.1
#: Asyncio drops tasks that nobody holds; these hang up.
_hangups: set[asyncio.Task[bool]] = set()


class _Cancelled(Exception):
    """The originator doesn't want the call any more."""


@dataclass
class _Walk:
    """How far the steps of a call went: whether the PBX answered any of them."""

    answered: bool = False


@contextlib.contextmanager
def _walking() -> Iterator[_Walk]:
    """What fails behind the first answer fails a call that the PBX knows of, whatever that action says."""
    walk = _Walk()
    try:
        yield walk
    except AMIError as error:
        if walk.answered and not error.sent:
            raise as_sent(error) from None
        raise


def make_call(client: AMIClient, call: Origination, *, cancel: threading.Event | None) -> Originated:
    """Make a call and follow it to its outcome; see `AMIClient.originate`."""
    with client._following(call.concerns) as follower:
        try:
            extra = call.ring if call.wait else 0.0
            return _walk(client, call.steps(), follower, cancel=cancel, extra=extra)
        except _Cancelled:
            return call.cancelled(gone=_hang_up(client, call, follower))
        except AMIError:
            raise
        except BaseException:
            _hang_up(client, call, follower)
            raise


def _walk(
    client: AMIClient,
    steps: Steps[T],
    follower: BlockingSubscription,
    *,
    cancel: threading.Event | None = None,
    extra: float = 0.0,
) -> T:
    """Take the steps of a call.

    Args:
        extra: seconds that an answer may take beyond its usual time limit.
    """
    with _walking() as walk:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Action):
                    reply = client.action(step, timeout=client.timeouts.action + extra)
                    walk.answered = True
                    step = steps.send(reply)
                else:
                    step = steps.send(_events(client, follower, step.seconds, cancel))
        except StopIteration as stop:
            result: T = stop.value
            return result


def _events(
    client: AMIClient, follower: BlockingSubscription, limit: float, cancel: threading.Event | None
) -> list[Event]:
    since = time.monotonic()
    while True:
        if cancel is not None and cancel.is_set():
            raise _Cancelled
        if follower.waiting:
            return follower.take()
        left = since + limit - time.monotonic()
        if left <= 0:
            return []
        if not client._read(time.monotonic() + min(left, _SLICE)):
            client._keep_alive(since)


def _hang_up(client: AMIClient, call: Origination, follower: BlockingSubscription) -> bool:
    try:
        gone = _walk(client, call.hangup_steps(), follower)
    except AMIError as error:
        _tell_not_hung_up(client, error)
        return False
    if not gone:
        _tell_not_hung_up(client, None)
    return gone


async def make_call_async(client: AsyncAMIClient, call: Origination) -> Originated:
    """Make a call and follow it to its outcome; see `AsyncAMIClient.originate`."""
    async with client._following(call.concerns) as follower:
        try:
            return await _walk_async(client, call.steps(), follower, extra=call.ring if call.wait else 0.0)
        except asyncio.CancelledError:
            await _hang_up_async(client, call, follower)
            raise


async def _walk_async(
    client: AsyncAMIClient, steps: Steps[T], follower: Subscription, *, extra: float = 0.0
) -> T:
    with _walking() as walk:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Action):
                    reply = await client.action(step, timeout=client.timeouts.action + extra)
                    walk.answered = True
                    step = steps.send(reply)
                else:
                    step = steps.send(await follower._next(step.seconds))
        except StopIteration as stop:
            result: T = stop.value
            return result


async def _hang_up_async(client: AsyncAMIClient, call: Origination, follower: Subscription) -> None:
    task = asyncio.create_task(_walk_async(client, call.hangup_steps(), follower))
    _hangups.add(task)
    task.add_done_callback(_hangups.discard)
    try:
        # A second cancellation doesn't stop it.
        gone = await asyncio.shield(task)
    except AMIError as error:
        _tell_not_hung_up(client, error)
    else:
        if not gone:
            _tell_not_hung_up(client, None)


def _tell_not_hung_up(client: AMIClient | AsyncAMIClient, error: AMIError | None) -> None:
    if error is not None:
        logger.warning("%s: a cancelled call could not be hung up: %s", client.transport, error)
    else:
        logger.warning("%s: this login may not hang up the call that it cancelled", client.transport)
