"""UpdateConfig's numbered headers: a group of fields for each change, counted by the form."""

from __future__ import annotations

import pytest

from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument
from tests.actions.catalogue.making import make_catalogue
from tests.browser.chromium import Handle, Visitor, expect
from tests.browser.people import log_in
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]
ADD = "/admin/ami_integration/actionrun/add/"

UPDATE = ActionDescription(
    "UpdateConfig",
    synopsis="Update basic configuration.",
    arguments=(
        Argument("SrcFilename", required=True, text="Configuration filename to read."),
        Argument("DstFilename", required=True, text="Configuration filename to write."),
        Argument(
            "Action-000000", text="Action to take.", choices=("NewCat", "Append", "Delete"), closed=True
        ),
        Argument("Cat-000000", text="Category to operate on."),
        Argument("Var-000000", text="Variable to work on."),
        Argument("Value-000000", text="Value to work on."),
    ),
)


def change(page: Handle, number: int) -> Handle:
    return page.get_by_role("group", name=f"Change {number}", exact=True)


def test_each_change_is_a_group_and_the_form_counts_them(stack: Stack, visitor: Visitor) -> None:
    server = make_server()
    make_catalogue(actions=[UPDATE], servers=[server])
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{ADD}?server={server.pk}&action=UpdateConfig")
    for name in ("src", "dst"):
        page.locator(f'.request-field[data-name="{name}filename"] input').fill("queues.conf")
    text = page.locator("#id_headers")
    change(page, 1).get_by_label("Action:", exact=True).select_option("NewCat")
    change(page, 1).get_by_label("Cat:", exact=True).fill("sales")
    more = page.get_by_role("button", name="Add a change")
    more.click()
    expect(change(page, 2).get_by_label("Action:", exact=True)).to_be_focused()
    more.click()  # it says nothing yet, so it is still the next one
    expect(change(page, 3)).to_have_count(0)
    change(page, 2).get_by_label("Var:", exact=True).fill("strategy")  # in any order
    change(page, 2).get_by_label("Action:", exact=True).select_option("Append")
    change(page, 2).get_by_label("Cat:", exact=True).fill("sales")
    change(page, 2).get_by_label("Value:", exact=True).fill("ringall")
    first = "Action-000000: NewCat\nCat-000000: sales"
    second = "Action-{0}: Append\nCat-{0}: sales\nVar-{0}: strategy\nValue-{0}: ringall"
    files = "SrcFilename: queues.conf\nDstFilename: queues.conf"
    expect(text).to_have_value(f"{files}\n{first}\n{second.format('000001')}")
    visitor.picture(page, "request-changes")
    # There and back again, nothing is lost: not a header that came twice, not one that nobody described.
    page.get_by_role("button", name="Raw").click()
    raw = f"{files}\n{first}\n{second.format('000001')}\nvar-000001: twice\nX-Mine: 1"
    text.fill(raw)
    page.get_by_role("button", name="Form").click()
    expect(change(page, 2).get_by_label("Var:", exact=True)).to_have_count(2)
    page.get_by_role("button", name="Raw").click()
    expect(text).to_have_value(raw)
    page.get_by_role("button", name="Form").click()
    # The second one moves up when the first is removed.
    page.get_by_role("button", name="Remove change 1").click()
    expect(text).to_have_value(f"{files}\n{second.format('000000')}\nvar-000000: twice\nX-Mine: 1")
    expect(change(page, 2)).to_have_count(0)
    # A hole is told where it is.
    page.get_by_role("button", name="Raw").click()
    text.fill(f"{files}\nAction-000000: NewCat\nCat-000000: x\nCat-000001: y")
    page.get_by_role("button", name="Form").click()
    page.get_by_role("button", name="Preview").click()
    expect(change(page, 2).get_by_text("Action-000001 is missing")).to_be_visible()
    visitor.picture(page, "request-changes-hole")
