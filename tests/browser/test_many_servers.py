"""Many servers in a real browser: from a file, and edited at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ami_integration.servers.models import Server, Site, Tag
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.processes import Stack
from tests.servers.factories import SECRET, make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]


def test_servers_come_from_a_file_and_are_edited_together(
    stack: Stack, visitor: Visitor, tmp_path: Path
) -> None:
    Tag.objects.create(name="office")
    Site.objects.create(name="Tower Street", timezone="Europe/Berlin", notes="Ask for the key.")
    make_server(name="Berlin", notes="Below the tower.")
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}/admin/ami_integration/server/")
    page.get_by_role("link", name="Import CSV").click()
    visitor.picture(page, "servers-import-csv")
    page.get_by_label("Paste it").fill("name,port,enabled\nParis,70000,maybe\n")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_role("heading", name="Nothing was saved")).to_be_visible()
    visitor.picture(page, "servers-import-csv-wrong")
    file = tmp_path / "servers.csv"
    head = "name;host;username;secret;site;tags;notes\n"
    rows = [f"PBX {n};192.0.2.{n};amiweb;{SECRET};Tower Street;office fresh;" for n in range(1, 9)]
    file.write_text(head + "\n".join([*rows, 'Berlin;;;;;office;"On the roof."']))
    page.get_by_label("Paste it").fill("")
    page.get_by_label("or choose a file").set_input_files(str(file))
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_text("8 to add, 1 to change; tag fresh would be new")).to_be_visible()
    visitor.picture(page, "servers-import-csv-preview")
    page.get_by_role("button", name="Save them").click()
    expect(page.get_by_text("Added PBX 1, PBX 2")).to_be_visible()
    visitor.picture(page, "servers-with-sites")

    page.get_by_role("row").filter(has_text="PBX 1").get_by_role("checkbox").check()
    page.get_by_role("row").filter(has_text="PBX 2").get_by_role("checkbox").check()
    page.get_by_label("Action:").select_option("edit_several")
    page.get_by_role("button", name="Run", exact=True).or_(page.get_by_role("button", name="Go")).click()
    expect(page.get_by_role("heading", name="Edit 2 servers")).to_be_visible()
    visitor.picture(page, "servers-several")
    page.get_by_label("Maintenance").select_option("on")
    page.get_by_label("Time zone").select_option("that of its site")
    page.get_by_role("button", name="Show what it would do").click()
    visitor.picture(page, "servers-several-preview")
    page.get_by_role("button", name="Save 2").click()
    expect(page.get_by_text("Changed PBX 1, PBX 2.")).to_be_visible()
    page.goto(f"{stack.url}/admin/ami_integration/site/")
    visitor.picture(page, "sites")
    with page.expect_download() as download:
        page.goto(f"{stack.url}/admin/ami_integration/server/")
        page.get_by_role("link", name="CSV of these").click()
    assert download.value.suggested_filename == "servers.csv"
    text = Path(download.value.path()).read_text()
    assert SECRET not in text and text.count("PBX ") == 8
    assert Server.objects.filter(maintenance=True, timezone="Europe/Berlin").count() == 2


CONF = """\
[general]
enabled = yes
port = 5040
#include "manager.d/*.conf"

[watching](!)
read = system,call,agent
deny = 0.0.0.0/0.0.0.0
permit = 192.0.2.0/24

[monitor](watching)
secret = gr8-s3cret-word

[dialer](watching)
secret = an0ther-word
write = originate
no sign of equality

[mute]
read = all
"""


def test_servers_come_from_the_accounts_of_a_manager_conf(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}/admin/ami_integration/server/")
    page.get_by_role("link", name="Import manager.conf").click()
    visitor.picture(page, "servers-import-conf")
    page.get_by_label("Paste it").fill(CONF)
    page.get_by_role("button", name="Show its accounts").click()
    expect(page.get_by_text("#include manager.d/*.conf")).to_be_visible()
    visitor.picture(page, "servers-import-conf-accounts")
    first = page.locator("fieldset").filter(has_text="monitor")
    first.get_by_label("Add it").check()
    first.get_by_label("Server’s name").fill("Berlin")
    page.get_by_role("button", name="Add the chosen").click()
    expect(page.get_by_text("This field is required.")).to_be_visible()
    visitor.picture(page, "servers-import-conf-wrong")
    first.get_by_label("Host").fill("192.0.2.1")
    page.get_by_role("button", name="Add the chosen").click()
    expect(page.get_by_text("Added Berlin.")).to_be_visible()
    server = Server.objects.get()
    assert (server.username, server.port, server.secret.reveal()) == ("monitor", 5040, "gr8-s3cret-word")
