"""What no page of amiweb has to bear in its address."""

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

_SAYS = "The address holds a NUL (%00), which nothing in amiweb has in its name. Take it out of the address."


class RefuseNul(MiddlewareMixin):
    """Refuses addresses with a NUL: no name holds one, and PostgreSQL makes an error of it anywhere."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Answer such an address with the page 400; it isn't raised, since that would log a traceback."""
        if "%00" in request.META.get("QUERY_STRING", "") or "\0" in request.path:
            return HttpResponseBadRequest(render_to_string("400.html", {"says": _SAYS}))
        return None
