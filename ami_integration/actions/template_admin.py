"""Templates in the admin: requests that are kept, filled in and run again."""

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.db.models import Count, Exists, OuterRef, Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from ami_integration.access.masking import MASK
from ami_integration.access.services import servers_visible, tags_visible, user_may_run
from ami_integration.actions import templates
from ami_integration.actions.forms import (
    ActionFieldsMixin,
    HeadersField,
    KeptField,
    Pairs,
    choices_set,
    headers_text,
)
from ami_integration.actions.models import ActionTemplate
from ami_integration.actions.placeholders import HiddenValueMissing, Kept, stars_restore, variables_of
from ami_integration.actions.plans import PLAN
from ami_integration.actions.submission import servers_choosable
from ami_integration.audit.admin import AuditedAdmin
from ami_integration.pastes import texts_bound
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.secrets.forms import UnreadableKept, fieldsets_replacing
from ami_integration.servers.models import Tag


class TemplateForm(ActionFieldsMixin, UnreadableKept):
    """A template. Hidden values stay hidden: where the stars are left alone, they are kept."""

    user: Any = None
    rewrites = ("payload",)
    action = forms.CharField(
        max_length=255,
        widget=AdminTextInputWidget(attrs={"autocapitalize": "off", "spellcheck": "false"}),
        help_text="The AMI action's name.",
    )
    headers = HeadersField(
        help_text="One header on each line. Where {{name}} stands, the template asks for it: “Channel: "
        "PJSIP/{{exten}}”."
    )
    kept = KeptField()

    class Meta:
        model = ActionTemplate
        fields = ("name", "description", "action", "servers", "tag", *PLAN, "timeout")
        widgets = {"servers": forms.CheckboxSelectMultiple, "description": AdminTextareaWidget({"rows": 3})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        texts_bound(self.fields, files=("kept",))
        if self.instance.pk and "headers" in self.fields:
            self.initial["headers"] = headers_text(self.instance.headers_masked)
            try:
                headers = self.instance.headers_in_clear()
            except SecretUnreadable:
                headers = []  # then stars are refused, and the values have to be written anew
            where = templates.servers_meant(self.instance)
            self.initial["kept"] = Kept(
                self.user.pk, self.instance.action, headers, where, self.instance.hidden_by_id
            ).pack()
        if "servers" in self.fields:
            for name in ("servers", "tag"):  # they are made on pages of their own
                related = self.fields[name].widget
                self.fields[name].widget = getattr(related, "widget", related)
            servers = servers_choosable(user=self.user)
            choices_set(self, "servers", servers.order_by("name"))
            choices_set(self, "tag", Tag.objects.filter(servers__in=servers).distinct())

    #: The id of the person who wrote what is to be hidden of the headers.
    hidden_by: int | None = None

    def clean(self) -> dict[str, Any]:
        super().clean()
        cleaned = self.cleaned_data
        self.hidden_by = self.user.pk
        if not (cleaned.get("tag") or cleaned.get("servers")):
            # As with servers: whoever edits a template takes no tag out of it that the form didn't offer.
            cleaned["tag"] = self._hidden_tag()
        pairs: Pairs = cleaned.get("headers") or []
        if "action" in cleaned and any(MASK in value for _, value in pairs):
            kept = Kept.unpack(cleaned.get("kept") or "")
            stored = (
                kept.for_request(user=self.user, action=cleaned["action"], servers=self._meant(cleaned))
                if kept
                else []
            )
            self.hidden_by = kept.hidden_by if kept else None
            try:
                cleaned["headers"] = stars_restore(pairs, stored, own=kept is not None and kept.own)
            except HiddenValueMissing as missing:
                self.add_error("headers", str(missing))
        self.check_action(self)
        if cleaned.get("tag") and cleaned.get("servers"):
            self.add_error("tag", "Choose a tag or servers, not both: a run means one or the other.")
        return cleaned

    def _hidden_tag(self) -> Tag | None:
        offered = cast("forms.ModelChoiceField[Any]", self.fields["tag"]).queryset
        tag = self.instance.tag
        return tag if tag is not None and offered is not None and tag not in offered else None

    @staticmethod
    def _meant(cleaned: dict[str, Any]) -> list[int] | None:
        """The ids of the servers that the form names; None if it leaves them open."""
        if cleaned.get("tag"):
            return [server.pk for server in cleaned["tag"].servers.all()]
        return [server.pk for server in cleaned.get("servers") or ()] or None


@admin.register(ActionTemplate)
class ActionTemplateAdmin(AuditedAdmin):
    audit_hidden = ("headers", "kept")
    form = TemplateForm
    change_form_template = "ami_integration/actions/template_form.html"
    change_list_template = "ami_integration/actions/template_list.html"
    list_display = ("name", "action", "asks_for", "runs_on", "owner_name", "run_it")
    list_filter = ("action", ("owner", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("tag", "owner")
    actions = None  # an "Action:" menu beside a list of actions would only confuse
    search_fields = ("name", "description", "action")
    fieldsets = (
        (None, {"fields": ("name", "description", "action", "headers", "kept")}),
        (
            "Where it runs unless somebody chooses otherwise",
            {"fields": ("servers", "tag"), "description": "Both may stay empty: then it is asked each time."},
        ),
        ("In which order, and how long", {"fields": (*PLAN, "timeout")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ActionTemplate]:
        tags = tags_visible(user=request.user)
        seen = Prefetch("servers", queryset=servers_visible(user=request.user), to_attr="servers_seen")
        return (
            super()
            .get_queryset(request)
            .defer("payload")
            .prefetch_related(seen)
            .annotate(server_count=Count("servers"), tag_seen=Exists(tags.filter(pk=OuterRef("tag"))))
        )

    def get_fieldsets(self, request: HttpRequest, obj: ActionTemplate | None = None) -> Any:
        """Who may only look gets the masked copy of the headers."""
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets_replacing(self.fieldsets, obj)
        shown = ("name", "description", "action", "headers_shown")
        heading, _ = self.fieldsets[1]
        return ((None, {"fields": shown}), (heading, {"fields": ("runs_on",)}), self.fieldsets[2])

    def get_readonly_fields(self, request: HttpRequest, obj: ActionTemplate | None = None) -> Any:
        return () if obj is None or self.has_change_permission(request, obj) else ("headers_shown", "runs_on")

    def get_form(
        self, request: HttpRequest, obj: ActionTemplate | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, obj, change, **kwargs)
        return type("TemplateFormOfUser", (form,), {"user": request.user})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """`?run=<id>` and `?fanout=<id>`: what this person ran, as a template."""
        initial: dict[str, Any] = dict(super().get_changeform_initial_data(request))
        made = templates.template_draft(
            user=request.user,
            run_id=initial.pop("run", ""),
            fanout_id=initial.pop("fanout", ""),
        )
        if made is not None:
            initial |= {
                "action": made.action,
                "headers": headers_text(made.headers_masked),
                "kept": Kept(made.user_id, made.action, made.headers, made.meant, made.hidden_by).pack(),
                "servers": made.server_ids,
                "tag": made.tag_id,
            } | made.plan
        return initial

    def save_model(self, request: HttpRequest, obj: ActionTemplate, form: Any, change: bool) -> None:
        templates.template_save(
            user=request.user,
            template=obj,
            headers=form.cleaned_data["headers"],
            hidden_by=form.hidden_by,
        )

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Whoever edits a template takes no server out of it that the form didn't offer."""
        template: ActionTemplate = form.instance
        offered = servers_choosable(user=request.user).values("pk")
        others = list(template.servers.exclude(pk__in=offered)) if template.tag is None else []
        super().save_related(request, form, formsets, change)
        template.servers.add(*others)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Templates", **(extra_context or {})})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["may_run"] = user_may_run(user=request.user)
        return super().render_change_form(request, context, *args, **kwargs)

    def response_add(self, request: HttpRequest, obj: ActionTemplate, *args: Any, **kwargs: Any) -> Any:
        if not templates.template_variables(obj):
            messages.info(
                request, "It asks for nothing: write {{name}} into a header for what shall differ each time."
            )
        return super().response_add(request, obj, *args, **kwargs)

    @admin.display(description="headers")
    def headers_shown(self, template: ActionTemplate) -> str:
        return template.text_for_eyes() or "none"

    @admin.display(description="asks for")
    def asks_for(self, template: ActionTemplate) -> str:
        return ", ".join(variables_of((name, value) for name, value in template.headers_masked)) or "nothing"

    @admin.display(description="runs on")
    def runs_on(self, template: Any) -> str:
        if template.tag is not None:
            return f"tag {template.tag}" if template.tag_seen else "a tag that you don't see"
        names = [server.name for server in template.servers_seen]
        if hidden := template.server_count - len(names):
            names = [*names[:2], f"{hidden} that you don't see"]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "asked"

    @admin.display(description="owner", ordering="owner__username")
    def owner_name(self, template: ActionTemplate) -> str:
        return template.owner.get_username() if template.owner is not None else "–"

    @admin.display(description="")
    def run_it(self, template: ActionTemplate) -> str:
        url = reverse("admin:ami_integration_actionrun_add")
        return format_html('<a href="{}?template={}">Run</a>', url, template.pk)
