"""The rules of templates: what is stored of one, and how one is made of what somebody ran."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db.models import QuerySet

from ami_integration.access.masking import headers_mask
from ami_integration.access.services import user_may_view_templates
from ami_integration.actions.calls import is_own_header
from ami_integration.actions.models import ActionRun, ActionTemplate, FanOut
from ami_integration.actions.placeholders import variables_fill, variables_of
from ami_integration.keys import pk_of
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Tag

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Draft:
    """What a run or a fan-out was, for the form of a template. `user_id`: whose it was, and now asks."""

    user_id: int
    action: str
    headers: Pairs
    server_ids: list[int]
    tag_id: int | None = None
    #: The order of a fan-out and the time limit, by the names of the template's fields.
    plan: dict[str, Any] = field(default_factory=dict)
    #: For which servers its hidden values were written.
    meant: list[int] = field(default_factory=list)
    #: The id of the person who wrote what is hidden in it.
    hidden_by: int | None = None

    @property
    def headers_masked(self) -> Pairs:
        return headers_mask(self.headers)


def templates_usable(*, user: Any) -> QuerySet[ActionTemplate]:
    """The templates that this person may see and fill in: all or none. Runs are decided as any are."""
    may = user_may_view_templates(user=user)
    return ActionTemplate.objects.all() if may else ActionTemplate.objects.none()


def template_mask(headers: Iterable[tuple[str, str]]) -> Pairs:
    """The copy for eyes. A placeholder is no secret, even where a secret will stand."""
    pairs = list(headers)
    empty = variables_fill(pairs, dict.fromkeys(variables_of(pairs), ""))
    return [
        pair if bare == masked_bare else masked
        for pair, masked, bare, masked_bare in zip(
            pairs, headers_mask(pairs), empty, headers_mask(empty), strict=True
        )
    ]


def template_variables(template: ActionTemplate) -> list[str]:
    """What a template asks for, in order."""
    try:
        return variables_of(template.headers_in_clear())
    except SecretUnreadable:
        return variables_of((name, value) for name, value in template.headers_masked)


def template_save(
    *,
    user: Any,
    template: ActionTemplate,
    headers: Iterable[tuple[str, str]],
    hidden_by: int | None = None,
) -> None:
    """Store a template; whoever makes it owns it. Values that look like secrets are kept encrypted alone.

    Args:
        user: who saves it.
        template: with the fields as they shall be.
        headers: the action's headers in clear.
        hidden_by: the id of the person who wrote what is hidden of them, not always the owner; None: nobody
            knows.
    """
    pairs = [(str(name), str(value)) for name, value in headers]
    template.keep_headers(pairs, hidden_by=hidden_by, masked=template_mask(pairs))
    if template.pk is None:
        template.owner = user
    template.save()


def servers_meant(stored: ActionTemplate | ActionRun) -> list[int] | None:
    """For which servers hidden values were written, by their ids; None: the template asks each time."""
    if isinstance(stored, ActionRun):
        return [] if stored.server_id is None else [stored.server_id]
    if stored.tag is not None:
        return list(stored.tag.servers.values_list("pk", flat=True))
    return list(stored.servers.values_list("pk", flat=True)) or None


def template_draft(*, user: Any, run_id: str = "", fanout_id: str = "") -> Draft | None:
    """What this person ran, ready to become a template; None if there is no such, or it was somebody else's.

    Nobody else's, because their hidden values would come along.
    """
    before: ActionRun | FanOut | None = None
    if run_id:
        before = ActionRun.objects.visible_to(user).filter(pk=pk_of(run_id), user=user).first()
    elif fanout_id:
        before = FanOut.objects.filter(pk=pk_of(fanout_id), user=user).first()
    if before is None:
        return None
    try:
        headers = [pair for pair in before.headers_in_clear() if not is_own_header(*pair)]
    except SecretUnreadable:
        return None
    if isinstance(before, ActionRun):
        where = servers_meant(before) or []
        return Draft(
            user.pk,
            before.action,
            headers,
            where,
            plan={"timeout": before.timeout},
            meant=where,
            hidden_by=before.hidden_by_id,
        )
    tag = Tag.objects.filter(name=before.target).first() if before.target else None
    ran_on = before.runs.exclude(server=None).values_list("server_id", flat=True)
    servers = [pk for pk in ran_on if pk is not None]
    return Draft(
        user.pk,
        before.action,
        headers,
        [] if tag is not None else servers,
        tag.pk if tag is not None else None,
        {
            **asdict(before.plan),
            "timeout": before.runs.values_list("timeout", flat=True).first(),  # the same for all
        },
        servers,
        before.hidden_by_id,
    )
