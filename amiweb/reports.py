"""What Django's debug page tells of an error: where, and with which names, but no values.

The page is for developers (`AMIWEB_DEBUG=1`, in the trial only), and yet it is read by whoever met the error,
is copied into tickets, and lies in a cache. Django itself prints each local variable of each frame
and all that was posted, and hides what has a name like a password's; but a secret lies in `text` and `value`
as well, and a broker's password in the middle of a URL. So: of variables their types, of forms and cookies
their names, and no setting that carries a login.
"""

from types import TracebackType
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter


class NamesOnly(SafeExceptionReporterFilter):
    """Named by the setting DEFAULT_EXCEPTION_REPORTER_FILTER."""

    def get_traceback_frame_variables(  # type: ignore[override]  # Django itself gives a list, too
        self, request: HttpRequest | None, tb_frame: TracebackType
    ) -> list[tuple[str, Any]]:
        """The local variables of a frame, each with its type in the place of its value."""
        found: dict[str, Any] = tb_frame.f_locals  # type: ignore[attr-defined]  # the stubs say traceback
        return [(name, _Typed(type(value).__qualname__)) for name, value in found.items()]

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        """The names of what was posted."""
        return {} if request is None else dict.fromkeys(request.POST, self.cleansed_substitute)

    def get_safe_cookies(self, request: HttpRequest | None) -> dict[str, Any]:
        """The names of the cookies."""
        return {} if request is None else dict.fromkeys(request.COOKIES, self.cleansed_substitute)

    def cleanse_setting(self, key: str | int, value: Any) -> Any:
        """A setting's value; nothing of it where its name says that it is a secret, or it holds a login."""
        if isinstance(value, str) and "@" in value and ":" in value:
            return self.cleansed_substitute
        return super().cleanse_setting(key, value)


class _Typed:
    """Stands for a value; the page prints its repr."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name}>"
