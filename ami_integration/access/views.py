"""What every page asks about the login that it is looked at with."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from ami_integration.access.logins import login_left, watching


@watching
@never_cache
@require_GET
def session_left(request: HttpRequest) -> JsonResponse:
    """Seconds until the login ends."""
    return JsonResponse(login_left(request=request))


@never_cache
@require_POST
def session_stay(request: HttpRequest) -> JsonResponse:
    """The same, after somebody said that they are here."""
    return JsonResponse(login_left(request=request))
