"""The live page. All of its data comes over the WebSocket."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from ami_integration.access.services import user_may_watch
from ami_integration.events.filters import MAX_NAME_LENGTH, MAX_NAMES, MAX_TEXT_LENGTH


def live(request: HttpRequest) -> HttpResponse:
    """Events as they come. The filter is in the address (`server` or `tag`, `names`, `text`, `linkedid`) and
    belongs to the script.
    """
    if not user_may_watch(user=request.user):
        raise PermissionDenied
    context = {
        **admin.site.each_context(request),
        "title": "Live events",
        "max_names_length": (MAX_NAME_LENGTH + 2) * MAX_NAMES,
        "max_text_length": MAX_TEXT_LENGTH,
    }
    return render(request, "ami_integration/events/live.html", context)
