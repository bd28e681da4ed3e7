"""Sites: places of servers, with the zone that servers there begin with."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import Server, Site, Tag
from tests.access.factories import grant, make_person
from tests.servers.factories import SECRET, make_server
from tests.servers.test_admin import ADD, change_page, fields

pytestmark = pytest.mark.django_db

LIST = reverse("admin:ami_integration_server_changelist")
SITES = reverse("admin:ami_integration_site_changelist")


def test_a_server_without_a_zone_of_its_own_begins_with_that_of_its_site(admin_client: Client) -> None:
    site = Site.objects.create(name="Tower Street", timezone="Europe/Berlin")
    assert admin_client.post(ADD, fields(secret=SECRET, site=str(site.pk), timezone="")).status_code == 302
    server = Server.objects.get()
    assert (server.site, server.timezone) == (site, "Europe/Berlin")
    site.timezone = "Europe/Paris"
    site.save()
    server.refresh_from_db()
    assert server.timezone == "Europe/Berlin"


def test_a_zone_of_its_own_comes_before_the_sites(admin_client: Client) -> None:
    site = Site.objects.create(name="Tower Street", timezone="Europe/Berlin")
    admin_client.post(ADD, fields(secret=SECRET, site=str(site.pk), timezone="America/New_York"))
    assert Server.objects.get().timezone == "America/New_York"


def test_the_list_has_a_column_a_filter_and_a_search_by_site(admin_client: Client) -> None:
    tower = Site.objects.create(name="Tower Street")
    make_server(name="Berlin", site=tower)
    make_server(name="Paris")
    page = admin_client.get(LIST).content.decode()
    assert re.search(r"field-place[^>]*>Tower Street<", page)
    for query in (f"site__id__exact={tower.pk}", "q=Tower"):
        page = admin_client.get(f"{LIST}?{query}").content.decode()
        assert "Berlin" in page and "Paris" not in page


def test_a_change_of_site_stands_in_the_audit_by_names(admin_client: Client) -> None:
    tower, harbour = (Site.objects.create(name=name) for name in ("Tower Street", "Harbour"))
    server = make_server(site=tower)
    admin_client.post(change_page(server), fields(site=str(harbour.pk)))
    what = AuditEntry.objects.get(verb="server.change").what
    assert what["site"] == {"from": "Tower Street", "to": "Harbour"}


def test_a_site_that_is_deleted_leaves_its_servers_and_its_name_in_the_audit(admin_client: Client) -> None:
    tower = Site.objects.create(name="Tower Street")
    server = make_server(site=tower)
    page = reverse("admin:ami_integration_site_delete", args=[tower.pk])
    assert admin_client.post(page, {"post": "yes"}).status_code == 302
    server.refresh_from_db()
    assert server.site is None
    entry = AuditEntry.objects.get(verb="site.delete")
    assert (entry.object_name, entry.what) == ("Tower Street", {"servers": ["Berlin"]})


def test_sites_of_servers_that_one_does_not_see_are_offered_nowhere(client: Client) -> None:
    seen, hidden = (Site.objects.create(name=name) for name in ("Tower Street", "Secret Bunker"))
    tag = Tag.objects.create(name="office")
    berlin = make_server(name="Berlin", site=seen)
    berlin.tags.add(tag)
    make_server(name="Bunker", site=hidden)
    person = make_person("ada", "view_server", "add_server", "change_server", "view_site", "change_site")
    grant(person, "read", on=tag)
    client.force_login(person)
    for page in (LIST, ADD, SITES, change_page(berlin)):
        text = client.get(page).content.decode()
        assert "Tower Street" in text and "Secret Bunker" not in text, page
    refused = client.post(change_page(berlin), fields(site=str(hidden.pk))).content.decode()
    assert "Select a valid choice" in refused
    assert Server.objects.get(pk=berlin.pk).site == seen


def test_where_there_is_no_site_the_page_says_what_one_is_for(admin_client: Client) -> None:
    assert "There is no site yet" in admin_client.get(SITES).content.decode()
