"""The form that runs an action, and the field in which people write headers.

The headers travel as lines of text, whatever the page makes of them: the generated fields of `form.js` write
into the same text area that is the raw mode, so nothing can get lost between the two, and without JavaScript
the raw mode still works. Everything is checked here, against the catalogue too.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.db.models import QuerySet

from ami_integration.access.masking import MASK
from ami_integration.actions.catalogue.services import action_describe
from ami_integration.actions.checks import Fault, catalogue_faults, wire_faults
from ami_integration.actions.models import ActionTemplate
from ami_integration.actions.placeholders import (
    HiddenValueMissing,
    Kept,
    stars_restore,
    variables_fill,
)
from ami_integration.actions.plans import MOST_AT_ONCE, MOST_FAILURES, PLAN, STOP_AFTER_HELP, Mode, Plan
from ami_integration.actions.services import RunRefused, action_check, headers_complete
from ami_integration.actions.stored import LONGEST_TIMEOUT, TIMEOUT_HELP
from ami_integration.actions.submission import servers_choosable, servers_tagged
from ami_integration.actions.templates import template_mask, template_variables, templates_usable
from ami_integration.ami import new_action_id
from ami_integration.keys import pk_of
from ami_integration.servers.address import no_line_break
from ami_integration.servers.models import Server, Tag

Pairs = list[tuple[str, str]]


class HeadersField(forms.CharField):
    """Headers as lines `Name: value`; the clean value is a list of pairs in order."""

    widget = AdminTextareaWidget

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        kwargs.setdefault("widget", AdminTextareaWidget(attrs={"rows": 8, "spellcheck": "false"}))
        kwargs.setdefault(
            "help_text",
            "One header on each line, as in “Channel: PJSIP/100”. A name may repeat. Leave Action and "
            "ActionID out.",
        )
        super().__init__(strip=False, **kwargs)

    def clean(self, value: Any) -> Any:
        text = super().clean(value) or ""
        pairs: Pairs = []
        # Only the line ends of a browser: splitlines() would also cut at characters that AMI passes on.
        for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
            if not line.strip():
                continue
            name, colon, content = line.partition(":")
            if not colon or not name.strip():
                raise forms.ValidationError(
                    f"Line {number} is not a header: write a name, a colon and the value, as in “Exten: "
                    "100”.",
                    code="no_header",
                )
            pairs.append((name.strip(), content.strip(" \t")))
        return pairs

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.clean(initial) != self.clean(data))
        except forms.ValidationError:
            return True

    def get_bound_field(self, form: forms.BaseForm, field_name: str) -> forms.BoundField:
        """Of a form that is shown again, what was typed is shown masked; `KeptField` has the rest."""
        return _HeadersShown(form, self, field_name)


class KeptField(forms.CharField):
    """What the stars of `headers` stand for, encrypted (`Kept`); a form with both has `user` and `action`.

    A form that is shown again carries what was typed into it along like this, too: so a secret goes into a
    page once, by the hand that typed it, and never comes back out.
    """

    widget = forms.HiddenInput

    def __init__(self) -> None:
        super().__init__(required=False)

    def get_bound_field(self, form: forms.BaseForm, field_name: str) -> forms.BoundField:
        return _KeptAgain(form, self, field_name)


class _HeadersShown(forms.BoundField):
    def value(self) -> Any:
        text = super().value()
        return _typed_masked(str(text or "")) if self.form.is_bound else text


class _KeptAgain(forms.BoundField):
    def value(self) -> Any:
        token = super().value()
        if not self.form.is_bound:
            return token
        user, action = self.form.user, self.form["action"].data or ""  # type: ignore[attr-defined]
        pairs = [pair for pair in _typed_pairs(str(self.form["headers"].data or "")) if pair[0]]
        if template_mask(pairs) == pairs:
            return token
        servers = None
        if any(MASK in value for _, value in pairs):
            before = Kept.unpack(token or "")
            if before is None or not before.own:
                return token  # somebody else's is lent for their own request alone
            servers = before.servers
            try:
                stored = before.for_request(user=user, action=action, servers=servers)
                pairs = stars_restore(pairs, stored, own=True)
            except HiddenValueMissing:
                return token
        return Kept(user.pk, action, pairs, servers, hidden_by=user.pk).pack()


def _typed_pairs(text: str) -> Pairs:
    """Each line as a header; what is none has no name."""
    found = []
    for line in text.replace("\r\n", "\n").split("\n"):
        name, colon, value = line.partition(":")
        found.append((name.strip(), value.strip(" \t")) if colon and name.strip() else ("", line))
    return found


def _typed_masked(text: str) -> str:
    """What somebody typed, with secrets masked; every other line as it was typed."""
    pairs = _typed_pairs(text)
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(
        line if shown == pair else f"{shown[0]}: {shown[1]}".removeprefix(": ")
        for line, pair, shown in zip(lines, pairs, template_mask(pairs), strict=True)
    )


def headers_text(pairs: Pairs) -> str:
    """Headers as the lines that `HeadersField` reads."""
    return "\n".join(f"{name}: {value}" for name, value in pairs)


class ServersField(forms.ModelMultipleChoiceField):
    """Servers by their keys; a number that no database has is no choice, and asked of none.

    The form sets which are offered, by `choices_set`.
    """

    widget = forms.CheckboxSelectMultiple
    default_error_messages: ClassVar = {
        "invalid_choice": "A chosen server is disabled or gone. Choose another, or enable it first.",
        "invalid_pk_value": "There is no such server. Choose one from the list.",
    }

    def __init__(self, *, help_text: str) -> None:
        super().__init__(Server.objects.none(), required=False, label="Servers", help_text=help_text)

    def clean(self, value: Any) -> Any:
        for key in value or ():
            if not pk_of(str(key)):
                raise forms.ValidationError(self.error_messages["invalid_pk_value"], code="invalid_pk_value")
        return super().clean(value)


class TagField(forms.ModelChoiceField):
    """A tag by its name, or none. The form sets which are offered, by `choices_set`."""

    default_error_messages: ClassVar = {"invalid_choice": "There is no such tag. Choose one from the list."}

    def __init__(self, *, help_text: str) -> None:
        super().__init__(
            Tag.objects.none(),
            required=False,
            to_field_name="name",
            label="Tag",
            empty_label="No tag: the servers ticked below",
            help_text=help_text,
        )


def choices_set(form: forms.BaseForm, name: str, queryset: QuerySet[Any]) -> None:
    """Let a field offer these rows and no others."""
    cast("forms.ModelChoiceField[Any]", form.fields[name]).queryset = queryset


class ActionFieldsMixin:
    """For a form with `action` and `headers`: what can't go on the wire is said beside its field."""

    def check_action(self, form: forms.BaseForm) -> RunRefused | None:
        """Add the error of `action` or `headers` to the form, if both could be read. Returns it."""
        cleaned = form.cleaned_data
        if "action" not in cleaned or "headers" not in cleaned:
            return None
        try:
            pairs = headers_complete(action=cleaned["action"], headers=cleaned["headers"])
            action_check(action=cleaned["action"], headers=pairs)
        except RunRefused as refused:
            form.add_error(refused.field or None, str(refused))
            return refused
        return None


if TYPE_CHECKING:
    _Form = forms.BaseForm
else:
    _Form = object


class HeaderFaultsMixin(ActionFieldsMixin, _Form):
    """For one whose page shows what is wrong with each header beside it.

    Attributes:
        faults: of the headers, each with the one that it is about.
    """

    faults: list[Fault]
    #: Whether insisting (`unchecked`) would help: only the catalogue is against it.
    insistable = False

    @property
    def faults_by_header(self) -> list[dict[str, str]]:
        """The faults for the page, which shows each beside its field, and what is of no header at the end."""
        told = {fault.text for fault in self.faults}
        others = [Fault("", str(text)) for text in self.errors.get("headers", ()) if text not in told]
        return [asdict(fault) for fault in (*self.faults, *others)]

    def _fault(self, fault: Fault) -> None:
        self.faults.append(fault)
        self.add_error("headers", fault.text)


class RunForm(HeaderFaultsMixin, forms.Form):
    """One action for one server, for several, or for those of a tag."""

    server = ServersField(help_text="The action runs on these and on no others.")
    tag = TagField(help_text="Every enabled server that has the tag now.")
    action = forms.CharField(
        max_length=255,
        widget=AdminTextInputWidget(
            attrs={"autocapitalize": "off", "autocomplete": "off", "spellcheck": "false"}
        ),
        help_text="The AMI action's name, for example Ping, CoreShowChannels, QueueStatus or Command.",
        error_messages={"required": "Name an action, for example Ping or CoreShowChannels."},
    )
    headers = HeadersField()
    unchecked = forms.BooleanField(
        required=False,
        label="Send it all the same",
        help_text="The PBX's own description says otherwise, but descriptions may be wrong.",
    )
    mode = forms.ChoiceField(choices=Mode.choices, required=False, label="Order", initial=Mode.PARALLEL)
    limit = forms.IntegerField(
        min_value=1, max_value=MOST_AT_ONCE, required=False, initial=Plan.limit, label="At once, at most"
    )
    stop_after = forms.IntegerField(
        min_value=1,
        max_value=MOST_FAILURES,
        required=False,
        label="Stop after failures",
        help_text=STOP_AFTER_HELP,
    )
    timeout = forms.FloatField(
        min_value=1,
        max_value=LONGEST_TIMEOUT,
        required=False,
        label="Time limit",
        help_text=TIMEOUT_HELP,
    )
    # Chosen with the form: a form that is sent twice (a double click, a reload) becomes one request.
    action_id = forms.RegexField(r"\A[0-9a-f]{32}\Z", widget=forms.HiddenInput)
    kept = KeptField()
    template = forms.ModelChoiceField(
        queryset=ActionTemplate.objects.none(), required=False, widget=forms.HiddenInput
    )

    def __init__(self, *args: Any, user: Any, template: ActionTemplate | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        self.chosen_template = template
        self.faults: list[Fault] = []
        self.initial.setdefault("action_id", new_action_id())
        servers = servers_choosable(user=user)
        choices_set(self, "server", servers.select_related("health").prefetch_related("tags"))
        choices_set(self, "template", templates_usable(user=user))
        choices_set(self, "tag", Tag.objects.filter(servers__in=servers).distinct())
        self.variables: list[str] = []
        if template is not None:
            for name in template_variables(template):
                self.variables.append(name)
                self.fields[f"var_{name}"] = forms.CharField(
                    label=name.replace("_", " "),
                    strip=False,
                    validators=[no_line_break],
                    widget=AdminTextInputWidget(attrs={"autocomplete": "off"}),
                    error_messages={"required": f"The template asks for {name}."},
                )

    @property
    def servers_offered(self) -> list[Server]:
        """What the field `server` offers, by name."""
        offered = cast("forms.ModelMultipleChoiceField[Any]", self.fields["server"]).queryset
        return sorted(offered, key=lambda server: server.name) if offered is not None else []

    @property
    def variable_fields(self) -> list[forms.BoundField]:
        return [self[f"var_{name}"] for name in self.variables]

    @property
    def plan_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in PLAN]

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        if "server" in cleaned and "tag" in cleaned:
            cleaned["servers"] = self._servers(cleaned["server"], cleaned["tag"])
        if "headers" in cleaned and "action" in cleaned:
            self._fill(cleaned)
        self._check_headers(cleaned)
        return cleaned

    def _servers(self, picked: Any, tag: Tag | None) -> list[Server]:
        if tag is None:
            if not picked:
                self.add_error("server", "Choose the servers that are meant; nothing runs without one.")
            return sorted(picked, key=lambda server: server.name)
        tagged = servers_tagged(user=self.user, tag=tag.name)
        stray = [server.name for server in picked if server not in tagged]
        if stray:
            self.add_error(
                "server",
                f"{', '.join(stray)} doesn't have the tag {tag.name}. Choose the tag alone, or tick servers "
                "without a tag.",
            )
        if not tagged:
            self.add_error("tag", f"No enabled server of yours has the tag {tag.name}.")
        return tagged

    #: The id of the person who wrote what is to be hidden of the headers.
    hidden_by: int | None = None

    def _fill(self, cleaned: dict[str, Any]) -> None:
        """Put hidden values and the template's variables in their places."""
        self.hidden_by = self.user.pk
        pairs = cleaned["headers"]
        if any(MASK in value for _, value in pairs):
            kept = Kept.unpack(cleaned.get("kept") or "")
            where = [server.pk for server in cleaned.get("servers") or ()]
            stored = kept.for_request(user=self.user, action=cleaned["action"], servers=where) if kept else []
            self.hidden_by = kept.hidden_by if kept else None
            try:
                pairs = stars_restore(pairs, stored, own=kept is not None and kept.own)
            except HiddenValueMissing as missing:
                self._fault(Fault(missing.header, str(missing)))
        values = {name: cleaned[f"var_{name}"] for name in self.variables if f"var_{name}" in cleaned}
        if len(values) == len(self.variables):
            cleaned["headers"] = variables_fill(pairs, values)

    def _check_headers(self, cleaned: dict[str, Any]) -> None:
        if "action" not in cleaned or "headers" not in cleaned or self.errors.get("headers"):
            return
        faults = wire_faults(cleaned["headers"])
        for fault in faults:
            self._fault(fault)
        if faults:
            return
        refused = self.check_action(self)
        if refused is not None and refused.header:
            self.faults.append(Fault(refused.header, str(refused)))
        if not {"action", "headers"} <= cleaned.keys() or cleaned.get("unchecked"):
            return
        description = action_describe(action=cleaned["action"], servers=cleaned.get("servers") or ())
        if description is None:
            return
        # A variable that isn't filled in yet is told beside its own field.
        missing = [name for name in self.variables if f"var_{name}" not in cleaned]
        for fault in () if missing else catalogue_faults(description, cleaned["headers"]):
            self._fault(fault)
            self.insistable = True

    def plan(self) -> Plan:
        """The order that was chosen; what was left empty takes its default."""
        cleaned = self.cleaned_data
        return Plan(
            mode=cleaned.get("mode") or Plan.mode,
            limit=cleaned.get("limit") or Plan.limit,
            stop_after=cleaned.get("stop_after"),
        )
