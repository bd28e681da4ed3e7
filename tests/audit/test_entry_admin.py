"""The audit's pages: who sees them, what they find, and the files that they give."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import AsyncClient, Client, RequestFactory
from django.utils import timezone

from ami_integration.audit import entry_admin
from ami_integration.audit.admin import about_url
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.seals import entries_seal
from ami_integration.audit.services import entry_make, entry_write
from tests.access.factories import grant, make_person
from tests.actions.factories import make_run
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db

PAGE = "/admin/ami_integration/auditentry/"


def write(name: str, actor: User | None = None, **values: Any) -> AuditEntry:
    about = {"verb": "server.change", "object_type": "server", "object_id": 7, "object_name": name} | values
    return entry_write(actor=actor, origin="admin", **about)


def body(client: AsyncClient, url: str) -> str:
    async def take() -> str:
        response: Any = await client.get(url)
        assert response.status_code == 200
        text = b"".join([part async for part in response.streaming_content]).decode()
        await sync_to_async(connections.close_all)()
        return text

    return asyncio.run(take())


def test_the_list_finds_by_words_and_filters_and_says_what_is_sealed(admin_client: Client) -> None:
    write("Berlin")
    assert "wait for the first seal" in admin_client.get(PAGE).content.decode()
    entries_seal()
    write("Oslo", outcome="refused")
    page = admin_client.get(PAGE).content.decode()
    assert "Berlin" in page and "Oslo" in page and "1 not sealed yet" in page
    found = admin_client.get(f"{PAGE}?q=berlin").content.decode()
    assert "Berlin</td>" in found and "Oslo</td>" not in found
    refused = admin_client.get(f"{PAGE}?outcome__exact=refused").content.decode()
    assert "Oslo</td>" in refused and "Berlin</td>" not in refused
    assert "No entry matches" in admin_client.get(f"{PAGE}?q=nowhere").content.decode()


def test_an_entry_leads_to_everything_about_its_object_and_by_its_person(admin_client: Client) -> None:
    ada = User.objects.create_user("ada")
    entry = write("<b>Berlin", actor=ada, what={"notes": {"from": "", "to": "<script>"}})
    write("Oslo", object_id=8)
    page = admin_client.get(f"{PAGE}{entry.pk}/change/").content.decode()
    assert "&lt;script&gt;" in page and "<b>Berlin" not in page and "not yet" in page
    about, by = about_url("server", 7), about_url("user", ada.pk)
    assert about in page and by in page
    for url in (about, by, f"{PAGE}?actor_name=ada"):
        found = admin_client.get(url).content.decode()
        assert "&lt;b&gt;Berlin</td>" in found and "Oslo</td>" not in found


def test_nobody_changes_adds_or_removes_by_the_pages(admin_client: Client) -> None:
    entry = write("Berlin")
    assert admin_client.post(f"{PAGE}{entry.pk}/change/", {"verb": "x"}).status_code == 403
    assert admin_client.post(f"{PAGE}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get(f"{PAGE}add/").status_code == 403
    assert AuditEntry.objects.get(pk=entry.pk).verb == "server.change"


def test_who_may_not_view_the_audit_sees_none_of_it() -> None:
    entry = write("Berlin")
    stranger = Client()
    stranger.force_login(make_person("otto", "view_server"))
    for url in ("", f"{entry.pk}/change/", "export.csv", "export.json"):
        assert stranger.get(f"{PAGE}{url}").status_code == 403, url


@pytest.mark.django_db(transaction=True)
def test_a_file_holds_what_the_list_finds_and_no_formula_and_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entry_admin, "PAGE", 2)
    for number in range(5):
        write(f"=cmd{number}", what={"n": number})
    write("Oslo", object_id=8)
    client = AsyncClient()
    client.force_login(make_person("kim", "view_auditentry"))
    head, *rows = csv.reader(io.StringIO(body(client, f"{PAGE}export.csv?q=cmd").removeprefix("\ufeff")))
    assert head[0] == "Entry"
    assert [row[9] for row in rows] == [f"'=cmd{number}" for number in (4, 3, 2, 1, 0)]
    found = json.loads(body(client, f"{PAGE}export.json?object_id__exact=8"))
    assert [(one["object"], one["what"], one["seal"]) for one in found] == [("Oslo", {}, None)]
    told = AuditEntry.objects.filter(verb="audit.export").order_by("pk")
    assert [entry.what for entry in told] == [
        {"kind": "csv", "query": "q=cmd"},
        {"kind": "json", "query": "object_id__exact=8"},
    ]
    assert json.loads(body(client, f"{PAGE}export.json?q=nowhere")) == []


def test_the_history_of_a_server_is_the_audit_for_those_who_may_see_it(admin_client: Client) -> None:
    page = f"/admin/ami_integration/server/{make_server().pk}/history/"
    server = page.split("/")[-3]
    assert admin_client.get(page).headers["Location"] == about_url("server", server)
    editor = Client()
    editor.force_login(make_person("otto", "view_server"))
    assert "auditentry" not in editor.get(page).headers.get("Location", "")


def test_a_file_of_nonsense_is_refused_in_words(admin_client: Client) -> None:
    answer = admin_client.get(f"{PAGE}export.csv?server=7")
    assert answer.status_code == 400 and b"Start from its list" in answer.content


@pytest.mark.django_db(transaction=True)
def test_uses_of_secrets_are_left_out_until_asked_for_and_the_list_says_so(admin_client: Client) -> None:
    for verb, name in (("secret.use", "Berlin"), ("server.change", "Bonn")):
        entry_write(actor=None, origin="worker", verb=verb, object_type="server", object_name=name)

    def shown(**query: str) -> set[str]:
        answer = admin_client.get(PAGE, query)
        assert answer.status_code == 200
        return {entry.object_name for entry in answer.context["cl"].result_list}

    assert shown() == {"Bonn"}
    assert shown(uses="with") == {"Berlin", "Bonn"}
    assert shown(uses="only") == {"Berlin"}
    assert shown(verb="secret.use") == {"Berlin"}
    page = admin_client.get(PAGE, {"outcome__exact": "done"}).content.decode()
    assert 'href="?outcome__exact=done&amp;uses=with"' in page
    client = AsyncClient()
    client.force_login(User.objects.get(username="admin"))
    file = body(client, f"{PAGE}export.csv?uses=only")
    assert "Berlin" in file and "Bonn" not in file


def test_the_audit_is_cut_to_a_time_from_a_minute_to_a_minute(admin_client: Client) -> None:
    for minutes in (5, 15, 25):
        entry = entry_make(actor=None, origin="worker", verb="server.change", object_name=f"{minutes} ago")
        entry.at = timezone.now() - timedelta(minutes=minutes)
        entry.save()
    bounds = {
        "at__gte": f"{timezone.localtime(timezone.now() - timedelta(minutes=20)):%Y-%m-%dT%H:%M}",
        "at__lt": f"{timezone.localtime(timezone.now() - timedelta(minutes=10)):%Y-%m-%dT%H:%M}",
    }
    answer = admin_client.get(PAGE, bounds)
    assert [entry.object_name for entry in answer.context["cl"].result_list] == ["15 ago"]
    assert f'value="{bounds["at__gte"]}"' in answer.content.decode()


def test_everything_about_a_server_has_its_runs_and_of_a_person_what_others_did_to_them(
    admin_client: Client,
) -> None:
    ada = User.objects.create_user("ada")
    write("Berlin")
    write("Ping on Berlin", object_type="run", object_id=3, server_id=7)
    write("Ping on Oslo", object_type="run", object_id=4, server_id=8)
    write("Hamar", actor=ada, object_id=9)
    write("ada", object_type="user", object_id=ada.pk)

    def shown(kind: str, number: int) -> set[str]:
        answer = admin_client.get(about_url(kind, number))
        return {entry.object_name for entry in answer.context["cl"].result_list}

    assert shown("server", 7) == {"Berlin", "Ping on Berlin"}
    assert shown("run", 4) == {"Ping on Oslo"}
    assert shown("user", ada.pk) == {"Hamar", "ada"}
    assert "server Berlin" in admin_client.get(about_url("server", 7)).content.decode()
    assert (
        admin_client.get(f"{PAGE}?about=server:x").status_code == 302
    )  # back to the list, as for any nonsense


def test_the_page_of_a_run_leads_to_its_audit(admin_client: Client) -> None:
    run = make_run()
    page = f"/admin/ami_integration/actionrun/{run.pk}/change/"
    assert about_url("run", run.pk) in admin_client.get(page).content.decode()
    viewer = Client()
    person = make_person("kim", "view_actionrun")
    grant(person)
    viewer.force_login(person)
    answer = viewer.get(page)
    assert answer.status_code == 200 and "auditentry" not in answer.content.decode()


@pytest.mark.parametrize("kind", ["server", "user", "run"])
def test_everything_about_something_is_found_by_an_index(kind: str) -> None:
    entries = [
        entry_make(actor=None, origin="worker", verb="run.end", object_type="run", object_id=n, server_id=n)
        for n in range(3_000)
    ]
    AuditEntry.objects.bulk_create(entries)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    request = RequestFactory().get(about_url(kind, 17))
    request.user = User.objects.create_superuser("root")
    page = entry_admin.AuditEntryAdmin(AuditEntry, admin.site).get_changelist_instance(request)
    plan = page.get_queryset(request)[:50].explain()
    if kind == "user" and connection.vendor == "sqlite":
        return  # by its number backwards, until the page is full: it takes no index for either of two
    assert "audit_" in plan, plan
    assert "Seq Scan" not in plan, plan


def test_what_changed_is_a_table_of_before_and_after(admin_client: Client) -> None:
    changes = {"notes": {"from": "", "to": "cellar\u202e"}, "tags": {"from": ["a"], "to": ["a", "b"]}}
    entry = write("Berlin", what=changes | {"way": "csv"})
    page = admin_client.get(f"{PAGE}{entry.pk}/change/").content.decode()
    assert '<th scope="row">notes</th><td>–</td><td>cellar\\u202e</td>' in page
    assert "<td>[&quot;a&quot;]</td><td>[&quot;a&quot;, &quot;b&quot;]</td>" in page
    assert "&quot;way&quot;: &quot;csv&quot;" in page and "&quot;from&quot;" not in page
