"""On which servers a schedule runs when it is due; who sees a schedule; the zone that its servers share."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ami_integration.access.danger import Danger
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.calendar import BadTiming
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.targets import Targets, schedule_servers, schedule_zone, targets_audit
from ami_integration.servers.models import Server, Tag
from tests.access.factories import grant, make_person
from tests.actions.factories import make_user
from tests.schedules.factories import make_planner, make_schedule
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


def names(targets: Targets) -> list[str]:
    return [server.name for server in targets.servers]


def tagged(tag: Tag, name: str, **values: object) -> Server:
    server = make_server(name=name, **values)
    server.tags.add(tag)
    return server


def person_on(username: str, *servers: Server | Tag) -> User:
    person = make_person(username)
    for server in servers:
        grant(person, on=server)
    return person


# -- where


def test_named_servers_are_those_that_run_it_in_the_order_of_their_names() -> None:
    schedule = make_schedule(servers=[make_server(name="Paris"), make_server()])
    targets = schedule_servers(schedule=schedule, user=schedule.owner)
    assert (names(targets), targets.reason, targets.stops) == (["Berlin", "Paris"], "", "")


def test_a_tag_is_looked_up_each_time() -> None:
    tag = Tag.objects.create(name="eu")
    tagged(tag, "Berlin")
    schedule = make_schedule(tag=tag)
    assert names(schedule_servers(schedule=schedule, user=schedule.owner)) == ["Berlin"]
    paris = tagged(tag, "Paris")
    assert names(schedule_servers(schedule=schedule, user=schedule.owner)) == ["Berlin", "Paris"]
    paris.tags.clear()
    tagged(tag, "Rome", enabled=False)
    assert names(schedule_servers(schedule=schedule, user=schedule.owner)) == ["Berlin"]


def test_of_a_tag_what_the_owner_does_not_see_is_not_even_named() -> None:
    tag = Tag.objects.create(name="eu")
    berlin, _ = tagged(tag, "Berlin"), tagged(tag, "Secret site")
    schedule = make_schedule(tag=tag, owner=person_on("ada", berlin))
    targets = schedule_servers(schedule=schedule, user=schedule.owner)
    assert (names(targets), targets.left_out) == (["Berlin"], [])


def test_what_is_disabled_switched_off_or_forbidden_is_left_out_with_a_sentence() -> None:
    berlin, rome = make_server(), make_server(name="Rome", enabled=False)
    paris, oslo = make_server(name="Paris", maintenance=True), make_server(name="Oslo")
    owner = person_on("ada", berlin, rome, paris)
    grant(owner, Danger.READ, on=oslo)
    schedule = make_schedule(servers=[berlin, rome, paris, oslo], action="QueueReset", owner=owner)
    targets = schedule_servers(schedule=schedule, user=owner)
    assert names(targets) == ["Berlin"]
    why = dict(targets.left_out)
    assert "No access rule lets ada run QueueReset" in why["Oslo"]
    assert "Paris is in maintenance" in why["Paris"]
    assert why["Rome"] == "Rome is disabled."
    assert all(sentence in targets.reason for sentence in why.values())
    assert [server.name for server in targets.refused] == ["Oslo", "Paris"]
    assert (targets.forbidden, targets.stops) == (1, "")
    targets_audit(schedule=schedule, user=owner, targets=targets)
    entries = AuditEntry.objects.filter(verb="run.submit", outcome="refused", origin="schedule")
    assert set(entries.values_list("object_name", flat=True)) == {"Oslo", "Paris"}


@pytest.mark.parametrize("switch", ["maintenance", "read_only"])
def test_a_switch_on_all_servers_leaves_it_out_this_time_and_stops_nothing(switch: str) -> None:
    schedule = make_schedule(server=make_server(**{switch: True}), action="QueueReset")
    targets = schedule_servers(schedule=schedule, user=schedule.owner)
    assert (targets.servers, targets.stops, targets.forbidden) == ([], "", 0)
    assert "Berlin is" in targets.reason


def test_a_disabled_server_stops_nothing() -> None:
    schedule = make_schedule(server=make_server(enabled=False))
    targets = schedule_servers(schedule=schedule, user=schedule.owner)
    assert (targets.servers, targets.reason, targets.stops) == ([], "Berlin is disabled.", "")


def test_an_owner_who_is_refused_everywhere_stops_it() -> None:
    berlin, paris = make_server(), make_server(name="Paris", enabled=False)
    owner = make_person("ada")
    grant(owner, Danger.READ)
    one = make_schedule(server=berlin, action="Originate", owner=owner)
    # Who reads it may not see the servers that the owner saw, so it names none, not even a single one.
    alone = schedule_servers(schedule=one, user=owner)
    assert alone.stops.startswith("ada may run Originate on none of its servers any more")
    assert "Berlin" not in alone.stops
    assert "No access rule lets ada run Originate" in alone.reason
    several = make_schedule(name="Both", servers=[berlin, paris], action="Originate", owner=owner)
    stops = schedule_servers(schedule=several, user=owner).stops
    assert "ada may run Originate on none of its servers any more" in stops
    assert "Paris" not in stops


@pytest.mark.parametrize(
    ("lose", "words"),
    [
        (lambda owner: owner.user_permissions.clear(), "may not run actions"),
        (lambda owner: type(owner).objects.update(is_active=False), "is not active"),
        (lambda owner: owner.delete(), "was deleted"),
    ],
    ids=["right withdrawn", "inactive", "gone"],
)
def test_an_owner_who_may_not_run_or_is_gone_stops_it(lose: object, words: str) -> None:
    schedule = make_schedule()
    lose(schedule.owner)  # type: ignore[operator]
    stored = Schedule.objects.select_related("owner").get(pk=schedule.pk)
    targets = schedule_servers(schedule=stored, user=stored.owner)
    assert targets.servers == []
    assert f"rights of ada, who {words}" in targets.stops
    assert "take it over" in targets.stops


def test_a_tag_that_no_server_has_stops_nothing_and_one_that_the_owner_lost_does() -> None:
    tag = Tag.objects.create(name="eu")
    schedule = make_schedule(tag=tag, owner=make_person("ada"))
    empty = schedule_servers(schedule=schedule, user=schedule.owner)
    assert (empty.servers, empty.reason, empty.stops) == ([], "No enabled server has the tag eu.", "")
    tagged(tag, "Berlin")
    assert (
        "ada sees no enabled server with the tag eu"
        in schedule_servers(schedule=schedule, user=schedule.owner).stops
    )


def test_a_schedule_whose_servers_were_deleted_says_so() -> None:
    schedule = make_schedule()
    Server.objects.all().delete()
    targets = schedule_servers(schedule=schedule, user=schedule.owner)
    assert (targets.servers, targets.stops) == ([], "")
    assert "what it named was deleted" in targets.reason


def test_the_number_of_queries_does_not_grow_with_the_servers() -> None:
    def queries(schedule: Schedule) -> int:
        stored = Schedule.objects.select_related("owner", "tag").get(pk=schedule.pk)
        with CaptureQueriesContext(
            connection,
        ) as asked:
            schedule_servers(schedule=stored, user=User.objects.get(pk=stored.owner_id))
        return len(asked)

    owner = make_planner()
    one = make_schedule(owner=owner)
    many = make_schedule(
        name="Many", owner=owner, servers=[make_server(name=f"Number {number}") for number in range(10)]
    )
    assert queries(one) == queries(many)


# -- the time zone


def test_servers_that_share_a_zone_lend_it() -> None:
    servers = [make_server(timezone="Europe/Berlin"), make_server(name="Bonn", timezone="Europe/Berlin")]
    assert schedule_zone(servers) == "Europe/Berlin"


def test_servers_in_several_zones_are_refused_with_the_zones_named() -> None:
    servers = [make_server(timezone="Europe/Berlin"), make_server(name="Boston", timezone="America/New_York")]
    with pytest.raises(BadTiming) as refused:
        schedule_zone(servers)
    assert refused.value.field == "timezone"
    assert "Europe/Berlin (Berlin); America/New_York (Boston)" in str(refused.value)
    with pytest.raises(BadTiming, match="Write one, or UTC"):
        schedule_zone([])


# -- who sees a schedule


def test_a_person_sees_the_schedules_of_the_servers_that_they_see_each_once() -> None:
    berlin, paris, rome = make_server(), make_server(name="Paris"), make_server(name="Rome")
    eu = Tag.objects.create(name="eu")
    for server in (berlin, paris):
        server.tags.add(eu)
    ada = make_planner()
    make_schedule(name="Both", servers=[berlin, paris], owner=ada)
    make_schedule(name="Tag", tag=eu, owner=ada)
    make_schedule(name="Rome", server=rome, owner=ada)
    seen = Schedule.objects.visible_to(person_on("bob", berlin, paris)).values_list("name", flat=True)
    assert list(seen) == ["Both", "Tag"]
    assert Schedule.objects.visible_to(ada).count() == 3


def test_a_stranger_sees_no_schedule() -> None:
    berlin = make_server()
    make_schedule(server=berlin)
    without = make_user("eve", "view_actionrun")
    gone = make_planner("gone")
    gone.is_active = False
    nobody = person_on("mallory", make_server(name="Elsewhere"))
    for user in (without, gone, nobody, None):
        assert not Schedule.objects.visible_to(user).exists()
    # Denial of everything on a server hides its schedules, too.
    denied = make_planner("denied")
    grant(denied, on=berlin, deny=True)
    assert not Schedule.objects.visible_to(denied).exists()


def test_what_has_no_server_any_more_is_seen_by_its_owner_and_by_who_sees_every_server() -> None:
    berlin, gone = make_server(), make_server(name="Gone")
    ada, bob = person_on("ada", berlin), person_on("bob", berlin)
    make_schedule(name="Named", server=gone, owner=ada)
    make_schedule(name="Tag", tag=Tag.objects.create(name="empty"), owner=ada)
    gone.delete()
    make_server(name="Paris")
    for user, number in ((ada, 2), (bob, 0), (make_planner("all"), 2), (User(is_superuser=True), 0)):
        assert Schedule.objects.visible_to(user).count() == number, user
    root = User.objects.create_superuser("root")
    assert Schedule.objects.visible_to(root).count() == 2
