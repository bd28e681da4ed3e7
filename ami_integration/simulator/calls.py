"""
A call: a script that acts on the switch, and what may interrupt it.

The script is a generator that yields the seconds until its next act. Whoever wants something of one of its
channels has it thrown in at the wait: every application of the script cleans up what it made and passes it
on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ami_integration.simulator.channels import Channel

if TYPE_CHECKING:
    from ami_integration.simulator.office import Office

Script = Generator[float | None, None, None]
"""A call's course: it yields the seconds to wait, None for "until woken"."""


class HungUp(Exception):
    """Thrown into a call's script: one of its channels is asked to end."""

    def __init__(self, channel: Channel, cause: int, *, by_user: bool = False) -> None:
        super().__init__(channel.name)
        self.channel = channel
        self.cause = cause
        self.by_user = by_user


class Kicked(HungUp):
    """Thrown into a conference: the channel is sent away and goes on in the dialplan behind it."""


@dataclass(frozen=True)
class Place:
    """Where in the dialplan a channel is sent."""

    context: str
    exten: str
    priority: int


class Redirected(HungUp):
    """Thrown into a call's script: one of its channels is sent elsewhere; what it was in ends."""

    def __init__(self, channel: Channel, place: Place, resume: Callable[[Redirected], None]) -> None:
        """``resume``: lets a channel that has no dialplan of its own go on there."""
        super().__init__(channel, 0)
        self.place = place
        self._resume = resume
        self._told = False

    def go(self, call: Call) -> None:
        """Let the channel be there; once, however many of the script's parts see it pass."""
        if not self._told:
            self._told = True
            place = self.place
            call.office.switch.send_to(self.channel, place.context, place.exten, place.priority)

    def resume(self) -> None:
        """Let the channel go on there in a call of its own."""
        self._resume(self)


class Call:
    """A running script and the owner of its channels."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.script: Script | None = None
        self._turn = 0
        self._running = False
        self.listening = False
        """Whether a change of a channel ends the script's wait early."""
        self._hung_up: list[HungUp] = []

    def start(self, script: Script, delay: float = 0.0) -> None:
        """Give the call its script and let it begin."""
        self.script = script
        self.wake(delay)

    def wake(self, delay: float = 0.0) -> None:
        """Take the next step after ``delay`` seconds, whatever was planned before."""
        self._turn += 1
        self.office.plan(delay, self, self._turn)

    def step(self, turn: int) -> None:
        """Let the script run to its next wait, unless this turn was overtaken by another."""
        if turn != self._turn or self.script is None:
            return
        self._hung_up = [one for one in self._hung_up if not one.channel.gone]
        hung_up = self._hung_up.pop(0) if self._hung_up else None
        self._running = True
        try:
            if hung_up:
                wait = self.script.throw(hung_up)
            else:
                wait = next(self.script)
        except StopIteration:
            self.script = None
            return
        finally:
            self._running = False
        if self._hung_up:
            self.wake()
        elif wait is not None:
            self.wake(wait)

    def channel_changed(self, channel: Channel) -> None:
        """A channel that this call owns changed."""
        if self.listening and not self._running:
            self.wake()

    def hang_up_requested(self, channel: Channel, cause: int) -> None:
        """End a channel, as AMI's Hangup asks; takes effect at the script's next step."""
        self.interrupt(HungUp(channel, cause))

    def take_redirect(self, channel: Channel) -> Redirected | None:
        """The wish, not yet fulfilled, to have that channel elsewhere; it is as good as fulfilled then."""
        for hung_up in self._hung_up:
            if isinstance(hung_up, Redirected) and hung_up.channel is channel and not channel.gone:
                self._hung_up.remove(hung_up)
                return hung_up
        return None

    def interrupt(self, hung_up: HungUp) -> None:
        """Throw this into the script at its next step, unless the channel is asked for something already."""
        if hung_up.channel.gone or any(one.channel is hung_up.channel for one in self._hung_up):
            return
        self._hung_up.append(hung_up)
        if not self._running:
            self.wake()
