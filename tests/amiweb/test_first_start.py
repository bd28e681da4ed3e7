"""What the first start of the trial leaves in the database."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from pytest_django import Settings

from ami_integration.access.models import AccessRule
from amiweb import trial

pytestmark = pytest.mark.django_db


def test_the_first_start_makes_an_administrator_and_the_groups_for_who_comes_next(settings: Settings) -> None:
    settings.AMIWEB_ADMIN_PASSWORD = "from the environment"
    assert "Log in as" in trial.make_administrator()
    assert User.objects.get().is_superuser
    assert set(Group.objects.values_list("name", flat=True)) == {
        "Administrator",
        "Engineer",
        "Operator",
        "Viewer",
    }
    assert AccessRule.objects.count() == 4
    # What somebody changed or deleted later is theirs.
    AccessRule.objects.filter(group__name="Viewer").delete()
    Group.objects.get(name="Viewer").delete()
    trial.make_administrator()
    assert Group.objects.count() == 3
