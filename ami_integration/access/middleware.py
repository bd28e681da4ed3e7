"""What is looked at before any page of amiweb: its address, and whether the login still holds."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

from ami_integration.access.logins import login_touch

_SAYS = "The address holds a NUL (%00), which nothing in amiweb has in its name. Take it out of the address."


class RefuseNul(MiddlewareMixin):
    """Refuses addresses with a NUL: no name holds one, and PostgreSQL makes an error of it anywhere."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Answer such an address with the page 400; it isn't raised, since that would log a traceback."""
        if "%00" in request.META.get("QUERY_STRING", "") or "\0" in request.path:
            return HttpResponseBadRequest(render_to_string("400.html", {"says": _SAYS}))
        return None


class IdleLimit(MiddlewareMixin):
    """Logs out who did nothing for too long; the page then asks to log in, as of anybody."""

    def process_view(self, request: HttpRequest, view: Callable[..., Any], *_: Any) -> None:
        """Not before, since the view tells whether this is activity."""
        if request.user.is_authenticated:
            login_touch(request=request, view=view)
