"""The answer to a request that Django refuses to read, in words that name the reason."""

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

_TOO_BIG = (
    "The form holds more text than amiweb takes at once (2.5 MB). Nothing was done. Go back, and send less."
)
_TOO_MANY = "The form has more fields than amiweb takes at once. Nothing was done. Go back, and send fewer."


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400.

    Args:
        exception: what was wrong; of most kinds only who runs amiweb should know more.
    """
    says, status = "", 400
    if isinstance(exception, RequestDataTooBig):
        says, status = _TOO_BIG, 413
    elif isinstance(exception, TooManyFieldsSent | TooManyFilesSent):
        says, status = _TOO_MANY, 413
    return HttpResponse(render_to_string("400.html", {"says": says}), status=status)
