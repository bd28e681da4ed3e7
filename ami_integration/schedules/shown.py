"""The page of a schedule for somebody who may only look: words, and no numbers of seconds."""

from typing import Any

from django.contrib import admin

from ami_integration.schedules.durations import duration_words
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.timing_forms import moment_text


class ShownFields:
    """What the admin of schedules shows where nothing may be changed."""

    shown_fieldsets: Any = (
        (None, {"fields": ("name", "action", "headers_shown", "where", "order_shown", "timeout_shown")}),
        ("When", {"fields": ("timing", "first_and_last", "runs_at_most")}),
        ("Rules", {"fields": ("overlap", "misfire_shown", "grace_shown", "jitter_shown")}),
        ("Alerts", {"fields": ("failures_shown", "silent_shown", "late_shown")}),
    )

    @admin.display(description="headers")
    def headers_shown(self, schedule: Schedule) -> str:
        return schedule.text_for_eyes() or "none"

    @admin.display(description="first and last day")
    def first_and_last(self, schedule: Schedule) -> str:
        ends = (("not before", schedule.starts_at), ("not after", schedule.ends_at))
        told = [f"{word} {moment_text(moment, schedule.timezone)}" for word, moment in ends if moment]
        return ", ".join(told) or "no limit"

    @admin.display(description="order")
    def order_shown(self, schedule: Schedule) -> str:
        stop = f", stops after {schedule.stop_after} failed" if schedule.stop_after else ""
        return f"{schedule.get_mode_display()}, {schedule.limit} at once at most{stop}"

    @admin.display(description="time limit")
    def timeout_shown(self, schedule: Schedule) -> str:
        return f"{schedule.timeout:g} s" if schedule.timeout else "as for every action"

    @admin.display(description="runs at most")
    def runs_at_most(self, schedule: Schedule) -> str:
        return "no limit" if schedule.max_runs is None else f"{schedule.max_runs:,}"

    @admin.display(description="if amiweb was down")
    def misfire_shown(self, schedule: Schedule) -> str:
        limit = f": {schedule.misfire_limit}" if schedule.misfire == Schedule.Misfire.ALL else ""
        return f"{schedule.get_misfire_display()}{limit}"

    @admin.display(description="late by at most")
    def grace_shown(self, schedule: Schedule) -> str:
        return duration_words(schedule.grace_seconds)

    @admin.display(description="spread over")
    def jitter_shown(self, schedule: Schedule) -> str:
        return duration_words(schedule.jitter_seconds) if schedule.jitter_seconds else "all at once"

    @admin.display(description="failures in a row")
    def failures_shown(self, schedule: Schedule) -> str:
        return "no alert" if schedule.alert_failures is None else f"alert after {schedule.alert_failures}"

    @admin.display(description="nothing good for")
    def silent_shown(self, schedule: Schedule) -> str:
        return _alert_after(schedule.alert_silent_seconds)

    @admin.display(description="late by")
    def late_shown(self, schedule: Schedule) -> str:
        return _alert_after(schedule.alert_late_seconds)


def _alert_after(seconds: int | None) -> str:
    return "no alert" if seconds is None else f"alert after {duration_words(seconds)}"
