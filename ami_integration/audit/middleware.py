"""Tells the audit of each page that was refused to somebody, where nobody told more of it."""

from contextvars import ContextVar

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from ami_integration.audit.admin import value_plain
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.services import entry_write, refusal_told, refusal_watch, request_address

_request: ContextVar[HttpRequest | None] = ContextVar("request", default=None)


def request_now() -> HttpRequest | None:
    """The request that is being answered; None outside of one, as in a command."""
    return _request.get()


class RefusalsNoted(MiddlewareMixin):
    """A refused attempt of somebody who is logged in is an entry, whichever view refused it."""

    def process_request(self, request: HttpRequest) -> None:
        """From here on it counts whether a refusal was told of."""
        refusal_watch()
        _request.set(request)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Behind it nobody asks any more."""
        _request.set(None)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Django makes the page 403 of it. The query isn't kept: it may hold anything."""
        if not isinstance(exception, PermissionDenied) or refusal_told():
            return
        if not isinstance(request.user, User):
            return
        entry_write(
            actor=request.user,
            origin="admin",
            address=request_address(request),
            verb="page.open" if request.method in ("GET", "HEAD") else "page.post",
            what={"path": value_plain(request.path), "reason": value_plain(str(exception))},
            object_type="page",
            object_name=request.path,
            outcome=AuditEntry.Outcome.REFUSED,
        )
