"""Hidden values of schedules go where they were meant, whoever edits, takes over or copies them."""

from __future__ import annotations

import pytest

from ami_integration.access.masking import MASK
from ami_integration.actions.models import ActionRun
from ami_integration.schedules import services
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Tag
from tests.schedules.asking import ADD, change, errors_of, form, signed_in
from tests.schedules.factories import make_planner, make_schedule, server_of
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
TEXT = f"Queue: sales\nSecret: {MASK}"
SECRETS = [("Queue", "sales"), ("Secret", "hunter2")]


def adas_schedule(**values: object) -> Schedule:
    ada = make_planner()
    return make_schedule(
        **{"owner": ada, "action": "QueueReset", "headers": SECRETS, "hidden_by": ada} | values
    )


def test_a_hidden_value_for_named_servers_is_not_lent_to_a_tag_that_others_may_join() -> None:
    schedule = adas_schedule()
    eu = Tag.objects.create(name="eu")
    server_of(schedule).tags.add(eu)  # today the tag means the same server
    answer = signed_in(make_planner("bob")).post(change(schedule), form(headers=TEXT, tag="eu"))
    assert "Write the value anew" in errors_of(answer)["headers"][0]
    assert Schedule.objects.get().tag is None
    # Who wrote it decides where it goes.
    assert signed_in(schedule.owner).post(change(schedule), form(headers=TEXT, tag="eu")).status_code == 302
    assert Schedule.objects.get().headers_in_clear() == SECRETS


def test_a_hidden_value_for_a_tag_is_not_lent_to_another_tag_and_stays_with_its_own() -> None:
    eu, north = Tag.objects.create(name="eu"), Tag.objects.create(name="north")
    berlin = make_server()
    berlin.tags.set([eu, north])
    schedule = adas_schedule(tag=eu)
    bob = make_planner("bob")
    assert "headers" in errors_of(signed_in(bob).post(change(schedule), form(headers=TEXT, tag="north")))
    assert signed_in(bob).post(change(schedule), form(headers=TEXT, tag="eu")).status_code == 302
    after = Schedule.objects.get()
    assert (after.owner, after.hidden_by, after.headers_in_clear()) == (bob, schedule.owner, SECRETS)
    # Fewer servers than it was meant for are none that it wasn't meant for.
    narrowed = signed_in(bob).post(change(schedule), form(headers=TEXT, server=berlin.pk))
    assert narrowed.status_code == 302


def test_a_copy_lends_no_hidden_value_to_another_tag_either() -> None:
    schedule = adas_schedule()
    server_of(schedule).tags.add(Tag.objects.create(name="eu"))
    client = signed_in(make_planner("bob"))
    page = client.get(ADD, {"copy": schedule.pk})
    kept = page.context["adminform"].form.initial["kept"]
    values = form(name="Copy", headers=TEXT, kept=kept)
    assert "headers" in errors_of(client.post(ADD, values | {"tag": "eu"}))
    assert client.post(ADD, values | {"server": server_of(schedule).pk}).status_code == 302


def test_whoever_takes_over_or_runs_by_hand_sends_what_is_hidden_and_does_not_see_it() -> None:
    schedule = adas_schedule()
    bob = make_planner("bob")
    services.schedule_take_over(user=bob, schedule=schedule)
    page = signed_in(bob).get(change(schedule)).content.decode()
    assert MASK in page
    assert "hunter2" not in page
    taken = Schedule.objects.get()
    services.schedule_run_now(user=bob, schedule=taken)
    run = ActionRun.objects.get()
    assert (run.headers_in_clear(), run.hidden_by, taken.hidden_by) == (
        SECRETS,
        schedule.owner,
        schedule.owner,
    )
    # It is still not bob's: beside it he may change nothing.
    answer = signed_in(bob).post(
        change(schedule), form(headers=f"Queue: all\nSecret: {MASK}", server=server_of(schedule).pk)
    )
    assert "Somebody else wrote the hidden value" in errors_of(answer)["headers"][0]
