"""The form of a schedule. What it refuses, it refuses beside the field, with what to write instead."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget

from ami_integration.access.masking import MASK
from ami_integration.actions.catalogue.services import action_describe
from ami_integration.actions.checks import Fault, catalogue_faults
from ami_integration.actions.forms import (
    HeaderFaultsMixin,
    HeadersField,
    KeptField,
    Pairs,
    choices_set,
    headers_text,
)
from ami_integration.actions.models import ActionTemplate
from ami_integration.actions.placeholders import (
    HiddenValueMissing,
    Kept,
    stars_restore,
    variables_fill,
    variables_of,
)
from ami_integration.actions.plans import PLAN
from ami_integration.actions.services import RunRefused
from ami_integration.actions.templates import template_variables, templates_usable
from ami_integration.pastes import texts_bound
from ami_integration.schedules.drafts import Draft, servers_of
from ami_integration.schedules.durations import DurationField
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.rights import changed_since, narrowing
from ami_integration.schedules.services import places_check, schedule_ask
from ami_integration.schedules.timing_forms import TimingForm
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.secrets.forms import UnreadableKept
from ami_integration.servers.address import no_line_break
from ami_integration.servers.models import Server

#: What happens when something isn't as planned, and how starts are spread.
RULES = ("overlap", "misfire", "misfire_limit", "grace_seconds", "jitter_seconds")
ALERTS = ("alert_failures", "alert_silent_seconds", "alert_late_seconds", "alert_channels")


class SeenField(forms.CharField):
    """When what is looked at was saved, carried along unseen: a moment, or None if nothing was carried."""

    def __init__(self) -> None:
        super().__init__(required=False, widget=forms.HiddenInput)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return moment_seen(text) if text else None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False  # nobody types it


def moment_seen(text: str) -> datetime:
    """The moment that a page carried along. Raises ValidationError: not one that amiweb wrote there."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise forms.ValidationError("This page can't say any more what it showed. Open it anew.", code="seen")
    return moment


class ScheduleForm(HeaderFaultsMixin, UnreadableKept, TimingForm):
    """A whole schedule. The admin sets `user`, `address` and `draft`; who saves it becomes its owner."""

    address = ""
    rewrites = ("payload",)
    #: What an empty form is filled with, or what a stored one takes over; None: nothing.
    draft: Draft | None = None
    #: The id of the person who wrote what is to be hidden of the headers.
    hidden_by: int | None = None
    action = forms.CharField(
        max_length=255,
        widget=AdminTextInputWidget(
            attrs={"autocapitalize": "off", "autocomplete": "off", "spellcheck": "false"}
        ),
        help_text="The AMI action's name, for example QueueReset, Command or Originate.",
        error_messages={"required": "Name an action, for example QueueReset or Command."},
    )
    headers = HeadersField()
    unchecked = forms.BooleanField(
        required=False,
        label="Save it all the same",
        help_text="The PBX's own description says otherwise, but descriptions may be wrong.",
    )
    grace_seconds = DurationField(
        label="Late by at most",
        initial=3600,
        help_text="A planned time that was missed is run later than planned by at most this, for example "
        "30 min; what was missed longer ago is recorded, and not run.",
    )
    jitter_seconds = DurationField(
        required=False,
        label="Spread over",
        help_text="Each server starts at its own moment within so long after the planned time, the same one "
        "each time, so that a fleet doesn't do the same thing in the same second. Empty: all at once.",
    )
    alert_silent_seconds = DurationField(
        required=False,
        label="Nothing good for",
        help_text="Alert when nothing has succeeded for so long, for example 26 h. Empty: never.",
    )
    alert_late_seconds = DurationField(
        required=False,
        label="Late by",
        help_text="Alert when a run begins so long after its planned time, or hasn't begun by then. Empty: "
        "never.",
    )
    kept = KeptField()
    #: `updated_at` of the schedule, and of its template, that the person looked at while they typed.
    as_of = SeenField()
    template_seen = SeenField()
    template = forms.ModelChoiceField(
        queryset=ActionTemplate.objects.none(), required=False, widget=forms.HiddenInput
    )

    class Meta(TimingForm.Meta):
        fields = ("name", "action", *PLAN, "timeout", *TimingForm.Meta.fields, "enabled", *RULES, *ALERTS)
        widgets = TimingForm.Meta.widgets | {"alert_channels": forms.CheckboxSelectMultiple}
        help_texts = TimingForm.Meta.help_texts | {
            "misfire": "Up to a minute late it just runs; what is later than that was missed.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        texts_bound(self.fields, files=("kept",))
        self.faults: list[Fault] = []
        self.variables: list[str] = []
        self.chosen_template: ActionTemplate | None = None
        if "headers" not in self.fields:
            return
        channels = self.fields.get("alert_channels")
        if channels is not None:  # they are made on pages of their own
            channels.widget = getattr(channels.widget, "widget", channels.widget)
        usable = templates_usable(user=self.user)
        choices_set(self, "template", usable)
        if self.instance.pk:
            self.initial["as_of"] = self.instance.updated_at.isoformat()
            self.initial["headers"] = headers_text(
                [(name, value) for name, value in self.instance.headers_masked]
            )
        if self.draft is not None and not self.is_bound:
            self.initial.update(self.draft.initial)
        asked = self["template"].value()
        self.chosen_template = usable.filter(pk=asked).first() if str(asked or "").isdecimal() else None
        if self.chosen_template is not None:
            self._ask_for(template_variables(self.chosen_template))

    def _ask_for(self, names: list[str]) -> None:
        for name in names:
            self.variables.append(name)
            self.fields[f"var_{name}"] = forms.CharField(
                label=name.replace("_", " "),
                strip=False,
                validators=[no_line_break],
                widget=AdminTextInputWidget(attrs={"autocomplete": "off"}),
                error_messages={
                    "required": f"The template asks for {name}, and nobody is there to answer later."
                },
            )

    # -- for the page

    @property
    def servers_offered(self) -> list[tuple[Server, bool]]:
        """What the field `server` offers, by name, and whether it is ticked."""
        chosen = {str(value) for value in self["server"].value() or ()}
        field: Any = self.fields["server"]
        return [
            (server, str(server.pk) in chosen)
            for server in sorted(field.queryset, key=lambda server: server.name)
        ]

    @property
    def variable_fields(self) -> list[forms.BoundField]:
        return [self[f"var_{name}"] for name in self.variables]

    @property
    def plan_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in PLAN]

    @property
    def limit_fields(self) -> list[forms.BoundField]:
        """From when to when, and how often."""
        return [self[name] for name in ("starts_at", "ends_at", "max_runs")]

    @property
    def rule_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in RULES]

    @property
    def alert_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in ALERTS]

    def unusual(self, names: tuple[str, ...]) -> bool:
        """Whether one of these is wrong, or not what it is by itself: then it isn't hidden in details."""
        if any(name in self.errors for name in names):
            return True
        values = self.cleaned_data if self.is_bound else self.initial
        given = ((name, values.get(name, self.fields[name].initial)) for name in names)
        return any(value and value != _default(name) for name, value in given)

    @property
    def limits_open(self) -> bool:
        return self.unusual(("starts_at", "ends_at", "max_runs"))

    @property
    def rules_open(self) -> bool:
        return self.unusual(RULES)

    @property
    def alerts_open(self) -> bool:
        return self.unusual(ALERTS)

    # -- reading it

    def clean(self) -> dict[str, Any]:
        super().clean()
        values = self.cleaned_data
        self._check_seen(values)
        if "jitter_seconds" in values:
            values["jitter_seconds"] = values["jitter_seconds"] or 0
        self._check_where(values)
        if "headers" in values and "action" in values:
            self._hidden_restore(values)
        if "headers" in values:  # a refusal takes it out
            self._fill(values)
        self._check_headers(values)
        if not self.errors:
            refusal = schedule_ask(
                user=self.user,
                servers=() if values["tag"] is not None else values["servers"],
                tag=values["tag"],
                action=values["action"],
                headers=values["headers"],
                address=self.address,
            )
            if refusal:
                self.add_error(None, refusal)
        return values

    def _check_seen(self, values: dict[str, Any]) -> None:
        """Nobody saves over what somebody else did meanwhile, nor takes over what they have not seen."""
        for name in ("as_of", "template_seen"):
            if name in self.errors:  # beside its field nobody would see it
                self.add_error(None, self.errors[name][0])
        as_of, seen, template = values.get("as_of"), values.get("template_seen"), self.chosen_template
        if self.instance.pk and as_of is not None:
            stored = Schedule.objects.filter(pk=self.instance.pk).only("name", "updated_at").first()
            if stored is not None and (changed := changed_since(schedule=stored, as_of=as_of)):
                self.add_error(
                    None,
                    f"{changed} What you typed still stands here: open its page anew beside this one, and "
                    "type there what shall hold.",
                )
        if template is not None and seen is not None and seen != template.updated_at:
            self.add_error(
                None,
                f"The template {template.name} was changed since you opened this page. Open it anew to see "
                "how it is now.",
            )

    def _check_where(self, values: dict[str, Any]) -> None:
        if "server" not in values or "tag" not in values:
            return
        tag, servers = values["tag"], values["servers"]
        if tag is not None:
            stray = [server.name for server in values["server"] if server not in servers]
            if stray:
                self.add_error(
                    "server",
                    f"{', '.join(stray)} doesn't have the tag {tag.name}. Choose the tag alone, or tick "
                    "servers without a tag.",
                )
            if not servers:
                self.add_error("tag", f"No enabled server of yours has the tag {tag.name}.")
        if self.instance.pk and (narrower := narrowing(user=self.user, schedule=self._stored())):
            self.add_error("server", narrower)
        if {"mode", "jitter_seconds"} <= values.keys():
            try:
                places_check(
                    servers=() if tag is not None else servers,
                    tag=tag,
                    mode=values["mode"],
                    jitter_seconds=values["jitter_seconds"],
                )
            except RunRefused as refused:
                self.add_error("server" if refused.field == "servers" else refused.field, str(refused))

    def _stored(self) -> Schedule:
        return Schedule.objects.get(pk=self.instance.pk)

    def _hidden_restore(self, values: dict[str, Any]) -> None:
        """Put hidden values back where their stars were left alone: for the same action and servers only.

        A secret that was typed for one PBX must not be sent to another, nor in an action that tells it to
        everybody, by an edit of somebody who never knew it.
        """
        self.hidden_by = self.user.pk
        if not any(MASK in value for _, value in values["headers"]):
            return
        try:
            kept = self._kept(values)
        except SecretUnreadable as error:
            self.add_error("headers", f"{error} Or write the hidden values anew.")
            return
        where = [server.pk for server in values["servers"]] if "servers" in values else []
        tag = values["tag"].pk if values.get("tag") is not None else None
        stored = (
            kept.for_request(user=self.user, action=values["action"], servers=where, tag=tag) if kept else []
        )
        self.hidden_by = kept.hidden_by if kept else None
        try:
            values["headers"] = stars_restore(values["headers"], stored, own=kept is not None and kept.own)
        except HiddenValueMissing as missing:
            moved = self._hidden_moved(kept, where, values["action"], missing.header)
            self._fault(Fault(missing.header, moved or str(missing)))

    def _kept(self, values: dict[str, Any]) -> Kept | None:
        """What the stars stand for: that of the draft, or what is stored. Raises SecretUnreadable."""
        if values.get("kept"):
            return Kept.unpack(values["kept"])
        stored = self.instance
        if not stored.pk:
            return None
        # Not the instance's own `action` and `tag`, which the form has not written yet: `_post_clean` does.
        return Kept(
            self.user.pk,
            stored.action,
            stored.headers_in_clear(),
            servers_of(stored),
            stored.hidden_by_id,
            stored.tag_id,
        )

    def _hidden_moved(self, kept: Kept | None, where: list[int], action: str, header: str) -> str:
        """What to say of a hidden value that was meant for another action or server; "" if it is neither."""
        if kept is None:
            return ""
        if action.strip().lower() != kept.action.strip().lower():
            what = f"The action was {kept.action} and is {action.strip()} now"
        elif kept.servers is not None and not set(where) <= set(kept.servers):
            field: Any = self.fields["server"]
            new = field.queryset.filter(pk__in=set(where) - set(kept.servers)).order_by("name")
            what = f"It did not run on {', '.join(server.name for server in new)} before"
        else:
            return ""
        return f"{what}, and the hidden value of {header} was not meant for that. Type it again."

    def _fill(self, values: dict[str, Any]) -> None:
        """Put what the template asks for in its places; nobody is there to answer when it runs."""
        answers = {name: values[f"var_{name}"] for name in self.variables if f"var_{name}" in values}
        if len(answers) == len(self.variables):
            values["headers"] = variables_fill(values["headers"], answers)
            if left := variables_of(values["headers"]):
                self._fault(
                    Fault(
                        "",
                        "Nobody is there to fill in "
                        + ", ".join("{{" + name + "}}" for name in left)
                        + " when it runs. Write what it shall be.",
                    )
                )

    def _check_headers(self, values: dict[str, Any]) -> None:
        if self.errors.get("headers"):
            return
        refused = self.check_action(self)
        if refused is not None and refused.header:
            self.faults.append(Fault(refused.header, str(refused)))
        if not {"action", "headers"} <= values.keys() or values.get("unchecked"):
            return
        if any(f"var_{name}" not in values for name in self.variables):
            return  # told beside its own field
        pairs: Pairs = values["headers"]
        if self.instance.pk and not {"action", "headers", "server", "tag"} & set(self.changed_data):
            return  # it was saved like this before
        description = action_describe(action=values["action"], servers=values.get("servers") or ())
        for fault in catalogue_faults(description, pairs) if description is not None else ():
            self._fault(fault)
            self.insistable = True


def _default(name: str) -> Any:
    field: Any = Schedule._meta.get_field(name)
    return field.get_default() if hasattr(field, "get_default") else None
