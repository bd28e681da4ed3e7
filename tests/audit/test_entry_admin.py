"""The audit's pages: who sees them, what they find, and the files that they give."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.test import AsyncClient, Client

from ami_integration.audit import entry_admin
from ami_integration.audit.admin import about_url
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.seals import entries_seal
from ami_integration.audit.services import entry_write
from tests.access.factories import make_person
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
    about = about_url("server", 7)
    assert about.replace("&", "&amp;") in page
    assert f"{PAGE}?actor__id__exact={ada.pk}" in page
    for url in (about, f"{PAGE}?actor__id__exact={ada.pk}"):
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
