"""Users and groups give access, so what is done to them is audited."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from ami_integration.audit.models import AuditEntry

pytestmark = pytest.mark.django_db

USERS = "/admin/auth/user/"
PASSWORD = "a-long-enough-w0rd"


def fields(user: User, **values: object) -> dict[str, object]:
    return {
        "username": user.username,
        "is_active": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
    } | values


def last() -> AuditEntry:
    return AuditEntry.objects.latest("pk")


def test_a_user_is_added_changed_and_deleted_and_no_password_is_told(admin_client: Client) -> None:
    new = {"username": "ada", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    assert admin_client.post(f"{USERS}add/", new).status_code == 302
    ada = User.objects.get(username="ada")
    assert (last().verb, last().object_name, last().actor_name) == ("user.add", "ada", "admin")
    group = Group.objects.create(name="Operator")
    page = f"{USERS}{ada.pk}/change/"
    answer = admin_client.post(page, fields(ada, is_staff="on", groups=[group.pk]))
    assert answer.status_code == 302, answer.content.decode()
    what = last().what
    assert what["is_staff"] == {"from": False, "to": True}
    assert what["groups"] == {"from": [], "to": ["Operator"]}
    word = {"password1": PASSWORD + "2", "password2": PASSWORD + "2", "usable_password": "true"}
    assert admin_client.post(f"{USERS}{ada.pk}/password/", word).status_code == 302
    assert (last().verb, last().what, last().object_name) == ("user.password", {"own": False}, "ada")
    admin_client.post(f"{USERS}{ada.pk}/delete/", {"post": "yes"})
    assert (last().verb, last().what) == ("user.delete", {"superuser": False, "groups": ["Operator"]})
    everything = str(list(AuditEntry.objects.values()))
    assert PASSWORD not in everything and ada.password not in everything


def test_a_password_that_was_refused_is_no_change(admin_client: Client) -> None:
    ada = User.objects.create_user("ada")
    page = f"{USERS}{ada.pk}/password/"
    assert admin_client.post(page, {"password1": "1", "password2": "2"}).status_code == 200
    assert not AuditEntry.objects.exists()


def test_what_a_group_may_is_told(admin_client: Client) -> None:
    permission = Permission.objects.get(codename="view_server")
    admin_client.post("/admin/auth/group/add/", {"name": "Night shift", "permissions": [permission.pk]})
    assert last().verb == "group.add"
    assert last().what["permissions"] == {"from": None, "to": [str(permission)]}
    group = Group.objects.get()
    group.user_set.add(User.objects.create_user("ada"))
    admin_client.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"})
    assert last().what == {"members": ["ada"]}
