"""What somebody sees who failed to log in too often. When that is, django-axes decides."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def locked_out(request: HttpRequest, *_: Any) -> HttpResponse:
    """The page instead of another try. It doesn't tell whether there is somebody of this name."""
    wait = settings.AXES_COOLOFF_TIME
    context = {"minutes": int(wait.total_seconds() // 60)}
    response = render(request, "ami_integration/access/locked_out.html", context, status=429)
    response["Retry-After"] = str(int(wait.total_seconds()))
    response["Cache-Control"] = "no-store"
    return response
