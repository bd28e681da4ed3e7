"""Servers as CSV: the file that is written, and what a file does."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient, Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.audit.models import AuditEntry
from ami_integration.servers.models import Server, Site, Tag
from ami_integration.servers.table import COLUMNS, MOST_ROWS, Outcome, table_apply, table_rows
from ami_integration.spreadsheets import cell_read, csv_lines
from tests.access.factories import grant, make_person
from tests.audit.test_entry_admin import body
from tests.servers.factories import SECRET, make_server

IMPORT = reverse("admin:ami_integration_server_import_csv")
EXPORT = reverse("admin:ami_integration_server_export")
LIST = reverse("admin:ami_integration_server_changelist")


@given(st.lists(st.text(alphabet="='+-@;\t\r\n12.ab \uff1d\u2028", max_size=12), min_size=1, max_size=4))
def test_each_cell_that_is_written_is_read_as_it_was(cells: list[str]) -> None:
    written = "".join(csv_lines([["head"], [*cells, "end"]])).removeprefix("\ufeff")
    read = [*csv.reader(io.StringIO(written, newline=""))][1]
    assert [cell_read(cell) for cell in read] == [*cells, "end"]


@given(st.text(alphabet="=+-@", min_size=1, max_size=1), st.text(max_size=8))
def test_no_cell_that_is_written_begins_with_a_formula(sign: str, rest: str) -> None:
    written = "".join(csv_lines([["head"], [f"{sign}{rest}", "end"]]))
    cell = [*csv.reader(io.StringIO(written, newline=""))][1][0]
    assert cell.startswith("'") or rest[:1].isdigit()


def apply(user: User, text: str, *, update: bool = True, save: bool = True) -> Outcome:
    return table_apply(user=user, text=text, update=update, address="192.0.2.9", save=save)


def told(outcome: Outcome) -> list[tuple[int, str, str]]:
    return [(problem.line, problem.column, problem.message) for problem in outcome.problems]


def state() -> list[dict[str, Any]]:
    left_out = ("id", "secret", "action_secret", "ssh_key", "ssh_password", "created_at", "updated_at")
    return [
        {name: value for name, value in row.items() if name not in left_out}
        | {"tags": sorted(Server.objects.get(name=row["name"]).tags.values_list("name", flat=True))}
        for row in Server.objects.order_by("name").values()
    ]


@pytest.fixture
def fleet() -> list[Server]:
    site = Site.objects.create(name="=Tower; Street", timezone="Europe/Berlin")
    tags = [Tag.objects.create(name=name) for name in ("office", "production")]
    berlin = make_server(
        name="@Berlin",
        site=site,
        timezone="Europe/Berlin",
        read_only=True,
        rate_per_minute=30,
        event_keeping="chosen",
        event_names="Hangup\r\n!Queue*",
        notes='\'=1+1\r\n;=2\r\nÄ "quoted", with a comma',
    )
    berlin.tags.set(tags)
    paris = make_server(
        name="Paris", enabled=False, maintenance=True, action_username="acting", action_secret="w"
    )
    return [berlin, paris]


@pytest.mark.django_db
def test_an_exported_file_read_again_changes_nothing(fleet: list[Server], admin_user: User) -> None:
    before = state()
    text = "".join(csv_lines(table_rows(Server.objects.all())))
    assert SECRET not in text
    outcome = apply(admin_user, text)
    assert (told(outcome), [row.verb for row in outcome.rows]) == ([], ["same", "same"])
    assert state() == before


@pytest.mark.django_db
def test_an_exported_file_makes_the_same_servers_elsewhere(fleet: list[Server], admin_user: User) -> None:
    before = state()
    rows = [*table_rows(Server.objects.all())]
    rows[0] += ["secret", "action_secret"]
    for row in rows[1:]:
        row += [SECRET, "w0rd" if row[COLUMNS.index("action_username")] else ""]
    Server.objects.all().delete(), Tag.objects.all().delete()
    outcome = apply(admin_user, "".join(csv_lines(rows)))
    assert told(outcome) == []
    assert sorted(outcome.made) == ["tag office", "tag production"]
    # The site is there still; a site's primary key is its own.
    assert state() == before
    assert all(server.secret.reveal() == SECRET for server in Server.objects.all())
    made = AuditEntry.objects.values_list("verb", "object_name")
    assert ("tag.add", "office") in made and ("server.add", "Paris") in made
    assert AuditEntry.objects.get(verb="server.import").what == {"way": "csv", "added": 2, "changed": 0}
    assert SECRET not in str([*AuditEntry.objects.values()])


@pytest.mark.django_db
def test_a_preview_keeps_nothing_and_foretells_what_happens(fleet: list[Server], admin_user: User) -> None:
    text = "name,host,username,max_sessions,secret,tags\nRome,192.0.2.7,amiweb,,w0rd,south\nParis,,,3,n3w,\n"
    before = state()
    foretold = apply(admin_user, text, save=False)
    assert state() == before
    assert not Tag.objects.filter(name="south").exists() and not AuditEntry.objects.exists()
    assert [(row.line, row.name, row.verb) for row in foretold.rows] == [
        (2, "Rome", "add"),
        (3, "Paris", "change"),
    ]
    assert "w0rd" not in str(foretold) and "n3w" not in str(foretold)
    done = apply(admin_user, text)
    assert done.rows == foretold.rows
    assert Server.objects.get(name="Paris").max_sessions == 3
    assert [tag.name for tag in Server.objects.get(name="Rome").tags.all()] == ["south"]


@pytest.mark.django_db
def test_servers_that_exist_may_be_left_alone(fleet: list[Server], admin_user: User) -> None:
    outcome = apply(admin_user, "name,notes\nParis,Changed\n", update=False)
    assert [(row.name, row.verb) for row in outcome.rows] == [("Paris", "left")]
    assert Server.objects.get(name="Paris").notes == ""


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("", 1, "", "The file is empty"),
        ("name,host\n", 1, "", "no server below it"),
        ("host\n192.0.2.1\n", 1, "name", "known by their names"),
        ("name,colour\nParis,red\n", 1, "colour", "There is no such column"),
        ("name,name\nParis,Paris\n", 1, "name", "twice"),
        ("name,notes\nParis,a,b\n", 2, "", "3 cells"),
        ('name,notes\nParis,"a\n', 2, "", "double quote"),
        ("name\x00,host\n", 1, "", "no text"),
        ("name,notes\n,lost\n", 2, "name", "Write the name"),
        ("name,notes\nParis,a\n\nParis,b\n", 4, "name", "Line 2 has this name"),
        ("name,enabled\nParis,maybe\n", 2, "enabled", "yes or no instead of “maybe”"),
        ("name,port\nParis,70000\n", 2, "port", "less than or equal to 65535"),
        ("name,port\nParis,abc\n", 2, "port", "whole number"),
        ("name,transport\nParis,udp\n", 2, "transport", "valid choice"),
        ("name,timezone\nParis,Mars\n", 2, "timezone", "There is no time zone “Mars”"),
        ("name,tags\nParis,Not/a/tag\n", 2, "tags", "small letters"),
        ("name,host\nParis,192.0.2.99\n", 2, "secret", "Enter the secret again"),
        ("name,host,username\nRome,192.0.2.7,a\n", 2, "secret", "Enter the secret."),
        ("name\n" + "\n".join(f"s{n}" for n in range(MOST_ROWS + 1)), MOST_ROWS + 2, "", "at most 1,000"),
    ],
)
def test_what_is_wrong_is_said_by_line_and_column_and_nothing_is_saved(
    admin_user: User, text: str, line: int, column: str, says: str
) -> None:
    make_server(name="Paris")
    before = state()
    outcome = apply(admin_user, text)
    messages = [message for *where, message in told(outcome) if where == [line, column]]
    assert any(says.lower() in message.lower() for message in messages), told(outcome)
    assert state() == before and not AuditEntry.objects.exists()


@pytest.mark.django_db
def test_one_wrong_row_keeps_all_others_out(admin_user: User) -> None:
    outcome = apply(
        admin_user, f"name,host,username,secret,port\nOslo,192.0.2.1,a,{SECRET},\nRome,x y,a,w,0\n"
    )
    assert {(problem.line, problem.column) for problem in outcome.problems} == {(3, "host"), (3, "port")}
    assert not Server.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_spreadsheets_part_cells_otherwise(admin_user: User, delimiter: str) -> None:
    make_server(name="Paris")
    text = "\ufeff" + '"Name",Notes\r\nParis,"below;\tthe tower"\r\n'.replace(",", delimiter)
    assert told(apply(admin_user, text)) == []
    assert Server.objects.get().notes == "below;\tthe tower"


@pytest.mark.django_db
def test_an_empty_cell_empties_what_may_be_empty_and_leaves_the_rest(
    fleet: list[Server], admin_user: User
) -> None:
    columns = ("name", "site", "tags", "rate_per_minute", "notes", "port", "read_only", "timezone", "secret")
    outcome = apply(admin_user, f"{','.join(columns)}\n'@Berlin{',' * (len(columns) - 1)}\n")
    assert told(outcome) == []
    berlin = Server.objects.get(name="@Berlin")
    assert (berlin.site, berlin.rate_per_minute, berlin.notes, berlin.tags.count()) == (None, None, "", 0)
    assert (berlin.port, berlin.read_only, berlin.timezone) == (5038, True, "Europe/Berlin")
    assert berlin.secret.reveal() == SECRET


@pytest.mark.django_db
def test_nobody_does_by_a_file_what_they_may_not_do_by_a_form() -> None:
    tag = Tag.objects.create(name="office")
    hidden, seen = make_server(name="Hidden"), make_server(name="Seen")
    seen.tags.add(tag)
    person = make_person("ada", "view_server", "change_server")
    grant(person, "read", on=tag)
    for text, says in (
        (f"name,host,username,secret\nRome,192.0.2.7,a,{SECRET}\n", "You may not add servers"),
        ("name,notes\nHidden,mine\n", "You may not add servers"),
        ("name,tags\nSeen,office fresh\n", "There is no tag “fresh”, and you may not add one"),
        ("name,site\nSeen,Harbour\n", "There is no site “Harbour”, and you may not add one"),
        ("name,secret_source,secret_name\nSeen,environment,AMIWEB_SECRET_X\n", ""),
    ):
        outcome = apply(person, text)
        assert says in str(told(outcome)), text
    hidden.refresh_from_db(), seen.refresh_from_db()
    assert (hidden.notes, seen.secret_source) == ("", "stored")


def page(client: Client, **given: Any) -> str:
    answer = client.post(IMPORT, {"existing": "update"} | given)
    assert answer.status_code == 200
    return answer.content.decode()


def carried_in(html: str) -> str:
    return html.split('name="carried" value="', 1)[1].split('"', 1)[0]


@pytest.mark.django_db
@pytest.mark.parametrize("chosen", [True, False])
def test_a_file_is_shown_then_saved(admin_client: Client, chosen: bool) -> None:
    text = f"name,host,username,secret\nRome,192.0.2.7,amiweb,{SECRET}\n"
    given = {"file": SimpleUploadedFile("s.csv", text.encode())} if chosen else {"text": text}
    html = page(admin_client, **given)
    assert "Nothing is saved yet: 1 to add" in html and SECRET not in html and not Server.objects.exists()
    answer = admin_client.post(IMPORT, {"carried": carried_in(html)}, follow=True)
    assert "Added Rome." in answer.content.decode()
    assert Server.objects.get().secret.reveal() == SECRET


@pytest.mark.django_db
def test_what_was_pasted_with_a_mistake_in_it_stays_unless_secrets_are_in_it(admin_client: Client) -> None:
    html = page(admin_client, text="name,port\nParis,70000\n")
    assert "Paris,70000" in html and "Nothing was saved" in html
    html = page(admin_client, text=f"name,port,secret\nParis,70000,{SECRET}\n")
    assert SECRET not in html and "70000" not in html.split("<textarea")[1].split("</textarea>")[0]
    for head in ("\n\nname,port,SSH password", "name,port,ssh-key", "name,port,passwd"):
        assert SECRET not in page(admin_client, text=f"{head}\nParis,70000,{SECRET}\n")
    both = {"file": SimpleUploadedFile("s.csv", b"name\nx\n"), "text": f"name,secret\nx,{SECRET}\n"}
    html = page(admin_client, **both)
    assert "Paste the text or choose a file, not both" in html and SECRET not in html


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "Paste the text, or choose a file"),
        ({"text": "name\n" + "x" * 600_000}, "at most 524288 characters"),
        ({"file": SimpleUploadedFile("s.csv", b"name\n" + b"x" * 600_000)}, "Give at most 524,288"),
        ({"file": SimpleUploadedFile("s.csv", b"name\nM\xfcnchen\n")}, "no UTF-8 text (byte 7)"),
        (
            {"file": SimpleUploadedFile("s.csv", b"name\n" + b"x" * 3_000_000)},
            "Paste the text, or choose a file",
        ),
    ],
)
def test_what_is_no_file_is_refused_with_a_reason(
    admin_client: Client, given: dict[str, Any], says: str
) -> None:
    assert says in page(admin_client, **given)


@pytest.mark.django_db
@pytest.mark.parametrize("forged", ["", "rubbish", "k:gAAAAAB"])
def test_a_forged_page_saves_nothing(admin_client: Client, forged: str) -> None:
    answer = admin_client.post(IMPORT, {"carried": forged}, follow=True)
    assert "came back damaged" in answer.content.decode() and not Server.objects.exists()


@pytest.mark.django_db
def test_what_happened_since_the_preview_is_met_by_the_same_rules(admin_client: Client) -> None:
    html = page(admin_client, text=f"name,host,username,secret\nRome,192.0.2.7,amiweb,{SECRET}\n")
    make_server(name="Rome")
    answer = admin_client.post(IMPORT, {"carried": carried_in(html)})
    # Rome is there now: its stored secret doesn't go to another host without the new one, which the file has.
    assert answer.status_code == 302
    assert Server.objects.get().host == "192.0.2.7"


@pytest.mark.django_db
def test_hostile_words_of_a_file_are_text(admin_client: Client) -> None:
    html = page(admin_client, text="name,notes\n<script>x</script>,b\n<b>,c,d\n")
    assert "<script>x" not in html and "<b>" not in html.split("<textarea")[0].split("What is wrong")[1]


@pytest.mark.django_db
def test_who_may_neither_add_nor_change_servers_gets_no_page(client: Client) -> None:
    client.force_login(make_person("ada", "view_server"))
    assert client.get(IMPORT).status_code == 403
    assert client.post(IMPORT, {"text": "name\nx\n"}).status_code == 403
    client.force_login(make_person("bob", "view_actionrun"))
    assert client.get(EXPORT).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_the_list_is_exported_as_it_is_filtered_and_the_audit_knows(
    fleet: list[Server], admin_client: Client, admin_user: User
) -> None:
    assert EXPORT in admin_client.get(LIST).content.decode()
    streaming = AsyncClient()
    streaming.force_login(admin_user)
    text = body(streaming, f"{EXPORT}?q=Paris")
    rows = [*csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))]
    assert [row["name"] for row in rows] == ["Paris"] and [*rows[0]] == [*COLUMNS]
    assert SECRET not in text
    entry = AuditEntry.objects.get(verb="server.export")
    assert entry.what == {"kind": "csv", "query": "q=Paris"}
