"""The pages that make servers of the accounts in a manager.conf."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import Server
from tests.access.factories import make_person
from tests.servers.factories import SECRET, make_server

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:ami_integration_server_import_conf")
LIST = reverse("admin:ami_integration_server_changelist")
CONF = f"""[general]
enabled = yes
port = 5040
#include "manager.d/*.conf"
[watching](!)
read = all
[ada](watching)
secret = {SECRET}
[bob]
secret = w0rd-0f-bob
write = originate
[mute]
read = all
"""


def shown(client: Client, text: str = CONF, **given: Any) -> str:
    answer = client.post(PAGE, {"text": text} | given)
    assert answer.status_code == 200
    return answer.content.decode()


def carried(html: str) -> str:
    found = re.search(r'name="carried" value="([^"]+)"', html)
    assert found, html
    return found[1]


def row(at: int, **values: str) -> dict[str, str]:
    values = {
        "chosen": "on",
        "name": f"PBX {at}",
        "host": f"192.0.2.{at}",
        "port": "5040",
        "transport": "tcp",
    } | values
    return {f"a{at}-{name}": value for name, value in values.items()}


def test_accounts_are_shown_without_their_secrets_and_those_that_are_chosen_are_added(
    admin_client: Client,
) -> None:
    assert PAGE in admin_client.get(LIST).content.decode()
    html = shown(admin_client)
    assert "#include manager.d/*.conf" in html and "mute" in html and "Left out" in html
    assert SECRET not in html and "w0rd" not in html and 'value="5040"' in html
    assert not Server.objects.exists() and not AuditEntry.objects.exists()
    answer = admin_client.post(PAGE, {"carried": carried(html)} | row(0, name="Berlin"), follow=True)
    assert "Added Berlin." in answer.content.decode()
    server = Server.objects.get()
    assert (server.name, server.username, server.host, server.port) == ("Berlin", "ada", "192.0.2.0", 5040)
    assert server.secret.reveal() == SECRET
    assert AuditEntry.objects.get(verb="server.import").what == {"way": "manager.conf", "added": 1}
    assert AuditEntry.objects.get(verb="server.add").what["way"] == "manager.conf"
    assert SECRET not in str([*AuditEntry.objects.values()])


def test_a_file_may_be_chosen_instead(admin_client: Client) -> None:
    html = shown(admin_client, text="", file=SimpleUploadedFile("manager.conf", CONF.encode()))
    admin_client.post(PAGE, {"carried": carried(html)} | row(0) | row(1))
    assert sorted(Server.objects.values_list("username", flat=True)) == ["ada", "bob"]


def test_one_account_that_is_refused_keeps_all_out_and_says_why_beside_it(admin_client: Client) -> None:
    make_server(name="Taken")
    sent = carried(shown(admin_client))
    answer = admin_client.post(PAGE, {"carried": sent} | row(0, name="Taken") | row(1, host="not a host"))
    html = answer.content.decode()
    assert "Server with this Name already exists." in html and "Give the name or address alone" in html
    assert Server.objects.count() == 1 and not AuditEntry.objects.exists()
    assert SECRET not in html and carried(html) == sent
    assert "manager.d/*.conf" in html and "<bdi>mute</bdi> (line" in html  # what was told at first still is
    both = admin_client.post(PAGE, {"carried": sent} | row(0, name="Same") | row(1, name="Same"))
    assert "already exists" in both.content.decode() and Server.objects.count() == 1
    admin_client.post(PAGE, {"carried": sent} | row(0) | row(1))
    assert Server.objects.count() == 3


def test_where_nothing_is_chosen_nothing_is_lost(admin_client: Client) -> None:
    sent = carried(shown(admin_client))
    html = admin_client.post(PAGE, {"carried": sent} | row(0, chosen="")).content.decode()
    assert "Nothing was chosen" in html and carried(html) == sent and "PBX 0" in html


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Paste the text, or choose a file"),
        ("[ada]\nread=all\n", "There is no account with a secret"),
        ("secret=x\n", "Asterisk would refuse this file"),
        ("[general]\nbindaddr=127.0.0.1\n[ada]\nsecret=x\n", "through an SSH tunnel"),
        ("[ada]\nsecret=x\n", "AMI is off on this PBX"),
    ],
)
def test_what_should_be_known_is_said(admin_client: Client, text: str, says: str) -> None:
    assert says in shown(admin_client, text)


def test_a_text_that_is_refused_is_not_shown_again(admin_client: Client) -> None:
    html = shown(admin_client, CONF, file=SimpleUploadedFile("manager.conf", b"[x]\nsecret=y\n"))
    assert "not both" in html and SECRET not in html


def test_hostile_words_of_a_file_are_text(admin_client: Client) -> None:
    html = shown(admin_client, '[<script>x</script>]\nsecret=a\nread="><img src=x>\n#include <b>\n[<i>](+)\n')
    for attack in ("<script>x", "<img src=x", "<i>"):
        assert attack not in html


@pytest.mark.parametrize("who", ["somebody else", "another page"])
def test_what_was_made_for_another_is_refused(admin_client: Client, client: Client, who: str) -> None:
    sent = carried(shown(admin_client))
    other = make_person("ada", "view_server", "add_server", "change_server")
    client.force_login(other)
    where = PAGE if who == "somebody else" else reverse("admin:ami_integration_server_import_csv")
    person = client if who == "somebody else" else admin_client
    answer = person.post(where, {"carried": sent} | row(0), follow=True)
    assert "made for somebody else" in answer.content.decode() and not Server.objects.exists()


def test_who_may_not_add_servers_gets_no_page(client: Client) -> None:
    client.force_login(make_person("ada", "view_server", "change_server"))
    assert client.get(PAGE).status_code == 403
    assert client.post(PAGE, {"text": CONF}).status_code == 403
