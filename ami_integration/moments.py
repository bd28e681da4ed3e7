"""A filter of lists: from a minute to a minute, or the last hour or days."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Field, Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime


class MomentFilter(admin.DateFieldListFilter):
    """When: the last hour or days, or from a minute to a minute."""

    template = "ami_integration/moment_filter.html"

    def __init__(
        self,
        field: "Field[Any, Any]",
        request: HttpRequest,
        params: Any,
        model: type[Model],
        model_admin: "ModelAdmin[Any]",
        field_path: str,
    ) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        self.title = "time"
        now = timezone.now()
        since = self.lookup_kwarg_since
        spans = (
            ("Past hour", timedelta(hours=1)),
            ("Past 24 hours", timedelta(hours=24)),
            ("Past 7 days", timedelta(days=7)),
            ("Past 30 days", timedelta(days=30)),
        )
        links: list[tuple[str, dict[str, Any]]] = [("Any time", {})]
        links += [(name, {since: f"{now - span:%Y-%m-%dT%H:%M}Z"}) for name, span in spans]
        self.links = tuple(links)
        self.others = [
            (name, value)
            for name, value in request.GET.items()
            if name not in (since, self.lookup_kwarg_until, "p", "e")
        ]

    @property
    def bounds(self) -> dict[str, str]:
        """What the two fields of the form hold, in the pages' time zone."""
        return {name: self._local(name) for name in (self.lookup_kwarg_since, self.lookup_kwarg_until)}

    def _local(self, name: str) -> str:
        given = self._moment(name)
        return "" if given is None else f"{timezone.localtime(given):%Y-%m-%dT%H:%M}"

    def _moment(self, name: str) -> Any:
        values = self.used_parameters.get(name) or ""
        text = str(values[-1] if isinstance(values, list) else values)
        try:
            moment = parse_datetime(text)
        except ValueError:
            moment = None
        if text and moment is None:
            raise IncorrectLookupParameters(f"{text} is no time.")
        if moment is not None and timezone.is_naive(moment):
            moment = timezone.make_aware(moment)
        return moment

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        since, until = self._moment(self.lookup_kwarg_since), self._moment(self.lookup_kwarg_until)
        if since is not None:
            queryset = queryset.filter(**{self.lookup_kwarg_since: since})
        return queryset if until is None else queryset.filter(**{self.lookup_kwarg_until: until})
