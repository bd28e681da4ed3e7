"""Each change of a password is an entry, whoever changes it, and no password is in one."""

from __future__ import annotations

import getpass
from io import StringIO
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from ami_integration.audit.models import AuditEntry

pytestmark = pytest.mark.django_db

OLD, NEW = "first-l0ng-password", "second-l0ng-password"


def entries() -> list[tuple[str, str, str, str, dict[str, object]]]:
    found = AuditEntry.objects.filter(verb__startswith="user.").order_by("pk")
    assert OLD not in str([*found.values()]) and NEW not in str([*found.values()])
    return [(one.verb, one.origin, one.actor_name, one.object_name, one.what) for one in found]


def test_ones_own(client: Client) -> None:
    ada = User.objects.create_user("ada", password=OLD, is_staff=True)
    client.force_login(ada)
    given = {"old_password": OLD, "new_password1": NEW, "new_password2": NEW}
    assert client.post("/admin/password_change/", given | {"old_password": "wrong"}).status_code == 200
    assert entries() == []
    assert client.post("/admin/password_change/", given, REMOTE_ADDR="192.0.2.9").status_code == 302
    assert entries() == [("user.password", "admin", "ada", "ada", {"own": True})]
    assert AuditEntry.objects.get(verb="user.password").address == "192.0.2.9"


def test_somebody_elses(admin_client: Client) -> None:
    ada = User.objects.create_user("ada", password=OLD, is_staff=True)
    given = {"password1": NEW, "password2": NEW, "usable_password": "true"}
    page = f"/admin/auth/user/{ada.pk}/password/"
    assert admin_client.post(page, given).status_code == 302
    assert entries() == [("user.password", "admin", "admin", "ada", {"own": False})]


def test_at_the_command_line() -> None:
    User.objects.create_user("ada", password=OLD)
    with mock.patch(
        "django.contrib.auth.management.commands.changepassword.getpass.getpass", return_value=NEW
    ):
        call_command("changepassword", "ada", stdout=StringIO())
    assert User.objects.get().check_password(NEW)
    assert entries() == [("user.password", "command", getpass.getuser(), "ada", {"own": False})]


def test_a_superuser_who_was_made_at_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", NEW)
    call_command("createsuperuser", username="root", email="", interactive=False, stdout=StringIO())
    assert User.objects.get().is_superuser
    assert entries() == [("user.add", "command", getpass.getuser(), "root", {"way": "createsuperuser"})]


def test_a_login_that_renews_the_hash_is_no_change(client: Client) -> None:
    ada = User.objects.create_user("ada", is_staff=True)
    User.objects.filter(pk=ada.pk).update(password="pbkdf2_sha256$1$salt$" + "A" * 43 + "=")
    assert not User.objects.get().check_password(OLD)
    assert entries() == []
