"""Access rules in the admin, and the page that says what somebody may do, and why."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from ami_integration.access import services
from ami_integration.access.danger import DANGER_MEANS, Danger
from ami_integration.access.filters import VisibleTags
from ami_integration.access.forms import AccessRuleForm, ExplainForm
from ami_integration.access.models import AccessRule, lines_of
from ami_integration.audit.admin import AuditedAdmin


@admin.register(AccessRule)
class AccessRuleAdmin(AuditedAdmin):
    """Rules name servers and people, so their pages are for who holds the model permissions for rules."""

    class Media:
        css = {"all": ("ami_integration/access/rule.css",)}

    form = AccessRuleForm
    change_form_template = "ami_integration/access/change_form.html"
    change_list_template = "ami_integration/access/change_list.html"
    list_display = ("name", "group", "shown_effect", "where", "classes", "only")
    list_filter = ("effect", "group", "enabled", "all_servers", ("tags", VisibleTags))
    list_select_related = ("group",)
    search_fields = ("name", "group__name", "actions", "cli_prefixes", "notes")
    fieldsets = (
        (None, {"fields": ("name", "group", "effect", "enabled")}),
        ("Where", {"fields": ("all_servers", "tags", "servers")}),
        ("What", {"fields": ("dangers",)}),
        ("Only some of it", {"fields": ("actions", "cli_prefixes")}),
        ("Notes", {"fields": ("notes",)}),
    )

    def get_form(
        self, request: HttpRequest, obj: AccessRule | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, obj, change, **kwargs)
        return type("AccessRuleFormOfUser", (form,), {"viewer": request.user})

    def audit_deleted(self, obj: AccessRule) -> dict[str, Any]:
        """All that it granted or denied: nobody can look it up any more."""
        return {
            "group": str(obj.group),
            "effect": obj.effect,
            "enabled": obj.enabled,
            "all_servers": obj.all_servers,
            "tags": [str(tag) for tag in obj.tags.all()],
            "servers": [str(server) for server in obj.servers.all()],
            "dangers": list(obj.dangers),
            "actions": lines_of(obj.actions),
            "cli_prefixes": lines_of(obj.cli_prefixes),
        }

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessRule]:
        servers = services.servers_visible(user=request.user)
        tags = services.tags_visible(user=request.user)
        return (
            super()
            .get_queryset(request)
            .prefetch_related(
                "tags",
                "servers",
                Prefetch("tags", queryset=tags, to_attr="tags_seen"),
                Prefetch("servers", queryset=servers, to_attr="servers_seen"),
            )
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Access rules", **(extra_context or {})})

    @admin.display(description="effect", ordering="effect")
    def shown_effect(self, rule: AccessRule) -> SafeString:
        label = rule.get_effect_display()
        if not rule.enabled:
            return format_html('<span class="aw-state" data-state="disabled">{} (disabled)</span>', label)
        return format_html('<span class="aw-state" data-state="{}">{}</span>', rule.effect, label)

    @admin.display(description="on")
    def where(self, rule: Any) -> str:
        if rule.all_servers:
            return "all servers"
        words = [f"tag {tag}" for tag in rule.tags_seen] + [str(server) for server in rule.servers_seen]
        named = [*rule.tags.all(), *rule.servers.all()]
        if hidden := len(named) - len(words):
            words.append(f"{hidden} that you don't see")
        return ", ".join(words) or "nothing"

    @admin.display(description="classes")
    def classes(self, rule: AccessRule) -> SafeString:
        return format_html_join(
            " ",
            '<span class="aw-danger" data-danger="{}">{}</span>',
            ((danger.value, danger.label) for danger in Danger if danger in rule.dangers),
        )

    @admin.display(description="only", empty_value="")
    def only(self, rule: AccessRule) -> str | None:
        prefixes = [f"{prefix} …" for prefix in lines_of(rule.cli_prefixes)]
        return ", ".join([*lines_of(rule.actions), *prefixes]) or None

    # -- why

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.explain_view)
        return [path("explain/", view, name="ami_integration_accessrule_explain"), *super().get_urls()]

    def explain_view(self, request: HttpRequest) -> HttpResponse:
        """What may a person do on a server, and which rule says so?"""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = bool(request.GET)
        form = ExplainForm(request.GET or None, viewer=request.user)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "What may somebody do on a server?",
            "form": form,
            "asked": asked,
        }
        if asked and form.is_valid():
            context |= self._explanation(**form.cleaned_data)
        return TemplateResponse(request, "ami_integration/access/explain.html", context)

    def _explanation(
        self, *, user: Any, server: Any, action: str, headers: list[tuple[str, str]]
    ) -> dict[str, Any]:
        decision = None
        if action:
            decision = services.decide(user=user, server=server, action=action, headers=headers)
        watches = services.servers_watchable(user=user).filter(pk=server.pk).exists()
        general = [
            (
                "Sees the server",
                services.servers_visible(user=user).filter(pk=server.pk).exists(),
                "any grant",
            ),
            (
                "Sees its events",
                watches and services.user_may_watch(user=user),
                "all of class read, and the permission “Can view event”",
            ),
            (
                "Sees its runs",
                watches and services.user_may_view_runs(user=user),
                "all of class read, and the permission “Can view run”",
            ),
            ("Runs actions at all", services.user_may_run(user=user), "the permission “Can add run”"),
        ]
        return {
            "person": user,
            "server": server,
            "decision": decision,
            "general": general,
            "answers": [
                (answer, DANGER_MEANS[answer.danger])
                for answer in services.decide_classes(user=user, server=server)
            ],
        }
