"""What no page of amiweb has to bear in its address."""

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin


class RefuseNul(MiddlewareMixin):
    """Refuses addresses with a NUL: no name holds one, and PostgreSQL makes an error of it anywhere."""

    def process_request(self, request: HttpRequest) -> None:
        """Raise BadRequest, which becomes the page 400."""
        if "%00" in request.META.get("QUERY_STRING", "") or "\0" in request.path:
            raise BadRequest("The address holds a NUL.")
