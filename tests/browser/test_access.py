"""Rules in a real browser: one is made, and what it does is seen on the pages of those whom it is about."""

from __future__ import annotations

import pytest

from ami_integration.access.models import AccessRule
from ami_integration.access.starters import starter_groups_make
from ami_integration.servers.models import Server, Tag
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in_as, make_member
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]
RULES = "/admin/ami_integration/accessrule/"
SERVERS = "/admin/ami_integration/server/"


def test_a_rule_is_made_explained_and_felt(stack: Stack, visitor: Visitor) -> None:
    starter_groups_make()
    AccessRule.objects.all().delete()
    tag = Tag.objects.create(name="north")
    oslo = make_server(name="Oslo", enabled=False)
    oslo.tags.add(tag)
    make_server(name="Berlin", enabled=False)
    Server.objects.filter(name="Berlin").update(maintenance=True)
    make_member("root", is_superuser=True)
    make_member("ada", "Operator")
    stack.start("web")
    page = visitor.tab()

    log_in_as(page, stack, "ada")
    page.goto(f"{stack.url}{SERVERS}")
    expect(page.get_by_text("No server that you may see.")).to_be_visible()

    log_in_as(page, stack, "root")
    page.goto(f"{stack.url}{RULES}")
    visitor.picture(page, "access-rules-empty")
    page.get_by_role("link", name="Add a rule").click()
    page.get_by_label("Name:").fill("The north")
    page.get_by_label("Group:").select_option("Operator")
    page.get_by_label("north").check()
    page.get_by_label("Operate: handle calls").check()
    page.get_by_label("Actions:").fill("Queue*")
    visitor.picture(page, "access-rule")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    visitor.picture(page, "access-rules")

    page.get_by_role("link", name="What may somebody do?").click()
    page.get_by_label("Person:").select_option("ada")
    page.get_by_label("Server:").select_option("Oslo")
    page.get_by_label("Action:").fill("QueuePause")
    page.get_by_role("button", name="Say what and why").click()
    answer = page.get_by_role("region", name="The answer")
    expect(answer).to_contain_text("Allowed")
    expect(answer).to_contain_text("by The north")
    page.get_by_label("Action:").fill("QueueReload")
    page.get_by_role("button", name="Say what and why").click()
    expect(answer).to_contain_text("Refused")
    expect(answer).to_contain_text("by no rule")
    visitor.picture(page, "access-explained")

    log_in_as(page, stack, "ada")
    page.goto(f"{stack.url}{SERVERS}")
    expect(page.get_by_role("link", name="Oslo")).to_be_visible()
    expect(page.get_by_role("link", name="Berlin")).to_have_count(0)
    visitor.picture(page, "access-servers-of-ada")
