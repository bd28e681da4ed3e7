"""amiweb's addresses, and one that always fails."""

from typing import NoReturn

from django.http import HttpRequest
from django.urls import path

from amiweb.urls import urlpatterns as real_urlpatterns


def broken(request: HttpRequest) -> NoReturn:
    raise RuntimeError("a mistake of ours")


urlpatterns = [path("broken/", broken), *real_urlpatterns]
