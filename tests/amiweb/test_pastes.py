"""What is pasted into the fields of forms, on the way through Django: too much, and as much as gets in."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.forms import CharField
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver

MUCH = 7 * 1024 * 1024
FITS = 2 * 1024 * 1024


def addresses() -> list[str]:
    """Where something is posted without naming a row: the forms that add, the actions of lists, pages."""
    found: list[str] = []

    def walk(patterns: list[URLPattern | URLResolver], prefix: str) -> None:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                walk(pattern.url_patterns, route)
            elif "<" not in route and "logout" not in route:
                found.append("/" + route)

    walk(get_resolver().url_patterns, "")
    return found


@pytest.mark.django_db
def test_a_paste_beyond_the_bound_of_forms_is_refused_in_words_everywhere(admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.get("/admin/password_change/").status_code == 200  # has the browser's half of the token
    known = addresses()
    assert len(known) > 40
    for address in known:
        answer = client.post(address, {"paste": "x" * MUCH})
        assert answer.status_code == 413, address
        assert "holds more text than amiweb takes" in answer.content.decode()
        assert answer.headers["Content-Security-Policy"]


@pytest.mark.django_db
def test_more_fields_than_any_form_has_are_refused_in_words(admin_client: Client) -> None:
    answer = admin_client.post("/admin/ami_integration/tag/add/", {f"field{n}": "" for n in range(2000)})
    assert answer.status_code == 413
    assert "more fields than amiweb takes" in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.usefixtures("valkey")
def test_each_text_field_of_each_form_says_no_to_more_than_it_holds(admin_client: Client) -> None:
    request = RequestFactory().get("/")
    request.user = User.objects.get()
    tried, takes = 0, []
    for model in apps.get_app_config("ami_integration").get_models():
        if not admin.site.is_registered(model) or model.__name__.startswith("Catalogue"):
            continue
        page = admin.site.get_model_admin(model)
        if not page.has_add_permission(request):
            continue
        address = f"/admin/ami_integration/{model._meta.model_name}/add/"
        for name, field in page.get_form(request)().fields.items():
            if isinstance(field, CharField):
                answer = admin_client.post(address, {name: "x" * FITS})
                assert answer.status_code in (200, 302, 403), f"{address} {name}"
                tried += 1
                shown = answer.context.get("adminform") if answer.status_code == 200 else None
                if shown is not None and name not in shown.form.errors:
                    takes.append(f"{model.__name__}.{name}")
    assert tried > 15
    assert takes == []
