"""What the run form asks while somebody types: which actions there are, what one takes, its danger."""

from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.views.decorators.http import require_GET, require_POST

from ami_integration.access.services import user_may_run
from ami_integration.actions.catalogue.services import action_describe, actions_search
from ami_integration.actions.forms import HeadersField
from ami_integration.actions.preview import Confirm, confirm_needed, request_worst, server_lacks
from ami_integration.actions.submission import servers_choosable, servers_tagged
from ami_integration.keys import pks_of
from ami_integration.servers.models import Server

#: What comes after the form, for people.
CONFIRM_WORDS = {
    Confirm.NONE: "It runs at once.",
    Confirm.ONCE: "You will see what is sent, and confirm it.",
    Confirm.TYPE: "You will see what is sent, and confirm it by typing a name.",
}


def require_run(request: HttpRequest) -> None:
    if not user_may_run(user=request.user):
        raise PermissionDenied


@require_GET
def search(request: HttpRequest) -> HttpResponse:
    """Actions that fit what was typed, of the chosen servers or of all that the person sees."""
    require_run(request)
    servers = _chosen(request.GET, request.user) or list(servers_choosable(user=request.user))
    found = actions_search(query=request.GET.get("q", "")[:100], servers=servers, limit=30)
    actions = [
        {
            "name": action.name,
            "synopsis": action.synopsis,
            "servers": "" if action.servers >= action.of else f"on {action.servers} of {action.of}",
        }
        for action in found
    ]
    return JsonResponse({"actions": actions})


@require_GET
def describe(request: HttpRequest) -> HttpResponse:
    """What the chosen servers say of an action, for the generated form."""
    require_run(request)
    action = request.GET.get("action", "").strip()
    servers = _chosen(request.GET, request.user)
    found = action_describe(action=action, servers=servers or list(servers_choosable(user=request.user)))
    lacking = [server.name for server in servers if server_lacks(server=server, action=action)]
    if found is None:
        return JsonResponse({"known": False, "lacking": lacking})
    arguments = [
        {
            "name": argument.name,
            "required": argument.required,
            "text": argument.text,
            "choices": list(argument.choices),
            "choice_texts": dict(argument.choice_texts),
            "closed": argument.closed,
            "repeatable": argument.repeatable,
            "numbered": argument.numbered,
            "boolean": list(argument.boolean) if argument.boolean else None,
        }
        # Required ones first, else in the PBX's own order.
        for argument in sorted(found.arguments, key=lambda each: not each.required)
    ]
    return JsonResponse(
        {
            "known": True,
            "name": found.name,
            "synopsis": found.synopsis,
            "description": found.description,
            "privileges": found.privileges_text,
            "shipped_for": found.shipped_for,
            "arguments": arguments,
            "lacking": lacking,
        }
    )


@require_POST
def assess(request: HttpRequest) -> HttpResponse:
    """The class of what the form holds just now. A POST, so that no header ends up in an access log."""
    require_run(request)
    action = request.POST.get("action", "").strip()
    try:
        pairs = HeadersField().clean(request.POST.get("headers", ""))
    except ValidationError:
        pairs = None
    servers = _chosen(request.POST, request.user)
    if not action or pairs is None or not servers:
        return JsonResponse({"danger": ""})
    worst = request_worst(servers=servers, action=action, headers=pairs)
    confirm = confirm_needed(danger=worst.danger, servers=len(servers))
    return JsonResponse(
        {
            "danger": worst.danger.value,
            "label": worst.danger.label,
            "confirms": confirm != Confirm.NONE,
            "means": f"Class {worst.danger.value}: {worst.why}.",
            "says": f"Class {worst.danger.value}: {worst.why}. {CONFIRM_WORDS[confirm]}",
        }
    )


def _chosen(asked: QueryDict, user: Any) -> list[Server]:
    """The servers that the form names just now: those of its tag, or the ticked ones."""
    if tag := asked.get("tag", ""):
        return servers_tagged(user=user, tag=tag)
    chosen = servers_choosable(user=user).filter(pk__in=pks_of(asked.getlist("server")))
    return list(chosen.select_related("abilities"))
