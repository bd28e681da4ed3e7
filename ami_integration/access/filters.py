"""Filters of admin lists that offer only what the person may see."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from ami_integration.access.services import sites_visible, tags_visible


class VisibleTags(admin.RelatedFieldListFilter):
    """By tag: those that this person sees."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.empty_value_display = SafeString("no tag")

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        return [(tag.pk, str(tag)) for tag in tags_visible(user=request.user).order_by("name")]


class VisibleSites(admin.RelatedFieldListFilter):
    """By site: those that this person sees."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.empty_value_display = SafeString("no site")

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        return [(site.pk, str(site)) for site in sites_visible(user=request.user).order_by("name")]
