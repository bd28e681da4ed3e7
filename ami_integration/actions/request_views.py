"""The pages on the way to a run: the form, what it asks while one types, and the preview.

A request that only looks runs from the form at once; everything else goes through the preview, and so does
whatever somebody wants to look over first. Nothing is sent, or even written, before the last step.
"""

from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from ami_integration.access.danger import DANGER_MEANS
from ami_integration.access.masking import headers_mask, storable
from ami_integration.access.services import user_may_run, user_may_view_runs
from ami_integration.actions import request_answers
from ami_integration.actions.calls import is_own_header
from ami_integration.actions.forms import RunForm, headers_text
from ami_integration.actions.models import ActionRun, ActionTemplate, FanOut
from ami_integration.actions.placeholders import Kept
from ami_integration.actions.plans import PLAN, Mode, Plan
from ami_integration.actions.preview import (
    Confirm,
    Preview,
    Ticket,
    preview_again,
    request_preview,
)
from ami_integration.actions.request_answers import require_run
from ami_integration.actions.rights import run_ask
from ami_integration.actions.services import AlreadySubmitted, RunRefused, headers_complete
from ami_integration.actions.submission import (
    FanOutExists,
    NotConfirmed,
    RequestChanged,
    Submitted,
    request_submit,
    servers_choosable,
    servers_tagged,
)
from ami_integration.actions.templates import servers_meant, templates_usable
from ami_integration.ami import new_action_id
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.services import entry_write, request_address
from ami_integration.keys import pk_of, pks_of
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server

#: Servers above which the picker offers a field to filter them.
FILTER_FROM = 8


class RequestViews(ModelAdmin):
    """What the admin of runs shows before there is a run."""

    def request_urls(self) -> list[URLPattern]:
        views = {
            "submit": require_POST(self.submit_view),
            "search": request_answers.search,
            "describe": request_answers.describe,
            "assess": request_answers.assess,
        }
        return [
            path(f"add/{name}/", self.admin_site.admin_view(view), name=f"ami_integration_actionrun_{name}")
            for name, view in views.items()
        ]

    # -- the form

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The run form. A link may fill it in.

        `?server=<id>` (repeated) or `?tag=<name>`, `action=<name>`, `headers=<lines>`, `mode`, `limit`,
        `stop_after`; or `?template=<id>`, or `?run=<id>` for what one ran before.
        """
        _require_run(request)
        if request.method != "POST":
            return self._form_page(request, self._form_filled(request))
        form = RunForm(
            request.POST, user=request.user, template=_template(request, request.POST.get("template"))
        )
        if not form.is_valid():
            return self._form_page(request, form)
        cleaned = form.cleaned_data
        tag = cleaned["tag"].name if cleaned["tag"] is not None else ""
        direct = "_preview" not in request.POST
        try:
            preview = request_preview(
                user=request.user,
                servers=cleaned["servers"],
                action=cleaned["action"],
                headers=cleaned["headers"],
                tag=tag,
                plan=form.plan(),
                timeout=cleaned["timeout"],
                # With its preview a request gets a new key: this form may have been sent before.
                key=cleaned["action_id"] if direct else None,
                template=form.chosen_template.pk if form.chosen_template is not None else None,
                hidden_by=form.hidden_by,
            )
            if direct and preview.refused:
                self.note_refused(request, preview)
            if preview.confirm != Confirm.NONE or preview.refused or not direct:
                return self.preview_page(request, preview)
            return self.to_result(request, self.submit_token(request, preview.token))
        except (AlreadySubmitted, FanOutExists) as already:
            same = already.run if isinstance(already, AlreadySubmitted) else already.fanout
            if _is_same(same, request, cleaned):
                messages.info(request, "This form had been sent before; this is what it became.")
                return self.to_result(request, _as_submitted(already))
            # An old form, found again with the browser's Back: its content is new, so it needs a new id.
            again = _with_action_id(request.POST, new_action_id())
            form = RunForm(again, user=request.user, template=form.chosen_template)
            form.add_error(None, f"{already} Look it over and send it again to start another.")
        except RunRefused as refused:
            form.add_error(_field_of(form, refused), str(refused))
        return self._form_page(request, form)

    def _form_filled(self, request: HttpRequest) -> RunForm:
        """An empty form, or one that a link, a template or an earlier run filled in."""
        asked = request.GET
        template = _template(request, asked.get("template"))
        initial: dict[str, Any] = {
            name: asked[name] for name in ("tag", "action", "headers", *PLAN, "timeout") if name in asked
        }
        initial["server"] = pks_of(asked.getlist("server"))
        kept: Kept | None = None
        if template is not None:
            kept = self._fill_from(request, initial, template)
            initial["template"] = template.pk
            for name in (*PLAN, "timeout"):
                initial.setdefault(name, getattr(template, name))
            initial["server"] = initial["server"] or [server.pk for server in template.servers.all()]
            if template.tag is not None and not initial["server"]:
                initial.setdefault("tag", template.tag.name)
        elif (run := _own_run(request, asked.get("run", ""))) is not None:
            kept = self._fill_from(request, initial, run)
            if run.server_id is not None:
                initial["server"] = initial["server"] or [run.server_id]
        if kept is not None:
            initial["kept"] = kept.pack()
        for name, value in asked.items():
            if name.startswith("var_"):
                initial[name] = value
        return RunForm(initial=initial, user=request.user, template=template)

    def _fill_from(
        self, request: HttpRequest, initial: dict[str, Any], stored: ActionTemplate | ActionRun
    ) -> Kept | None:
        """Fill in action and masked headers; what is hidden travels encrypted beside them."""
        initial.setdefault("action", stored.action)
        masked = [(name, value) for name, value in stored.headers_masked if not is_own_header(name, value)]
        initial.setdefault("headers", headers_text(masked))
        try:
            headers = [pair for pair in stored.headers_in_clear() if not is_own_header(*pair)]
        except SecretUnreadable as error:
            messages.warning(request, f"{error} Hidden values have to be written anew.")
            return None
        return Kept(_user_id(request), stored.action, headers, servers_meant(stored), stored.hidden_by_id)

    def _form_page(self, request: HttpRequest, form: RunForm) -> HttpResponse:
        servers = form.servers_offered
        chosen = {str(value) for value in form["server"].value() or ()}
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Run an action",
            "form": form,
            "servers": [(server, str(server.pk) in chosen) for server in servers],
            "any_server": bool(servers),
            "any_enabled": bool(servers) or Server.objects.enabled().exists(),
            "filter_servers": len(servers) > FILTER_FROM,
            "show_unchecked": form.insistable or bool(form["unchecked"].value()),
            "templates": templates_usable(user=request.user).order_by("name")[:50]
            if form.chosen_template is None
            else (),
        }
        return TemplateResponse(request, "ami_integration/actions/run_form.html", context)

    # -- the preview

    def submit_view(self, request: HttpRequest) -> HttpResponse:
        """What the preview's buttons do: run it, go back to the form, or leave out who may not."""
        _require_run(request)
        token = request.POST.get("token", "")
        try:
            ticket = Ticket.unpack(token, user=request.user)
        except RunRefused as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(reverse("admin:ami_integration_actionrun_add"))
        if "_edit" in request.POST:
            return self._form_page(request, self._form_of(request, ticket))
        ids = [member["id"] for member in ticket.members]
        servers = {server.pk: server for server in servers_choosable(user=request.user).filter(pk__in=ids)}
        still = [servers[pk] for pk in ids if pk in servers]
        try:
            if "_without" in request.POST:
                return self.preview_page(request, _without_refused(request, ticket, still))
            return self.to_result(request, self.submit_token(request, token))
        except (AlreadySubmitted, FanOutExists) as already:
            messages.info(request, "This had been sent before; this is what it became.")
            return self.to_result(request, _as_submitted(already))
        except NotConfirmed as refused:
            again = preview_again(user=request.user, ticket=ticket, servers=still)
            return self.preview_page(request, again, error=str(refused))
        except RequestChanged as changed:
            return self._changed_page(request, ticket, still, changed)
        except (RunRefused, SecretUnreadable) as refused:
            if not still:
                messages.error(request, str(refused))
                return HttpResponseRedirect(reverse("admin:ami_integration_actionrun_add"))
            again = preview_again(user=request.user, ticket=ticket, servers=still)
            return self.preview_page(request, again, error=f"Nothing was sent. {refused}")

    def _changed_page(
        self, request: HttpRequest, ticket: Ticket, still: list[Server], changed: RequestChanged
    ) -> HttpResponse:
        """The difference, and a new preview of what would run now; it wants a confirmation of its own."""
        now = servers_tagged(user=request.user, tag=ticket.tag) if ticket.tag else still
        if ticket.repeated_ids:  # what is left to repeat is to be looked at where it failed
            messages.error(request, str(changed))
            name, pk = (
                ("fanout", ticket.retry_of) if ticket.retry_of else ("actionrun", ticket.repeated_ids[0])
            )
            return HttpResponseRedirect(reverse(f"admin:ami_integration_{name}_change", args=(pk,)))
        if not now:
            messages.error(request, str(changed))
            return HttpResponseRedirect(reverse("admin:ami_integration_actionrun_add"))
        fresh = request_preview(
            user=request.user,
            servers=now,
            action=ticket.action,
            headers=ticket.pairs,
            tag=ticket.tag,
            plan=Plan(**ticket.plan),
            template=ticket.template,
            timeout=ticket.timeout,
            hidden_by=ticket.hidden_by,
        )
        return self.preview_page(request, fresh, changed=changed)

    def note_refused(self, request: HttpRequest, preview: Preview) -> None:
        """Somebody wanted to run this, not only to look at it: the audit is told where he may not."""
        for member in preview.refused:
            run_ask(
                user=request.user,
                server=member.server,
                action=preview.action,
                headers=preview.headers,
                origin=ActionRun.Origin.ADMIN,
                address=request_address(request),
            )

    def submit_token(self, request: HttpRequest, token: str) -> Submitted:
        return request_submit(
            user=request.user,
            token=token,
            confirmed=request.POST.get("confirmed") == "yes",
            typed=request.POST.get("typed", ""),
            address=request_address(request),
        )

    def _form_of(self, request: HttpRequest, ticket: Ticket) -> RunForm:
        """The form with what was previewed, secrets hidden again."""
        initial = {
            "server": [] if ticket.tag else [member["id"] for member in ticket.members],
            "tag": ticket.tag,
            "action": ticket.action,
            "headers": headers_text(headers_mask(ticket.pairs)),
            "timeout": ticket.timeout,
            **ticket.plan,
        }
        # A retry may be of somebody else's run: then what it hides is sent where it was sent before, and
        # isn't lent for another server.
        others = ActionRun.objects.filter(pk__in=ticket.repeated_ids).exclude(user_id=_user_id(request))
        if not others.exists():
            where = [member["id"] for member in ticket.members]
            kept = Kept(_user_id(request), ticket.action, ticket.headers, where, ticket.hidden_by)
            initial["kept"] = kept.pack()
        return RunForm(initial=initial, user=request.user)

    def preview_page(
        self,
        request: HttpRequest,
        preview: Preview,
        *,
        error: str = "",
        changed: RequestChanged | None = None,
    ) -> HttpResponse:
        count = len(preview.members)
        where = preview.members[0].label if count == 1 else f"{count} servers"
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{preview.action} on {where}",
            "preview": preview,
            "where": where,
            "danger_means": DANGER_MEANS[preview.danger],
            "mode_label": Mode(preview.plan.mode).label,
            "error": error,
            "changed": changed,
        }
        return TemplateResponse(request, "ami_integration/actions/preview.html", context)

    def to_result(self, request: HttpRequest, submitted: Submitted) -> HttpResponse:
        """On to the page of what it became, for those who may see it."""
        if user_may_view_runs(user=request.user):
            if submitted.fanout is not None:
                url = reverse("admin:ami_integration_fanout_change", args=(submitted.fanout.pk,))
            else:
                assert submitted.run is not None
                url = reverse("admin:ami_integration_actionrun_change", args=(submitted.run.pk,))
            return HttpResponseRedirect(url)
        messages.success(
            request,
            f"{submitted.fanout or submitted.run} is queued. You may not see results; ask for the permission "
            "to view runs.",
        )
        return HttpResponseRedirect(reverse("admin:index"))


def _require_run(request: HttpRequest) -> None:
    """Whether this person may run anything anywhere; who tries without is told of in the audit."""
    if request.method == "POST" and not user_may_run(user=request.user):
        entry_write(
            actor=request.user,
            origin=ActionRun.Origin.ADMIN,
            address=request_address(request),
            verb="run.submit",
            what={"action": storable(_action_asked(request))[:100]},
            outcome=AuditEntry.Outcome.REFUSED,
        )
    require_run(request)


def _action_asked(request: HttpRequest) -> str:
    """The action that a form or the token of a preview names."""
    if "token" not in request.POST:
        return request.POST.get("action", "")
    try:
        return Ticket.unpack(request.POST["token"], user=request.user).action
    except RunRefused:
        return ""


def _user_id(request: HttpRequest) -> int:
    assert request.user.pk is not None  # the admin's pages are for those who logged in
    return request.user.pk


def _template(request: HttpRequest, pk: str | None) -> ActionTemplate | None:
    """The template that the address or the form names, if this person may use templates."""
    return templates_usable(user=request.user).filter(pk=pk_of(pk or "")).first()


def _own_run(request: HttpRequest, pk: str) -> ActionRun | None:
    """A run that this person started and may still see: nobody else's hidden values are lent."""
    mine = ActionRun.objects.visible_to(request.user).filter(user_id=_user_id(request))
    return mine.filter(pk=pk_of(pk)).first()


def _field_of(form: RunForm, refused: RunRefused) -> str | None:
    field = {"servers": "server"}.get(refused.field, refused.field)
    return field if field in form.fields else None


def _with_action_id(data: QueryDict, action_id: str) -> QueryDict:
    copy = data.copy()
    copy["action_id"] = action_id
    return copy


def _as_submitted(already: AlreadySubmitted | FanOutExists) -> Submitted:
    if isinstance(already, FanOutExists):
        return Submitted(fanout=already.fanout)
    return Submitted(run=already.run)


def _is_same(before: ActionRun | FanOut, request: HttpRequest, cleaned: dict[str, Any]) -> bool:
    """Whether an earlier run or fan-out is what the form asks for."""
    action_id = before.action_id if isinstance(before, ActionRun) else ""
    pairs = headers_complete(action=cleaned["action"], headers=cleaned["headers"], action_id=action_id)
    asked = {server.pk for server in cleaned["servers"]}
    servers: set[int | None]
    if isinstance(before, FanOut):
        servers = set(before.runs.values_list("server_id", flat=True))
    else:
        servers = {before.server_id}
    try:
        return (before.user_id, servers, before.action, before.headers_in_clear()) == (
            request.user.pk,
            asked,
            cleaned["action"],
            pairs,
        )
    except SecretUnreadable:
        return False


def _without_refused(request: HttpRequest, ticket: Ticket, servers: list[Server]) -> Preview:
    """A new preview of those servers on which the person may; chosen by hand now, whatever tag it was."""
    whole = preview_again(user=request.user, ticket=ticket, servers=servers)
    return request_preview(
        user=request.user,
        servers=[member.server for member in whole.members if member.decision.allowed],
        action=ticket.action,
        headers=ticket.pairs,
        plan=whole.plan,
        repeats={member.server.pk: member.retry_of for member in whole.members if member.retry_of},
        retry_of=ticket.retry_of,
        template=ticket.template,
        timeout=ticket.timeout,
        hidden_by=ticket.hidden_by,
    )
