"""The history page, what it asks for as it goes, its files, and the filters that people save.

The page itself is empty: its question stands in its address, and the answer comes from `history_data`.
"""

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlencode

from channels.db import database_sync_to_async
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from ami_integration.access.services import session_user, user_may_watch
from ami_integration.audit.admin import value_plain
from ami_integration.audit.services import export_write
from ami_integration.events.history import (
    LENGTHS,
    RANGE,
    RANGES,
    Question,
    history_items,
    history_page,
)
from ami_integration.events.saved import SavedFilter
from ami_integration.events.search import InvalidSearch, RightWithdrawn
from ami_integration.events.services import Item, live_servers
from ami_integration.spreadsheets import csv_lines

#: Filters that a person may save.
MOST_SAVED = 100
#: Lines of a file that are made before they are sent.
PARTS_AT_ONCE = 500
_COLUMNS = ("Time (UTC)", "Server", "Event", "Channel", "Uniqueid", "Linkedid", "Headers")


@never_cache
@require_GET
def history(request: HttpRequest) -> HttpResponse:
    """The page."""
    _require(request)
    context = {
        **admin.site.each_context(request),
        "title": "Event history",
        "lengths": LENGTHS,
        "ranges": RANGES.items(),
        "usual_range": RANGE,
        "saved": _saved(request),
    }
    return TemplateResponse(request, "ami_integration/events/history.html", context)


@never_cache
@require_GET
def history_data(request: HttpRequest) -> JsonResponse:
    """A page of what its address asks for; `before` is the `more` of the page before."""
    _require(request)
    before = request.GET.get("before", "")
    try:
        if before and not (before.isascii() and before.isdigit() and len(before) < 20):
            raise InvalidSearch("The page asked for something that amiweb doesn't know. Reload it.")
        question = Question.parse(request.GET)
        page = history_page(user=request.user, question=question, before_id=int(before) if before else None)
    except InvalidSearch as error:
        return JsonResponse({"error": str(error)}, status=400)
    return JsonResponse(page)


@never_cache
@require_GET
def history_export(request: HttpRequest, kind: str) -> HttpResponseBase:
    """All that its address asks for, as a file that is written while it is sent.

    The rights are asked for all the while, as those of a socket are. One that was withdrawn ends the file
    with a line that says so, and then breaks the connection: programs don't read last lines, but they and
    browsers notice a download that failed.
    """
    _require(request)
    asks = partial(session_user, session_key=request.session.session_key)
    try:
        items = history_items(user=asks, question=Question.parse(request.GET))
    except InvalidSearch as error:
        return HttpResponse(f"{error}\n", status=400, content_type="text/plain; charset=utf-8")
    names = {server["id"]: server["name"] for server in live_servers(user=request.user)}
    asked = {name: value_plain(request.GET[name]) for name in LENGTHS if request.GET.get(name)}
    export_write(request=request, verb="events.export", what={"kind": kind, **asked}, object_type="events")
    if kind == "csv":
        parts, content_type = csv_lines(_table(items, names)), "text/csv; charset=utf-8"
    else:
        parts, content_type = _json(items, names), "application/json"
    response = StreamingHttpResponse(_streamed(parts), content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="events.{kind}"'
    return response


@require_POST
def filter_save(request: HttpRequest) -> JsonResponse:
    """Keep a question under a name; one of the same name is replaced."""
    _require(request)
    name = " ".join(request.POST.get("name", "").split())
    longest = SavedFilter._meta.get_field("name").max_length or 0
    given = dict(parse_qsl(request.POST.get("query", "")))
    query = urlencode({key: given[key] for key in LENGTHS if given.get(key)})
    try:
        if not name:
            raise InvalidSearch("Give the filter a name.")
        if len(name) > longest or not name.isprintable():
            raise InvalidSearch(f"Choose a name of at most {longest} letters and digits.")
        Question.parse(given)
        others = SavedFilter.objects.filter(user=_person(request)).exclude(name=name)
        if others.count() >= MOST_SAVED:
            raise InvalidSearch(f"There are {MOST_SAVED} saved filters. Delete one first.")
    except InvalidSearch as error:
        return JsonResponse({"error": str(error)}, status=400)
    SavedFilter.objects.update_or_create(user=_person(request), name=name, defaults={"query": query})
    return JsonResponse({"saved": _saved(request)})


@require_POST
def filter_delete(request: HttpRequest) -> JsonResponse:
    """Forget a filter of one's own."""
    _require(request)
    SavedFilter.objects.filter(user=_person(request), name=request.POST.get("name", "")).delete()
    return JsonResponse({"saved": _saved(request)})


def _require(request: HttpRequest) -> None:
    if not user_may_watch(user=request.user):
        raise PermissionDenied


def _person(request: HttpRequest) -> Any:
    return request.user


def _saved(request: HttpRequest) -> list[dict[str, str]]:
    mine = SavedFilter.objects.filter(user=_person(request))
    return [{"name": one.name, "query": one.query} for one in mine]


async def _streamed(parts: Iterator[str]) -> AsyncIterator[str]:
    """The parts as asyncio can send them: a few at a time, each in a thread that may use the database."""
    take = database_sync_to_async(_some, thread_sensitive=False)
    while True:
        text, ended = await take(parts)
        if text:
            yield text
        if ended is not None:
            raise ended
        if not text:
            return


def _some(parts: Iterator[str]) -> tuple[str, RightWithdrawn | None]:
    """The next few parts, and what ended them before their time."""
    taken: list[str] = []
    try:
        for part in islice(parts, PARTS_AT_ONCE):
            taken.append(part)  # noqa: PERF402 - an error must not lose what came before it
    except RightWithdrawn as error:
        return "".join(taken), error
    return "".join(taken), None


def _table(items: Iterable[Item], names: dict[str, str]) -> Iterator[Iterable[str]]:
    yield _COLUMNS
    try:
        for item in items:
            headers = "\n".join(f"{name}: {value}" for name, value in item["headers"])
            yield (
                _moment(item),
                names.get(item["server"], ""),
                item["name"],
                item["channel"],
                item["uniqueid"],
                item["linkedid"],
                headers,
            )
    except RightWithdrawn as error:
        yield (str(error),)
        raise


def _json(items: Iterable[Item], names: dict[str, str]) -> Iterator[str]:
    """A list of the objects that the page copies. What ends it before its time is no JSON, on purpose."""
    before = "[\n"
    try:
        for item in items:
            event = {
                "id": item["id"],
                "server": names.get(item["server"], ""),
                "received": _moment(item),
                "name": item["name"],
                "headers": item["headers"],
            }
            yield before + json.dumps(event, ensure_ascii=False)
            before = ",\n"
    except RightWithdrawn as error:
        yield f"\n{error}\n"
        raise
    yield "[]\n" if before == "[\n" else "\n]\n"


def _moment(item: Item) -> str:
    return datetime.fromtimestamp(item["at"] / 1000, UTC).isoformat(timespec="milliseconds")
