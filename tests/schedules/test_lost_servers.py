"""A server is deleted that schedules name: told before, recorded, and said on their pages."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.lost_servers import REMEMBERED, losses_note
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.services import schedule_save
from ami_integration.servers.models import Server
from tests.access.factories import grant, make_person
from tests.schedules.factories import make_planner, make_schedule
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


def delete_page(server: Server) -> str:
    return reverse("admin:ami_integration_server_delete", args=[server.pk])


def schedule_page(schedule: Schedule) -> str:
    return reverse("admin:ami_integration_schedule_change", args=[schedule.pk])


@pytest.fixture
def root(client: Client) -> User:
    root = User.objects.create_superuser("root")
    client.force_login(root)
    return root


@pytest.fixture
def two() -> tuple[Server, Server]:
    return make_server(name="Berlin"), make_server(name="Paris")


@pytest.mark.usefixtures("root")
def test_the_delete_page_says_what_schedules_and_rules_lose(
    client: Client, two: tuple[Server, Server]
) -> None:
    berlin, _ = two
    make_schedule(name="Both", servers=two)
    make_schedule(name="Alone", server=berlin, owner=None)
    grant(make_person("eve", "view_schedule"), on=berlin)
    page = client.get(delete_page(berlin)).content.decode()
    assert "<li>Schedule Both: stays, and no longer runs on Berlin.</li>" in page
    assert "Schedule Alone: stays, and no longer runs on Berlin. It has no other server" in page
    assert "Access rule" in page
    assert "relationship" not in page


def test_who_may_not_see_schedules_hears_how_many_lose_a_server(
    client: Client, two: tuple[Server, Server]
) -> None:
    berlin, _ = two
    make_schedule(name="Secretive", servers=two)
    eve = make_person("eve", "view_server", "delete_server")
    grant(eve, on=berlin)
    client.force_login(eve)
    page = client.get(delete_page(berlin)).content.decode()
    assert "1 schedule that you may not see" in page
    assert "Secretive" not in page
    assert "1 access rule: stays, and no longer names Berlin." in page


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("bulk", [False, True])
def test_a_loss_is_on_record_and_on_the_page_of_the_schedule_until_it_is_saved(
    client: Client, two: tuple[Server, Server], bulk: bool
) -> None:
    berlin, paris = two
    schedule = make_schedule(servers=two)
    edited = Schedule.objects.get().updated_at
    if bulk:
        where = reverse("admin:ami_integration_server_changelist")
        posted = {"action": "delete_selected", "_selected_action": [berlin.pk], "post": "yes"}
        client.post(where, posted)
    else:
        client.post(delete_page(berlin), {"post": "yes"})
    assert list(Server.objects.all()) == [paris]
    entry = AuditEntry.objects.get(verb="schedule.lose_server")
    assert (entry.actor_name, entry.object_name) == ("root", "Nightly")
    assert entry.what == {"servers": ["Berlin"], "left": ["Paris"]}
    stored = Schedule.objects.get()
    assert stored.updated_at == edited
    page = client.get(schedule_page(schedule)).content.decode()
    assert "It runs on fewer servers than it named." in page
    assert "Berlin was deleted at" in page
    schedule_save(user=make_planner("bob"), schedule=stored, headers=[], servers=[paris])
    assert "fewer servers" not in client.get(schedule_page(schedule)).content.decode()


def test_the_name_of_a_deleted_server_is_for_who_sees_all_servers(
    client: Client, two: tuple[Server, Server]
) -> None:
    berlin, paris = two
    schedule = make_schedule(servers=two)
    losses_note(User.objects.create_superuser("root"), [berlin], "192.0.2.7")
    berlin.delete()
    eve = make_person("eve", "view_schedule")
    grant(eve, on=paris)
    client.force_login(eve)
    page = client.get(schedule_page(schedule)).content.decode()
    assert "A server that it named was deleted at" in page
    assert "Berlin" not in page


def test_the_newest_losses_are_remembered(two: tuple[Server, Server]) -> None:
    make_schedule(servers=two)
    root = User.objects.create_superuser("root")
    for _ in range(REMEMBERED):
        losses_note(root, two, "")
    assert len(Schedule.objects.get().lost_servers) == REMEMBERED
