"""What the list of schedules can be filtered by. Of servers and tags, those that the person sees."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from ami_integration.access.services import servers_visible, tags_visible
from ami_integration.keys import pk_of
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.states import PLANNED_LABELS, STATE_IS, State
from ami_integration.servers.models import Server, server_label

Choices = list[tuple[str, str]]


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(state.value, str(state.label)) for state in State]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> QuerySet[Schedule]:
        value = self.value()
        return queryset.filter(STATE_IS[State(value)]) if value in State.values else queryset


class OutcomeFilter(admin.SimpleListFilter):
    title = "last outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        ended = {
            code: label for code, label in PLANNED_LABELS.items() if code not in ("waiting", "submitted")
        }
        return [*ended.items(), ("none", "Not yet run")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> QuerySet[Schedule]:
        value = self.value()
        if value == "none":
            return queryset.filter(last_state="")
        return queryset.filter(last_state=value) if value else queryset


class ServerFilter(admin.SimpleListFilter):
    """Schedules that run on a server now: named, or by a tag that it has."""

    title = "server"
    parameter_name = "server"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        seen = servers_visible(user=request.user).order_by("name").values_list("pk", "name", "simulated")
        return [(str(pk), server_label(name, simulated=simulated)) for pk, name, simulated in seen]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> QuerySet[Schedule]:
        if not (value := self.value()):
            return queryset
        seen = servers_visible(user=request.user).filter(pk=pk_of(value)).values("pk")
        tags = Server.tags.through.objects.filter(server_id__in=seen).values("tag_id")
        named = Schedule.servers.through.objects.filter(server_id__in=seen).values("schedule_id")
        return queryset.filter(pk__in=named) | queryset.filter(tag_id__in=tags)


class TagFilter(admin.SimpleListFilter):
    title = "tag"
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        seen = tags_visible(user=request.user).order_by("name").values_list("pk", "name")
        return [(str(pk), name) for pk, name in seen]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> QuerySet[Schedule]:
        return queryset.filter(tag=pk_of(value)) if (value := self.value()) else queryset


class OwnerFilter(admin.SimpleListFilter):
    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        names = Schedule.objects.visible_to(request.user).order_by("owner_name").exclude(owner_name="")
        return [(name, name) for name in names.values_list("owner_name", flat=True).distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> QuerySet[Schedule]:
        return queryset.filter(owner_name=value) if (value := self.value()) else queryset


class KindFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(str(code), str(label)) for code, label in Schedule.Kind.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> QuerySet[Schedule]:
        return queryset.filter(kind=value) if (value := self.value()) else queryset


FILTERS = (StateFilter, OutcomeFilter, ServerFilter, TagFilter, OwnerFilter, KindFilter)
