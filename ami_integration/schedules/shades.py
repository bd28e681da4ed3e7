"""The blackouts of a week, as the calendar draws them: of what the person may see, no others."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from ami_integration.access.services import AnyUser, tags_visible
from ami_integration.schedules import blackouts
from ami_integration.schedules.questions import Question
from ami_integration.schedules.slots import Day


@dataclass(frozen=True)
class Shade:
    """A blackout on one day, with its times on the clocks."""

    name: str
    what: str
    times: str


def windows_seen(user: AnyUser, question: Question) -> list[blackouts.Window]:
    """The blackouts of the week that are about something that this person may see."""
    last = question.week.until - timedelta(microseconds=1)
    found = blackouts.blackouts_between(question.week.since, last)
    tags = {window.blackout.tag_id for window in found} - {None}
    seen_tags = (
        set(tags_visible(user=user).filter(pk__in=tags).values_list("pk", flat=True)) if tags else set()
    )
    chosen = {pk for window in found for pk in window.blackout.about or ()}
    visible = question.schedules(user).filter(pk__in=chosen).values_list("pk", flat=True)
    seen_schedules = set(visible) if chosen else set()

    def seen(blackout: blackouts.Blackout) -> bool:
        about = blackout.about
        return (blackout.tag_id is None or blackout.tag_id in seen_tags) and (
            about is None or not seen_schedules.isdisjoint(about)
        )

    return [window for window in found if seen(window.blackout)]


def touches(window: blackouts.Window, since: int, until: int) -> bool:
    """Whether it holds somewhere between two moments (seconds since 1970)."""
    return window.starts_at.timestamp() < until and window.ends_at.timestamp() > since


def shades_of(question: Question, day: Day, windows: Iterable[blackouts.Window]) -> list[Shade]:
    """What holds on a day, with its times on the clocks of the page."""
    shown = []
    for window in windows:
        if not touches(window, day.since, day.until):
            continue
        since, until = window.starts_at.timestamp(), window.ends_at.timestamp()
        begins = "00:00" if since <= day.since else f"{question.local(since):%H:%M}"
        ends = "24:00" if until >= day.until else f"{question.local(until):%H:%M}"
        blackout = window.blackout
        chosen = blackout.about
        about = [f"tag {blackout.tag}"] if blackout.tag is not None else []
        if chosen is not None:
            about.append(f"{len(chosen)} schedule{'' if len(chosen) == 1 else 's'}")
        times = "all day" if (begins, ends) == ("00:00", "24:00") else f"{begins}–{ends}"
        shown.append(Shade(blackout.name, ", ".join(about) or "everything", times))
    return shown
