"""When an alert opens, and when it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from ami_integration.schedules.alerts import conditions, services
from ami_integration.schedules.alerts.models import Alert, AlertDelivery
from ami_integration.schedules.alerts.services import alerts_look, alerts_look_through
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.calendar import next_times
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.switch import SchedulesPause
from ami_integration.servers.models import Tag
from tests.actions.factories import make_run
from tests.schedules.alerts.factories import make_channel, make_watched

pytestmark = pytest.mark.django_db
NOW = timezone.now()
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that takes its time: on a busy machine it would leave its last kinds to the next one."""
    monkeypatch.setattr(services, "LOOK_SECONDS", 600.0)


def set_(schedule: Schedule, **values: Any) -> None:
    """What the tick and the services note, without an edit."""
    Schedule.objects.filter(pk=schedule.pk).update(**values)


def aged(schedule: Schedule, by: timedelta = 48 * HOUR) -> Schedule:
    """One that was made and edited long ago."""
    set_(schedule, created_at=NOW - by, updated_at=NOW - by)
    return schedule


def look(at: datetime = NOW) -> list[tuple[str, bool]]:
    """What is alerted about after a look: each kind, and whether it is over."""
    alerts_look(now=at)
    return [(alert.kind, alert.closed_at is not None) for alert in Alert.objects.order_by("pk")]


def planned(schedule: Schedule, at: datetime, **values: Any) -> PlannedRun:
    values = {"outcome": PlannedRun.Outcome.SUBMITTED, "created_at": at} | values
    return PlannedRun.objects.create(schedule=schedule, planned_at=at, **values)


def ended(schedule: Schedule, at: datetime, started: datetime, **values: Any) -> PlannedRun:
    values = {"result": "succeeded", "started_at": started, "finished_at": started} | values
    return planned(schedule, at, **values)


# Failing


def test_so_many_failures_in_a_row_open_one_alert_and_the_next_success_closes_it() -> None:
    channel = make_channel()
    schedule = make_watched(channel, alert_failures=3)
    set_(schedule, failures=2)
    assert look() == []
    set_(schedule, failures=3)
    assert look() == [("failing", False)]
    set_(schedule, failures=4)
    assert look() == [("failing", False)]
    set_(schedule, failures=0, last_good_at=NOW)
    assert look() == [("failing", True)]
    told = AlertDelivery.objects.order_by("pk").values_list("channel_name", "closing", "status")
    assert list(told) == [("On call", False, "waiting"), ("On call", True, "waiting")]
    alert = Alert.objects.get()
    assert alert.text == "It failed 3 times in a row. It has never succeeded."
    assert alert.closing_text.startswith("It succeeded at ")


def test_failures_alert_nobody_where_nobody_wants_it() -> None:
    set_(make_watched(alert_failures=None), failures=50)
    assert look() == []


def test_an_alert_without_a_channel_is_open_and_told_to_nobody() -> None:
    set_(make_watched(alert_failures=1), failures=1)
    assert look() == [("failing", False)]
    assert not AlertDelivery.objects.exists()


def test_a_disabled_channel_is_told_nothing() -> None:
    set_(make_watched(make_channel(enabled=False), alert_failures=1), failures=1)
    assert look() == [("failing", False)]
    assert not AlertDelivery.objects.exists()


def test_its_end_is_told_to_whom_its_beginning_was_told() -> None:
    one, other = make_channel(), make_channel(name="Other")
    schedule = make_watched(one, alert_failures=1)
    set_(schedule, failures=1)
    look()
    schedule.alert_channels.set([other])
    set_(schedule, failures=0, last_good_at=NOW)
    look()
    assert list(AlertDelivery.objects.filter(closing=True).values_list("channel", flat=True)) == [one.pk]


# With the schedule itself


def test_disabling_a_schedule_closes_its_alerts() -> None:
    schedule = make_watched(make_channel(), alert_failures=1)
    set_(schedule, failures=1, stopped_at=NOW, stopped_why="Its owner was deleted.")
    assert look() == [("stopped", False), ("failing", False)]
    set_(schedule, enabled=False)
    assert look() == [("stopped", True), ("failing", True)]
    assert {alert.closing_text for alert in Alert.objects.all()} == {"The schedule was disabled."}


def test_the_same_failures_are_told_once_however_often_it_is_disabled_and_resumed() -> None:
    schedule = aged(make_watched(make_channel(), alert_failures=3))
    set_(schedule, failures=3)
    assert look(NOW) == [("failing", False)]
    for number in range(1, 7):
        set_(schedule, enabled=not number % 2)
        look(NOW + timedelta(minutes=number))
    assert [alert.closing_text for alert in Alert.objects.all()] == ["The schedule was disabled."]
    ended(schedule, at := NOW + HOUR, at, result="failed")  # the next one fails, too
    set_(schedule, failures=4)
    assert look(NOW + HOUR) == [("failing", True), ("failing", False)]
    assert Alert.objects.latest("pk").text.startswith("It failed 4 times in a row.")


def test_failures_after_a_success_are_others_even_if_they_were_planned_before_the_alert_was_over() -> None:
    schedule = aged(make_watched(alert_failures=1))
    set_(schedule, failures=1)
    look(NOW)
    set_(schedule, failures=0, last_good_at=NOW + timedelta(seconds=5))
    assert look(NOW + timedelta(seconds=10)) == [("failing", True)]
    ended(schedule, NOW + timedelta(seconds=9), NOW + timedelta(seconds=20), result="failed")
    set_(schedule, failures=1)
    assert look(NOW + timedelta(seconds=30)) == [("failing", True), ("failing", False)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"alert_failures": 5}, "It was edited: it failed 3 times in a row, and alerts after 5."),
        ({"alert_failures": None}, "Nobody wants to know any more how often it fails."),
        # A success and a failure between two looks.
        ({"failures": 1, "last_good_at": NOW + HOUR}, "It succeeded at "),
    ],
)
def test_why_it_fails_no_more_is_told(values: dict[str, Any], words: str) -> None:
    schedule = aged(make_watched(alert_failures=3))
    set_(schedule, failures=3, last_good_at=NOW - HOUR)
    look()
    set_(schedule, **values)
    assert look(NOW + HOUR) == [("failing", True)]
    assert Alert.objects.get().closing_text.startswith(words)


def test_what_failed_as_the_last_time_stays_open_until_it_succeeds_by_hand() -> None:
    schedule = aged(make_watched(alert_failures=1))
    ended(schedule, NOW - HOUR, NOW - HOUR, result="failed")
    set_(schedule, failures=1, next_at=None)
    assert look() == [("failing", False)]
    assert look(NOW + 999 * HOUR) == [("failing", False)]
    set_(schedule, failures=0, last_good_at=NOW + HOUR)
    assert look() == [("failing", True)]


@pytest.mark.parametrize("kind", ["failing", "late"])
def test_what_the_history_has_forgotten_is_no_alert_of_a_schedule_that_has_ended(kind: str) -> None:
    schedule = aged(make_watched(alert_failures=1, alert_late_seconds=60))
    at = NOW - timedelta(minutes=5)
    if kind == "failing":
        planned(schedule, at, outcome="refused")
        set_(schedule, failures=1, next_at=None)
    else:
        planned(schedule, at, outcome="misfired", created_at=NOW)
        set_(schedule, next_at=None)
    assert look() == [(kind, False)]
    schedule.planned_runs.all().delete()
    assert look() == [(kind, True)]
    assert Alert.objects.get().closing_text.endswith("The history has forgotten what this was about.")


def test_deleting_a_schedule_closes_its_alerts_and_they_keep_its_name() -> None:
    schedule = make_watched(make_channel(), alert_failures=1)
    set_(schedule, failures=1)
    look()
    schedule.delete()
    assert look() == [("failing", True)]
    alert = Alert.objects.get()
    assert (alert.schedule_name, alert.closing_text) == ("Nightly", "The schedule was deleted.")
    assert alert.deliveries.filter(closing=True).count() == 1


def test_a_stopped_schedule_is_told_with_the_reason_until_somebody_takes_it_over() -> None:
    schedule = make_watched(make_channel(), alert_failures=None)
    set_(schedule, stopped_at=NOW, stopped_why="Its owner was deleted.", next_at=None)
    assert look() == [("stopped", False)]
    assert Alert.objects.get().text.endswith("Its owner was deleted.")
    set_(schedule, stopped_at=None, stopped_why="", next_at=NOW)
    assert look() == [("stopped", True)]


# Silent


def test_a_schedule_without_a_success_for_too_long_is_told_once() -> None:
    schedule = aged(make_watched(make_channel(), alert_silent_seconds=3600))
    set_(schedule, last_good_at=NOW - HOUR + timedelta(seconds=5))
    assert look() == []
    assert look(NOW + timedelta(seconds=6)) == [("silent", False)]
    assert look(NOW + HOUR) == [("silent", False)]
    set_(schedule, last_good_at=NOW + HOUR)
    assert look(NOW + HOUR) == [("silent", True)]


def test_a_new_schedule_has_its_time_to_succeed_once() -> None:
    schedule = make_watched(make_channel(), alert_silent_seconds=3600)
    made = Schedule.objects.get(pk=schedule.pk).created_at
    assert look(made + timedelta(minutes=59)) == []
    assert look(made + timedelta(minutes=61)) == [("silent", False)]
    assert Alert.objects.get().text == "Nothing has succeeded yet. It should once in 1 h at least."


@pytest.mark.parametrize("field", ["updated_at", "starts_at"])
def test_silence_is_counted_from_when_it_could_have_run(field: str) -> None:
    schedule = aged(make_watched(alert_silent_seconds=3600))
    set_(schedule, last_good_at=NOW - 40 * HOUR)
    set_(schedule, **{field: NOW - timedelta(minutes=30)})  # it was resumed, or began only then
    assert look() == []
    assert look(NOW + timedelta(minutes=31)) == [("silent", False)]


def test_a_pause_of_all_schedules_is_no_silence() -> None:
    aged(make_watched(alert_silent_seconds=3600))
    pause = SchedulesPause.objects.create(paused=True, turned_at=NOW - 2 * HOUR)
    assert look() == []
    SchedulesPause.objects.filter(pk=pause.pk).update(paused=False, turned_at=NOW)
    assert look() == []
    assert look(NOW + HOUR) == [("silent", False)]


@pytest.mark.parametrize(
    "values", [{"enabled": False}, {"next_at": None}, {"next_at": None, "stopped_at": NOW}]
)
def test_what_is_disabled_stopped_or_has_ended_is_not_silent(values: dict[str, Any]) -> None:
    set_(aged(make_watched(alert_silent_seconds=3600)), **values)
    assert ("silent", False) not in look()


def test_silence_is_over_when_the_schedule_has_no_time_left() -> None:
    schedule = aged(make_watched(alert_silent_seconds=3600))
    assert look() == [("silent", False)]
    set_(schedule, next_at=None)
    assert look() == [("silent", True)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"last_good_at": NOW}, "It succeeded at "),
        ({"alert_silent_seconds": 10 * 3600}, "It was edited: it should succeed once in 10 h."),
        ({"alert_silent_seconds": None}, "Nobody wants to know any more how long nothing ran."),
    ],
)
def test_why_it_is_not_silent_any_more_is_told(values: dict[str, Any], words: str) -> None:
    schedule = aged(make_watched(alert_silent_seconds=3600))
    set_(schedule, last_good_at=NOW - 2 * HOUR)
    assert look() == [("silent", False)]
    set_(schedule, **values)
    assert look(NOW + timedelta(seconds=1)) == [("silent", True)]
    assert Alert.objects.get().closing_text.startswith(words)


# Late


def test_a_run_that_began_late_is_told_and_over_with_the_next_that_begins_in_time() -> None:
    schedule = aged(make_watched(make_channel(), alert_late_seconds=60))
    ended(schedule, NOW - timedelta(minutes=5), NOW - timedelta(minutes=4, seconds=1))
    assert look() == []
    ended(schedule, NOW - timedelta(minutes=3), NOW - timedelta(minutes=1, seconds=59))
    assert look() == [("late", False)]
    assert "began only at" in Alert.objects.get().text
    assert look() == [("late", False)]
    ended(schedule, NOW - timedelta(seconds=50), NOW - timedelta(seconds=49))
    assert look() == [("late", True)]
    assert look() == [("late", True)]  # what was late is told once


def test_a_run_that_has_not_begun_is_late_too() -> None:
    schedule = aged(make_watched(alert_late_seconds=60))
    run = make_run(server=schedule.servers.get())
    planned(schedule, NOW - timedelta(seconds=59), run=run)
    assert look() == []
    assert look(NOW + timedelta(seconds=2)) == [("late", False)]
    assert "has not begun" in Alert.objects.get().text


def test_a_run_that_began_in_time_and_goes_on_for_long_is_not_late() -> None:
    schedule = aged(make_watched(alert_late_seconds=60))
    at = NOW - 3 * HOUR
    run = make_run(server=schedule.servers.get(), status="running", started_at=at + timedelta(seconds=3))
    planned(schedule, at, run=run)
    assert look() == []


def test_a_planned_time_that_waits_for_the_one_before_is_late() -> None:
    schedule = aged(make_watched(alert_late_seconds=60))
    planned(schedule, NOW - timedelta(seconds=61), outcome=PlannedRun.Outcome.WAITING)
    assert look() == [("late", False)]


def test_what_was_missed_while_the_clock_was_late_is_told() -> None:
    schedule = aged(make_watched(alert_late_seconds=60))
    at = NOW - 10 * HOUR
    planned(schedule, at, outcome=PlannedRun.Outcome.MISFIRED, created_at=NOW)
    assert look() == [("late", False)]


def test_the_spread_over_the_servers_is_no_lateness() -> None:
    schedule = aged(make_watched(alert_late_seconds=60, jitter_seconds=600))
    ended(schedule, NOW - timedelta(minutes=10), NOW - timedelta(seconds=1))
    assert look() == []


@pytest.mark.parametrize("outcome", ["skipped", "blackout", "paused", "refused"])
def test_what_was_left_out_on_purpose_is_not_late(outcome: str) -> None:
    schedule = aged(make_watched(alert_late_seconds=60))
    planned(schedule, NOW - HOUR, outcome=outcome, created_at=NOW)
    assert look() == []


def test_what_was_cancelled_before_it_began_is_not_late_and_what_expired_is() -> None:
    schedule = aged(make_watched(alert_late_seconds=60))
    at = NOW - timedelta(minutes=9)
    planned(schedule, at, result="cancelled", finished_at=NOW)
    assert look() == []
    planned(schedule, at + timedelta(seconds=1), result="expired", finished_at=NOW)
    assert look() == [("late", False)]


def test_what_ran_by_hand_is_never_late() -> None:
    schedule = aged(make_watched(alert_late_seconds=60))
    ended(schedule, NOW - timedelta(minutes=5), NOW, by_hand="ada")
    assert look() == []


def test_what_was_planned_before_an_edit_is_not_told() -> None:
    schedule = make_watched(alert_late_seconds=60)
    set_(schedule, updated_at=NOW - timedelta(minutes=1))
    ended(schedule, NOW - timedelta(minutes=5), NOW - timedelta(minutes=1))
    assert look() == []


def test_lateness_of_the_last_planned_time_is_over_when_that_has_ended() -> None:
    schedule = aged(make_watched(make_channel(), alert_late_seconds=60))
    at = NOW - timedelta(minutes=5)
    run = make_run(server=schedule.servers.get())
    row = planned(schedule, at, run=run)
    set_(schedule, next_at=None)
    assert look() == [("late", False)]
    assert look() == [("late", False)]  # it has still not begun
    PlannedRun.objects.filter(pk=row.pk).update(result="succeeded", started_at=NOW, finished_at=NOW)
    assert look() == [("late", True)]
    assert Alert.objects.get().closing_text.endswith("has ended, and no planned time is left.")
    assert look(NOW + HOUR) == [("late", True)]


def test_lateness_of_a_last_planned_time_that_was_left_out_after_all_is_over() -> None:
    schedule = aged(make_watched(alert_late_seconds=60))
    row = planned(schedule, NOW - timedelta(minutes=5), outcome="waiting")
    set_(schedule, next_at=None)
    assert look() == [("late", False)]
    PlannedRun.objects.filter(pk=row.pk).update(outcome="skipped")
    assert look() == [("late", True)]
    assert Alert.objects.get().closing_text == "It has ended: no planned time is left."


def test_a_last_planned_time_that_was_missed_for_good_stays_open_until_somebody_runs_it() -> None:
    schedule = aged(make_watched(alert_late_seconds=60))
    planned(schedule, NOW - HOUR, outcome="misfired", created_at=NOW)
    set_(schedule, next_at=None, last_good_at=NOW - 9 * HOUR)
    assert look() == [("late", False)]
    assert look(NOW + HOUR) == [("late", False)]
    set_(schedule, last_good_at=NOW + 2 * HOUR)
    assert look(NOW + 3 * HOUR) == [("late", True)]
    assert Alert.objects.get().closing_text.startswith("It succeeded at ")


def test_a_stopped_schedule_has_not_ended() -> None:
    schedule = aged(make_watched(alert_late_seconds=60, alert_silent_seconds=60, alert_failures=1))
    ended(schedule, NOW - timedelta(minutes=5), NOW, result="failed")
    set_(schedule, failures=1)
    kinds = {(kind, False) for kind in ("late", "silent", "failing")}
    assert set(look()) == kinds
    set_(schedule, next_at=None, stopped_at=NOW, stopped_why="Its owner was deleted.")
    assert set(look()) == kinds | {("stopped", False)}


# Many


def test_a_second_look_at_the_same_moment_adds_nothing() -> None:
    set_(make_watched(make_channel(), alert_failures=1), failures=1)
    found = list(conditions.findings(now=NOW, punctuality={}))
    assert alerts_look(now=NOW) == 1

    for some in found:  # what another tick saw before this one wrote
        services._open(some, NOW)
    assert Alert.objects.count() == AlertDelivery.objects.count() == 1


def test_a_look_is_bounded_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "MOST", 2)
    for number in range(5):
        set_(make_watched(name=f"Nightly {number}", alert_failures=1), failures=1)
    assert [alerts_look(now=NOW) for _ in range(4)] == [2, 2, 1, 0]
    Schedule.objects.update(failures=0, last_good_at=NOW)
    assert [alerts_look(now=NOW) for _ in range(4)] == [2, 2, 1, 0]
    Schedule.objects.update(failures=2, last_good_at=NOW + HOUR)
    assert alerts_look_through(now=NOW + HOUR) == 5  # the listener has the time


def test_the_number_of_queries_does_not_grow_with_the_schedules(
    django_assert_max_num_queries: Any,
) -> None:
    channel = make_channel()
    for number in range(30):
        schedule = aged(
            make_watched(
                channel,
                name=f"Nightly {number}",
                alert_failures=1,
                alert_silent_seconds=60,
                alert_late_seconds=60,
            )
        )
        set_(schedule, failures=1)
        planned(schedule, NOW - timedelta(minutes=5))
    with django_assert_max_num_queries(50):
        assert alerts_look(now=NOW) == 90
    Schedule.objects.update(failures=0, last_good_at=NOW)
    with django_assert_max_num_queries(35):
        assert alerts_look(now=NOW) == 60


# The clocks change


def test_in_the_hour_that_comes_twice_a_crontab_is_silent_by_the_letter_and_not_late() -> None:
    schedule = aged(
        make_watched(
            kind="crontab",
            interval_seconds=None,
            crontab="*/15 * * * *",
            timezone="Europe/Berlin",
            alert_late_seconds=60,
            alert_silent_seconds=45 * 60,
        )
    )
    # In Berlin 02:45 comes at 00:45 UTC, and once more an hour later.
    last = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    (following,) = next_times(timing=schedule, after=last, count=1)
    assert following == datetime(2026, 10, 25, 2, 0, tzinfo=UTC)
    set_(schedule, created_at=last - HOUR, updated_at=last - HOUR, last_good_at=last, next_at=following)
    ended(schedule, last, last)
    assert look(last + timedelta(minutes=44)) == []
    assert look(last + timedelta(minutes=46)) == [("silent", False)]
    ended(schedule, following, following)
    set_(schedule, last_good_at=following, next_at=following + timedelta(minutes=15))
    assert look(following + timedelta(seconds=1)) == [("silent", True)]


# Blackouts, and a clock that is away


def blackout(name: str, since: datetime, until: datetime, **values: Any) -> Blackout:
    return Blackout.objects.create(name=name, starts_at=since, ends_at=until, **values)


def test_time_in_a_blackout_of_the_whole_schedule_is_no_silence() -> None:
    schedule = aged(make_watched(alert_silent_seconds=3600))
    set_(schedule, last_good_at=NOW - 9 * HOUR)
    blackout("Night", NOW - 8 * HOUR, NOW + HOUR)
    assert look(NOW) == []
    assert look(NOW + HOUR + timedelta(minutes=59)) == []
    assert look(NOW + 2 * HOUR) == [("silent", False)]


def test_a_blackout_of_another_schedule_or_of_some_servers_hides_no_silence() -> None:
    schedule = aged(make_watched(alert_silent_seconds=3600))
    set_(schedule, last_good_at=NOW - 9 * HOUR)
    north = Tag.objects.create(name="north")
    blackout("Others", NOW - 8 * HOUR, NOW + HOUR, scope="some")
    blackout("North", NOW - 8 * HOUR, NOW + HOUR, tag=north)
    assert look(NOW) == [("silent", False)]


def test_a_blackout_of_the_tag_of_all_its_servers_is_no_silence() -> None:
    schedule = aged(make_watched(alert_silent_seconds=3600))
    set_(schedule, last_good_at=NOW - 9 * HOUR)
    north = Tag.objects.create(name="north")
    for server in schedule.servers.all():
        server.tags.add(north)
    blackout("North", NOW - 8 * HOUR, NOW + HOUR, tag=north)
    assert look(NOW) == []


def test_windows_after_it_could_run_again_only_stop_the_count() -> None:
    schedule = aged(make_watched(alert_silent_seconds=5 * 3600))
    set_(schedule, last_good_at=NOW - 20 * HOUR)
    blackout("One", NOW - 19 * HOUR, NOW - 15 * HOUR)
    planned(schedule, NOW - 18 * HOUR, outcome=PlannedRun.Outcome.BLACKOUT)
    planned(schedule, NOW - 14 * HOUR, result="failed")
    blackout("Two", NOW - 11 * HOUR, NOW)
    assert look(NOW) == []  # four hours that count
    assert look(NOW + timedelta(minutes=59)) == []
    assert look(NOW + HOUR) == [("silent", False)]


def test_what_nobody_takes_is_late_and_over_once_a_later_one_begins_in_time() -> None:
    schedule = aged(make_watched(make_channel(), alert_late_seconds=60, jitter_seconds=30))
    set_(schedule, next_at=NOW - timedelta(seconds=90))
    assert look(NOW) == []
    assert look(NOW + timedelta(seconds=1)) == [("late", False)]
    assert "has not begun" in Alert.objects.get().text
    set_(schedule, next_at=NOW + HOUR)
    at = NOW + timedelta(seconds=10)
    ended(schedule, at, at)
    assert look(NOW + timedelta(seconds=20)) == [("late", True)]


def test_what_is_paused_or_in_a_blackout_is_not_late_when_nobody_takes_it() -> None:
    schedule = aged(make_watched(alert_late_seconds=60))
    set_(schedule, next_at=NOW - HOUR)
    pause = SchedulesPause.objects.create(paused=True, username="ada", turned_at=NOW - 2 * HOUR)
    assert look(NOW) == []
    pause.turn(paused=False, username="ada", reason="", now=NOW)
    pause.save()
    assert look(NOW + timedelta(minutes=5)) == []  # the next tick notes it as paused
    pause.past = []
    pause.save()
    window = blackout("Move", NOW - 2 * HOUR, NOW + HOUR)
    assert look(NOW) == []
    window.delete()
    assert look(NOW) == [("late", False)]
