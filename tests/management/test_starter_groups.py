from __future__ import annotations

import io

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

pytestmark = pytest.mark.django_db


def test_the_command_says_what_it_made_and_makes_nothing_twice() -> None:
    first, second = io.StringIO(), io.StringIO()
    call_command("starter_groups", stdout=first)
    call_command("starter_groups", stdout=second)
    assert "made group Operator" in first.getvalue()
    assert second.getvalue().startswith("nothing to make")
    assert Group.objects.count() == 4
