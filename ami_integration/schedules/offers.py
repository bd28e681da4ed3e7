"""What a schedule's page offers this person: the button that helps first, and none that would be refused.

Only "Run now" is shown where it is refused, with the reason, since people look for it. All of this is a
courtesy of the page: the services ask again, under their locks, and what they say counts.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ami_integration.actions.services import RunRefused
from ami_integration.schedules.blackouts import blackout_for
from ami_integration.schedules.calendar import BadTiming, first_time
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.pausing import pause_sentence, schedules_paused
from ami_integration.schedules.rights import servers_unseen, stored_ask
from ami_integration.schedules.states import State, state_of
from ami_integration.schedules.targets import Targets, schedule_servers
from ami_integration.secrets.encryption import SecretUnreadable

#: The errors that a service answers a person with.
REFUSALS = (RunRefused, BadTiming, SecretUnreadable)


@dataclass(frozen=True)
class Place:
    """Where a schedule would run now with a person's rights.

    Attributes:
        targets: None: nobody can say.
        error: why it can't run there, a sentence; "": it can.
    """

    targets: Targets | None = None
    error: str = ""


@dataclass(frozen=True)
class Offers:
    """The buttons of one schedule for one person.

    Attributes:
        first: the name of the one that helps most.
        names: the others, in their order.
        no_run: why it can't be run now, a sentence; "": it can.
        no_more: why neither Resume nor Take over is offered where one of them is needed, a sentence; or "".
    """

    first: str
    names: list[str] = field(default_factory=list)
    no_run: str = ""
    no_more: str = ""


def place_now(*, user: Any, schedule: Schedule, whole: bool = False) -> Place:
    """Where it would run with this person's rights; nothing is audited, since nothing is attempted.

    Args:
        whole: of a tag, all of its servers are asked about, as for whoever becomes the owner.
    """
    targets = None
    try:
        if servers_unseen(user=user, schedule=schedule):
            raise RunRefused("It also runs on servers that you don't see.")
        targets = schedule_servers(schedule=schedule, user=user)
        stored_ask(user=user, schedule=schedule, whole=whole)
    except REFUSALS as refused:
        return Place(targets, str(refused))
    return Place(targets, "" if targets.servers else targets.reason or targets.stops)


def run_held(*, schedule: Schedule, place: Place, now: datetime) -> str:
    """What keeps it from being run by hand at a moment, whoever does it, a sentence; or ""."""
    if (pause := schedules_paused()) is not None:
        return pause_sentence(pause)
    if place.targets is None:
        return ""
    held = blackout_for(schedule=schedule, at=now, servers=place.targets.servers)
    return (held.whole or next(iter(held.servers.values()))).sentence if held else ""


def offers(*, user: Any, schedule: Schedule, now: datetime) -> Offers:
    """The buttons for somebody who may change schedules and run actions."""
    state, mine = state_of(schedule), schedule.owner_id == user.pk
    place = place_now(user=user, schedule=schedule)
    no_run = run_held(schedule=schedule, place=place, now=now) or place.error

    def refused(*, whole: bool) -> str:
        # Whoever may run it now was asked about that already, all of a tag's servers aside.
        return _refused(user, schedule, whole=whole) if whole or place.error else ""

    rights = refused(whole=not mine) if state == State.STOPPED or not mine else ""
    take_over = [] if rights else ["take_over"]
    if state == State.STOPPED:
        if rights:
            return Offers("run_now", [], no_run, rights)
        return Offers("take_over", ["run_now"], no_run)
    others = [] if mine else take_over
    if state != State.PAUSED:
        return Offers("run_now", [*(["pause"] if state == State.RUNS else []), *others], no_run)
    if no_more := rights or refused(whole=False) or _over(schedule, now):
        return Offers("run_now", others, no_run, no_more)
    return Offers("resume", ["run_now", *others], no_run)


def _refused(user: Any, schedule: Schedule, *, whole: bool) -> str:
    """Why this person may not have it run by itself, a sentence; or ""."""
    try:
        stored_ask(user=user, schedule=schedule, whole=whole)
    except REFUSALS as refused:
        return str(refused)
    return ""


def _over(schedule: Schedule, now: datetime) -> str:
    """Why no time of its calendar is left, a sentence; or ""."""
    try:
        first_time(timing=schedule, now=now)
    except BadTiming as error:
        return str(error)
    return ""
