"""An edit of several servers: what is shown, what is done, and what the audit knows of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import Server, Site, Tag
from tests.access.factories import grant, make_person
from tests.servers.factories import SECRET, make_server

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:ami_integration_server_several")
LIST = reverse("admin:ami_integration_server_changelist")


def three() -> tuple[Server, Server, Server]:
    return make_server(name="Berlin"), make_server(name="Paris"), make_server(name="Rome")


def ids(*servers: Server) -> str:
    return ",".join(str(server.pk) for server in servers)


def mark(html: str) -> str:
    found = re.search(r'name="mark" value="(\w+)"', html)
    assert found, html
    return found[1]


def preview(client: Client, *servers: Server, **chosen: Any) -> str:
    answer = client.post(PAGE, {"servers": ids(*servers)} | chosen)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_list_leads_to_it_with_what_was_ticked(admin_client: Client) -> None:
    berlin, paris, rome = three()
    answer = admin_client.post(
        LIST, {"action": "edit_several", "_selected_action": [berlin.pk, rome.pk]}, follow=True
    )
    page = answer.content.decode()
    assert "Edit 2 servers" in page and "Berlin" in page and "Rome" in page and "Paris" not in page


def test_everything_is_shown_before_it_is_done_and_told_for_each_server(admin_client: Client) -> None:
    berlin, paris, rome = three()
    old, new = (Tag.objects.create(name=name) for name in ("old", "new"))
    site = Site.objects.create(name="Tower Street", timezone="Europe/Berlin")
    berlin.tags.add(old)
    Server.objects.filter(pk=paris.pk).update(read_only=True)
    chosen = {
        "add_tags": [new.pk],
        "remove_tags": [old.pk],
        "site": site.pk,
        "zone": "site",
        "enabled": "off",
        "read_only": "on",
    }
    page = preview(admin_client, berlin, paris, **chosen)
    assert "2 of 2 would change" in page and "Tower Street" in page
    assert Server.objects.filter(enabled=True).count() == 3 and not AuditEntry.objects.exists()
    answer = admin_client.post(
        PAGE, {"servers": ids(berlin, paris), "mark": mark(page)} | chosen, follow=True
    )
    assert "Changed Berlin, Paris." in answer.content.decode()
    for server in (berlin, paris):
        server.refresh_from_db()
        assert (server.site, server.timezone) == (site, "Europe/Berlin")
        assert (server.enabled, server.read_only, [*server.tags.all()]) == (False, True, [new])
        assert server.secret.reveal() == SECRET
    rome.refresh_from_db()
    assert rome.enabled and rome.site is None
    entries = {entry.object_name: entry.what for entry in AuditEntry.objects.filter(verb="server.change")}
    assert entries["Berlin"]["tags"] == {"from": ["old"], "to": ["new"]}
    assert entries["Berlin"]["read_only"] == {"from": False, "to": True}
    assert "read_only" not in entries["Paris"] and entries["Paris"]["site"]["to"] == "Tower Street"
    assert set(entries) == {"Berlin", "Paris"}


def test_a_zone_is_written_and_a_site_taken_away(admin_client: Client) -> None:
    site = Site.objects.create(name="Tower Street", timezone="Europe/Berlin")
    berlin = make_server(site=site, timezone="Europe/Berlin")
    chosen = {"site": "none", "zone": "named", "timezone": "America/New_York"}
    page = preview(admin_client, berlin, **chosen)
    admin_client.post(PAGE, {"servers": ids(berlin), "mark": mark(page)} | chosen)
    berlin.refresh_from_db()
    assert (berlin.site, berlin.timezone) == (None, "America/New_York")


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({}, "Choose something to change."),
        ({"zone": "named"}, "Write the zone"),
        ({"zone": "named", "timezone": "Mars"}, "There is no time zone “Mars”"),
        ({"timezone": "Europe/Berlin"}, "Choose “this one”"),
        ({"site": "99999"}, "Select a valid choice"),
        ({"enabled": "maybe"}, "Select a valid choice"),
        ({"add_tags": ["99999"]}, "Select a valid choice"),
    ],
)
def test_what_makes_no_sense_is_refused_beside_its_field(
    admin_client: Client, chosen: dict[str, Any], says: str
) -> None:
    assert says in preview(admin_client, make_server(), **chosen)


def test_a_tag_is_given_or_taken(admin_client: Client) -> None:
    tag = Tag.objects.create(name="office")
    page = preview(admin_client, make_server(), add_tags=[tag.pk], remove_tags=[tag.pk])
    assert "Give or take away, not both: office." in page


def test_what_changed_since_the_preview_is_shown_again(admin_client: Client) -> None:
    berlin, paris, _ = three()
    page = preview(admin_client, berlin, paris, maintenance="on")
    Server.objects.filter(pk=paris.pk).update(maintenance=True)
    again = preview(admin_client, berlin, paris, maintenance="on", mark=mark(page))
    assert "changed these servers meanwhile" in again and "1 of 2 would change" in again
    berlin.refresh_from_db()
    assert not berlin.maintenance
    admin_client.post(PAGE, {"servers": ids(berlin, paris), "maintenance": "on", "mark": mark(again)})
    berlin.refresh_from_db()
    assert berlin.maintenance


def test_servers_that_are_so_already_are_left_alone(admin_client: Client) -> None:
    page = preview(admin_client, make_server(), enabled="on")
    assert "Nothing to do" in page and 'name="mark"' not in page


def test_a_zone_that_is_the_sites_already_changes_nothing(admin_client: Client) -> None:
    site = Site.objects.create(name="Tower Street", timezone="Europe/Berlin")
    page = preview(admin_client, make_server(site=site, timezone="Europe/Berlin"), zone="site")
    assert "Nothing to do" in page and "→" not in page


def test_the_way_back_keeps_what_was_chosen(admin_client: Client) -> None:
    page = preview(admin_client, make_server(), maintenance="on", back="1")
    assert re.search(r'<option value="on" selected>', page)


def test_servers_that_one_does_not_see_are_not_edited(client: Client) -> None:
    tag = Tag.objects.create(name="office")
    seen, hidden, _ = three()
    seen.tags.add(tag)
    person = make_person("ada", "view_server", "change_server")
    grant(person, "read", on=tag)
    client.force_login(person)
    page = preview(client, seen, hidden, maintenance="on")
    assert "Paris" not in page
    client.post(PAGE, {"servers": ids(seen, hidden), "maintenance": "on", "mark": mark(page)})
    hidden.refresh_from_db(), seen.refresh_from_db()
    assert (seen.maintenance, hidden.maintenance) == (True, False)


def test_who_may_not_change_servers_gets_no_page(client: Client) -> None:
    server = make_server()
    person = make_person("ada", "view_server")
    grant(person)
    client.force_login(person)
    assert client.get(f"{PAGE}?servers={server.pk}").status_code == 403
    assert client.post(PAGE, {"servers": ids(server), "maintenance": "on"}).status_code == 403


@pytest.mark.parametrize("given", ["", "abc", "-1", "99999999999999999999999999"])
def test_without_servers_it_leads_to_the_list(admin_client: Client, given: str) -> None:
    answer = admin_client.get(PAGE, {"servers": given}, follow=True)
    assert "Tick the servers in this list" in answer.content.decode()
