"""Nothing is changed and nothing leaves without an entry, and nothing new that does is forgotten."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import RequestFactory

from ami_integration.audit.admin import AuditedAdmin

#: Pages that change nothing by themselves, but by services for every way in, which tell by these verbs.
BY_SERVICES = {"ActionRun": "run.submit"}
APP = Path(__file__).resolve().parent.parent.parent / "ami_integration"


@pytest.mark.django_db
def test_whatever_the_admin_can_change_it_audits() -> None:
    request = RequestFactory().get("/")
    request.user = User.objects.create_superuser("root")
    changing = [
        pages
        for pages in admin.site._registry.values()
        if pages.has_add_permission(request)
        or pages.has_change_permission(request)
        or pages.has_delete_permission(request)
    ]
    assert len(changing) > 5
    others = {pages.model.__name__ for pages in changing if not isinstance(pages, AuditedAdmin)}
    assert others == set(BY_SERVICES)
    source = "\n".join(path.read_text() for path in APP.rglob("*.py"))
    assert [verb for verb in BY_SERVICES.values() if f'"{verb}"' not in source] == []


def _functions(path: Path) -> list[tuple[str, str]]:
    text = path.read_text()
    return [
        (f"{path.relative_to(APP)}: {node.name}", ast.get_source_segment(text, node) or "")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_whatever_is_sent_as_a_file_is_told_before() -> None:
    sending = {
        name: source
        for path in APP.rglob("*.py")
        for name, source in _functions(path)
        if "Content-Disposition" in source
    }
    assert len(sending) >= 4
    assert [name for name, source in sending.items() if "export_write(" not in source] == []
