"""The filters of the action log: each offers only what is in the runs that the person may see."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from ami_integration.access.services import servers_watchable
from ami_integration.servers.models import server_label


class ServerFilter(admin.RelatedFieldListFilter):
    """The servers whose runs this person may see."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.empty_value_display = SafeString("deleted ones")

    def field_choices(self, field: Any, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Any:
        servers = servers_watchable(user=request.user).order_by("name").values_list("pk", "name", "simulated")
        return [(pk, server_label(name, simulated=simulated)) for pk, name, simulated in servers]


class PersonFilter(admin.AllValuesFieldListFilter):
    """By the names that the runs keep: of people who are gone, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "person"

    def choices(self, changelist: Any) -> Iterator[Any]:
        for choice in super().choices(changelist):
            yield {**choice, "display": choice["display"] or "nobody (the command line)"}
