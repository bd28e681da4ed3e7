"""Numbers that no row can have, sent where a browser chooses among rows."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from ami_integration.servers.models import Server, Tag
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
HUGE = ["9" * 30, str(2**63), str(-(2**63) - 1)]


@pytest.mark.parametrize("huge", HUGE)
def test_a_list_of_numbers_may_hold_what_no_row_has(huge: str) -> None:
    group = Group.objects.create(name="Desk")
    person = User.objects.create(username="eve")
    person.groups.add(group)
    assert list(Group.objects.filter(pk__in=[huge, group.pk])) == [group]
    assert list(User.objects.filter(groups__in=[int(huge), group.pk])) == [person]
    assert list(User.objects.exclude(groups__in=[int(huge)])) == [person]
    assert not Group.objects.filter(pk__in=[huge]).exists()


@pytest.mark.parametrize("huge", HUGE)
def test_a_form_says_that_the_choice_is_none(admin_client: Client, huge: str) -> None:
    server, tag = make_server(), Tag.objects.create(name="shop")
    for address, field in (
        (f"/admin/ami_integration/server/{server.pk}/change/", "tags"),
        ("/admin/ami_integration/accessrule/add/", "groups"),
        ("/admin/ami_integration/blackout/add/", "servers"),
        ("/admin/auth/user/1/change/", "groups"),
    ):
        answer = admin_client.post(address, {field: [huge, str(tag.pk)]})
        assert answer.status_code in (200, 302, 404), address
    chosen = {"action": "delete_selected", "_selected_action": [huge]}
    assert admin_client.post("/admin/ami_integration/server/", chosen).status_code in (200, 302)
    assert Server.objects.count() == 1
