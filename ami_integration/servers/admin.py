"""Admin pages of the servers: the list with their state, the form, and the connection test.

The test runs in the web process and needs the permission to change a server: it makes amiweb log in with a
stored secret. It is a POST, since it does something, and its page is the answer itself; nothing of it is
kept.
"""

import functools
from collections.abc import Container, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince

from ami_integration.access.filters import VisibleSites, VisibleTags
from ami_integration.access.services import (
    rules_naming,
    servers_visible,
    servers_watchable,
    sites_visible,
    tags_visible,
    user_may_run,
    user_may_watch,
)
from ami_integration.audit.admin import AuditedAdmin
from ami_integration.audit.services import request_address
from ami_integration.pastes import texts_bound
from ami_integration.secrets.forms import fieldsets_replacing
from ami_integration.servers import services
from ami_integration.servers.deletion import Loss, relations_named, rules_told, without_relations
from ami_integration.servers.forms import PINS, SECRETS, ServerForm
from ami_integration.servers.models import Server, ServerHealth, Site, Tag


@admin.register(Tag)
class TagAdmin(AuditedAdmin):
    """Tags. Which servers have one is said on the pages of the servers."""

    change_list_template = "ami_integration/servers/tag_list.html"
    list_display = ("name", "servers_with_it")
    search_fields = ("name",)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Tags"} | (extra_context or {}))

    def audit_deleted(self, obj: Tag) -> dict[str, Any]:
        names = [str(server) for server in obj.servers.all()]
        return {"servers": names, "access_rules": rules_naming(tag=obj)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tag]:
        servers = Prefetch("servers", queryset=servers_visible(user=request.user))
        visible = tags_visible(user=request.user).values("pk")
        return super().get_queryset(request).filter(pk__in=visible).prefetch_related(servers)

    @admin.display(description="servers", empty_value="none")
    def servers_with_it(self, tag: Tag) -> str | None:
        return ", ".join(str(server) for server in tag.servers.all()) or None


@admin.register(Site)
class SiteAdmin(AuditedAdmin):
    """Places. Which servers stand there is said on the pages of the servers."""

    change_list_template = "ami_integration/servers/site_list.html"
    list_display = ("name", "timezone", "servers_there")
    search_fields = ("name", "notes")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Sites"} | (extra_context or {}))

    def get_form(
        self, request: HttpRequest, obj: Site | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, obj, change, **kwargs)
        texts_bound(form.base_fields)
        return form

    def audit_deleted(self, obj: Site) -> dict[str, Any]:
        return {"servers": [str(server) for server in obj.servers.all()]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Site]:
        servers = Prefetch("servers", queryset=servers_visible(user=request.user))
        visible = sites_visible(user=request.user).values("pk")
        return super().get_queryset(request).filter(pk__in=visible).prefetch_related(servers)

    @admin.display(description="servers", empty_value="none")
    def servers_there(self, site: Site) -> str | None:
        return ", ".join(str(server) for server in site.servers.all()) or None


class StateFilter(admin.SimpleListFilter):
    """By the state that the list shows, which is not always the one that was noted last."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [
            (value, str(label))
            for value, label in ServerHealth.State.choices
            if value != ServerHealth.State.SECRET_UNREADABLE  # rows alone can't tell
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Server]) -> QuerySet[Server]:
        state = self.value()
        if state not in ServerHealth.State.values:
            return queryset
        return queryset.filter(pk__in=Server.objects.in_state(state).values("pk"))


class ServerList(ChangeList):
    """The list; a name in it leads to the page that shows the server."""

    def url_for_result(self, result: Any) -> str:
        return reverse("admin:ami_integration_server_page", args=[result.pk])


@admin.register(Server)
class ServerAdmin(AuditedAdmin):
    """The servers that somebody sees. Who may add, change or delete them is a model permission's to say."""

    audit_hidden = SECRETS
    form = ServerForm
    list_display = ("shown_state", "shown_name", "place", "version", "last_seen", "last_error")
    list_display_links = ("shown_name",)
    list_filter = (
        *(StateFilter, "enabled", ("tags", VisibleTags), ("site", VisibleSites)),
        *("read_only", "maintenance"),
    )
    list_select_related = ("health", "site")
    search_fields = ("name", "host", "site__name", "notes")
    actions: Sequence[Any] = (  # other rooms add theirs
        "run_action",
        "edit_several",
        "test_connection",
        "maintenance_on",
        "maintenance_off",
        "read_only_on",
        "read_only_off",
    )
    #: What else loses a server that is deleted: other rooms add theirs.
    losses: Sequence[Loss] = ()
    #: Further pages of a server: other rooms add theirs.
    pages: Sequence[URLPattern] = ()
    change_form_template = "ami_integration/servers/change_form.html"
    change_list_template = "ami_integration/servers/change_list.html"
    fieldsets = (
        (None, {"fields": ("name", "enabled", "site", "tags", "timezone", "notes")}),
        ("What may run on it", {"fields": ("read_only", "maintenance")}),
        ("Address", {"fields": ("transport", "host", "port")}),
        (
            "TLS",
            {
                "fields": ("tls_ca", "tls_pin"),
                "classes": ("aw-only-tls",),
                "description": "For the transport TLS alone.",
            },
        ),
        (
            "SSH tunnel",
            {
                "fields": (
                    *("ssh_host", "ssh_port", "ssh_username"),
                    *("ssh_key", "ssh_password", "ssh_host_key"),
                ),
                "classes": ("aw-only-ssh",),
                "description": "For the transport SSH tunnel alone: an AMI that listens only on the PBX "
                "itself is reached through its sshd.",
            },
        ),
        (
            "AMI account",
            {
                "fields": ("username", "secret_source", "secret_name", "secret"),
                "description": "A section of manager.conf on the PBX, made for amiweb alone.",
            },
        ),
        (
            "Actions",
            {
                "fields": ("max_sessions", "rate_per_minute", "action_username", "action_secret"),
                "description": "How much amiweb may ask of this PBX, and as whom. A second account keeps "
                "listening and acting apart, with fewer rights for each.",
            },
        ),
        (
            "Events",
            {
                "fields": ("event_keeping", "event_names"),
                "description": "Which events are stored, to be found later. The noise is what comes many "
                "times for each call: VarSet, Newexten, RTCP reports and the like. An edit holds within "
                "seconds.",
            },
        ),
    )

    @admin.display(description="server", ordering="name")
    def shown_name(self, server: Server) -> SafeString:
        simulated = mark_safe(' <span class="aw-tag">simulated</span>') if server.simulated else ""  # noqa: S308
        tls = ", TLS" if server.transport == Server.Transport.TLS else ""
        tags = format_html_join("", ' <span class="aw-tag">{}</span>', ((tag,) for tag in server.tags.all()))
        switches = format_html_join(
            "",
            ' <span class="aw-tag aw-switch">{}</span>',
            ((word,) for word in services.switches_on(server)),
        )
        return format_html(
            '{}{}{}{}<br><span class="aw-quiet">{}{}</span>',
            server.name,
            simulated,
            switches,
            tags,
            server.address,
            tls,
        )

    def get_fieldsets(self, request: HttpRequest, obj: Server | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets_replacing(fieldsets, obj if self.has_change_permission(request, obj) else None)

    def get_form(
        self, request: HttpRequest, obj: Server | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, obj, change, **kwargs)
        # A link of the connection test proposes a pin; only who saves the form sets it.
        proposed = {name: request.GET[name] for name in PINS if name in request.GET}
        return type("ServerFormOfUser", (form,), {"viewer": request.user, "proposed": proposed})

    def audit_deleted(self, obj: Server) -> dict[str, Any]:
        return {"tags": [tag.name for tag in obj.tags.all()], "access_rules": rules_naming(server=obj)}

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """What the page asks about before it deletes: what others lose with it in sentences."""
        deleted, counts, lacking, protected = super().get_deleted_objects(objs, request)
        one, several = relations_named()
        servers = list(objs)
        told = rules_told(request.user, servers)
        for loss in self.losses:
            told += loss.told(request.user, servers)
        counts = {name: number for name, number in counts.items() if name not in several}
        return [*without_relations(deleted, one), *told], counts, lacking, protected

    def delete_model(self, request: HttpRequest, obj: Server) -> None:
        with transaction.atomic():
            self._note_losses(request, [obj])
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        with transaction.atomic():
            self._note_losses(request, list(queryset))
            super().delete_queryset(request, queryset)

    def _note_losses(self, request: HttpRequest, servers: Sequence[Server]) -> None:
        for loss in self.losses:
            loss.noted(request.user, servers, request_address(request))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Server]:
        visible = servers_visible(user=request.user).values("pk")
        return super().get_queryset(request).filter(pk__in=visible).prefetch_related("tags")

    @admin.display(description="state", ordering="health__state")
    def shown_state(self, server: Server) -> SafeString:
        return format_html(
            '<span class="aw-state" data-state="{}">{}</span>', server.state.value, server.state.label
        )

    @admin.display(description="site", ordering="site__name", empty_value="none")
    def place(self, server: Server) -> str | None:
        return server.site.name if server.site else None

    @admin.display(description="Asterisk", ordering="health__asterisk_version", empty_value="not known yet")
    def version(self, server: Server) -> str | None:
        return (server.health.asterisk_version or None) if hasattr(server, "health") else None

    @admin.display(description="last seen", ordering="health__last_seen_at", empty_value="never")
    def last_seen(self, server: Server) -> SafeString | None:
        return _ago(server.health.last_seen_at) if hasattr(server, "health") else None

    @admin.display(description="last error", empty_value="none")
    def last_error(self, server: Server) -> SafeString | None:
        if not hasattr(server, "health") or not server.health.last_error:
            return None
        return format_html(
            '{} <span class="aw-quiet">{}</span>',
            server.health.last_error,
            _ago(server.health.last_error_at) or "",
        )

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """The columns, and the ways on from a server that this user may go."""

        @functools.cache
        def watchable() -> set[int]:
            return set(servers_watchable(user=request.user).values_list("pk", flat=True))

        @admin.display(description="go to")
        def links(server: Server) -> SafeString:
            pairs = _links(server, request, watchable())
            return format_html_join(mark_safe("<br>"), '<a href="{}">{}</a>', pairs)  # noqa: S308

        return [*super().get_list_display(request), links]

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<int:server_id>/test/",
            self.admin_site.admin_view(self.test_view),
            name="ami_integration_server_test",
        )
        return [own, *self.pages, *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ServerList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Servers"} | (extra_context or {}))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        server = self.get_object(request, object_id)
        context = {"server": server, "server_links": _links(server, request) if server else ()}
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))

    def test_view(self, request: HttpRequest, server_id: int) -> HttpResponse:
        """The button of one server."""
        server = self.get_object(request, str(server_id))
        if server is None:
            messages.warning(request, "That server is gone; there is nothing to test.")
            return HttpResponseRedirect(reverse("admin:ami_integration_server_changelist"))
        if not self.has_change_permission(request, server):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseRedirect(reverse("admin:ami_integration_server_change", args=[server.pk]))
        return self._test_page(request, [server])

    @admin.action(description="Test connection", permissions=["change"])
    def test_connection(self, request: HttpRequest, servers: QuerySet[Server]) -> HttpResponse:
        """The bulk action of the list."""
        return self._test_page(request, list(servers))

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Whether the list offers to run an action; where, the form asks the access rules."""
        return user_may_run(user=request.user)

    @admin.action(description="Run an action on them", permissions=["run"])
    def run_action(self, request: HttpRequest, servers: QuerySet[Server]) -> HttpResponse:
        """On to the form with these servers ticked; nothing runs yet."""
        query = urlencode([("server", server.pk) for server in servers])
        return HttpResponseRedirect(f"{reverse('admin:ami_integration_actionrun_add')}?{query}")

    @admin.action(description="Edit several: tags, site, zone, switches", permissions=["change"])
    def edit_several(self, request: HttpRequest, servers: QuerySet[Server]) -> HttpResponse:
        """On to the form for all of these; nothing changes yet."""
        query = urlencode({"servers": ",".join(str(server.pk) for server in servers)}, safe=",")
        return HttpResponseRedirect(f"{reverse('admin:ami_integration_server_several')}?{query}")

    @admin.action(description="Maintenance on: no action runs", permissions=["change"])
    def maintenance_on(self, request: HttpRequest, servers: QuerySet[Server]) -> None:
        self._switch(request, servers, "maintenance", True)

    @admin.action(description="Maintenance off", permissions=["change"])
    def maintenance_off(self, request: HttpRequest, servers: QuerySet[Server]) -> None:
        self._switch(request, servers, "maintenance", False)

    @admin.action(description="Read-only on: only class read runs", permissions=["change"])
    def read_only_on(self, request: HttpRequest, servers: QuerySet[Server]) -> None:
        self._switch(request, servers, "read_only", True)

    @admin.action(description="Read-only off", permissions=["change"])
    def read_only_off(self, request: HttpRequest, servers: QuerySet[Server]) -> None:
        self._switch(request, servers, "read_only", False)

    def _switch(self, request: HttpRequest, servers: QuerySet[Server], switch: str, on: bool) -> None:
        switched = services.servers_switch(
            user=request.user, servers=list(servers), switch=switch, on=on, address=request_address(request)
        )
        word = f"{switch.replace('_', '-')} {'on' if on else 'off'}"
        names = ", ".join(server.name for server in switched)
        if switched:
            messages.success(request, f"Switched {word}: {names}.")
        else:
            messages.info(request, f"Nothing to switch: {word} was how these servers were.")

    def _test_page(self, request: HttpRequest, servers: list[Server]) -> HttpResponse:
        for server in servers:
            services.connection_test_begin(
                server=server, user=request.user, origin="admin", address=request_address(request)
            )
        tests = services.connections_test(servers=servers)
        working = sum(test.ok for test in tests)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Connection test",
            "tests": [(test, _links(test.server, request)) for test in tests],
            "count": len(tests),
            "working": working,
        }
        return TemplateResponse(request, "ami_integration/servers/connection_test.html", context)


def _links(
    server: Server, request: HttpRequest, watchable: Container[int] | None = None
) -> list[tuple[str, str]]:
    """Where this user may go from a server: to its live events, and to the form that runs an action on it.

    Args:
        watchable: the ids of the servers whose events they may see, where that was asked already.
    """
    links = []
    if user_may_watch(user=request.user):
        if watchable is None:
            watchable = set(servers_watchable(user=request.user).values_list("pk", flat=True))
        if server.pk in watchable:
            links.append((f"{reverse('live')}?server={server.pk}", "Live events"))
    if server.enabled and user_may_run(user=request.user):
        links.append(
            (f"{reverse('admin:ami_integration_actionrun_add')}?server={server.pk}", "Run an action")
        )
    return links


def _ago(at: datetime | None) -> SafeString | None:
    """A past time in words, the exact one in its tooltip."""
    if at is None:
        return None
    exact = timezone.localtime(at).strftime("%Y-%m-%d %H:%M:%S %Z")
    words = "just now" if (timezone.now() - at).total_seconds() < 60 else f"{timesince(at, depth=1)} ago"
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), exact, words)
