from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client

from ami_integration.access.services import (
    session_user,
    user_may_run,
    user_may_view_runs,
    user_may_watch,
)

pytestmark = pytest.mark.django_db

RULES = [
    (user_may_run, "add_actionrun"),
    (user_may_view_runs, "view_actionrun"),
    (user_may_watch, "view_event"),
]


def make_user(*permissions: str, **values: object) -> User:
    user = User.objects.create(username=f"user{User.objects.count()}", **{"is_staff": True, **values})
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


@pytest.mark.parametrize(("rule", "permission"), RULES)
def test_a_right_is_had_by_its_holder_and_by_nobody_else(rule, permission: str) -> None:
    others = [name for _, name in RULES if name != permission]
    assert rule(user=make_user(permission))
    assert rule(user=make_user(is_superuser=True))
    assert not rule(user=make_user(*others))
    assert not rule(user=make_user(permission, is_active=False))
    assert not rule(user=make_user(is_superuser=True, is_active=False))
    assert not rule(user=AnonymousUser())
    assert not rule(user=None)


@pytest.mark.parametrize(("rule", "permission"), RULES[1:])
def test_pages_are_for_staff(rule, permission: str) -> None:
    assert not rule(user=make_user(permission, is_staff=False))


def test_a_session_is_somebody_only_as_long_as_it_lasts(client: Client) -> None:
    user = make_user()
    client.force_login(user)
    key = client.session.session_key
    assert session_user(session_key=key) == user
    user.set_password("changed, so other sessions end")
    user.save()
    assert session_user(session_key=key).is_anonymous
    client.force_login(user)
    key = client.session.session_key
    SessionStore(key).delete()
    assert session_user(session_key=key).is_anonymous
    assert session_user(session_key=None).is_anonymous
