"""People who log in at the browser, in tests that look at pages."""

from __future__ import annotations

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User

from tests.browser.chromium import Handle, Visitor, expect
from tests.processes import Stack

WORD = "a long enough one"


def make_member(username: str, *groups: str, **values: bool) -> User:
    """A member of staff in these groups, with a password that the real processes can check."""
    user = User.objects.create(
        username=username, password=make_password(WORD, hasher="pbkdf2_sha256"), is_staff=True, **values
    )
    user.groups.set(Group.objects.filter(name__in=groups))
    return user


def log_in_as(page: Handle, stack: Stack, username: str) -> None:
    """Be this person in the page from now on, whoever was before."""
    page.context.clear_cookies()
    page.goto(f"{stack.url}/admin/login/")
    page.get_by_label("Username:", exact=True).fill(username)
    page.get_by_label("Password:", exact=True).fill(WORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("navigation", name="amiweb")).to_be_visible()


def log_in(visitor: Visitor, stack: Stack) -> Handle:
    """A new tab of a new superuser named ada."""
    make_member("ada", is_superuser=True)
    page = visitor.tab()
    log_in_as(page, stack, "ada")
    return page
