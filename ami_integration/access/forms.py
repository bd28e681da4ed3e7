"""The form of a rule, and the one that asks what somebody may do."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.contrib.auth import get_user_model

from ami_integration.access.danger import DANGER_MEANS, Danger
from ami_integration.access.models import AccessRule, dangers_clean
from ami_integration.access.services import servers_visible, tags_visible
from ami_integration.pastes import texts_bound


class DangersField(forms.MultipleChoiceField):
    """Danger classes, each with what it lets its holder do."""

    widget = forms.CheckboxSelectMultiple

    def __init__(self, **kwargs: Any) -> None:
        choices = [(danger.value, f"{danger.label}: {DANGER_MEANS[danger]}") for danger in Danger]
        super().__init__(choices=choices, **kwargs)

    def clean(self, value: Any) -> list[str]:
        return dangers_clean(super().clean(value))


class AccessRuleForm(forms.ModelForm):
    """A rule. `viewer`, set by the admin, picks from the servers and tags that they see.

    What else the rule names stays in it: whoever edits a rule must not take servers out of it just because
    they can't see them, and isn't told which they are.
    """

    dangers = DangersField(
        label="Danger classes",
        help_text="Of which classes requests may be. The class belongs to the request: “Originate” with the "
        "application System is of class system. Class read lets people see a server's events and runs, too.",
        error_messages={"required": "Choose at least one class; a rule without any would say nothing."},
    )

    viewer: Any = None

    class Meta:
        model = AccessRule
        fields = (
            *("name", "group", "effect", "enabled", "all_servers", "tags", "servers"),
            *("dangers", "actions", "cli_prefixes", "notes"),
        )
        widgets = {
            "tags": forms.CheckboxSelectMultiple,
            "servers": forms.CheckboxSelectMultiple,
            "actions": AdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"}),
            "cli_prefixes": AdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"}),
            "notes": AdminTextareaWidget(attrs={"rows": 3}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        texts_bound(self.fields)
        #: What the rule names and the form doesn't offer.
        self.unseen: dict[str, list[Any]] = {}
        for name, visible in (("servers", servers_visible), ("tags", tags_visible)):
            if name not in self.fields:
                continue
            choices = visible(user=self.viewer)
            self.fields[name].queryset = choices  # type: ignore[attr-defined]
            if self.instance.pk is None:
                continue
            named = getattr(self.instance, name)
            self.initial[name] = list(named.filter(pk__in=choices.values("pk")))
            self.unseen[name] = list(named.exclude(pk__in=choices.values("pk")))
            if self.unseen[name]:
                self.fields[name].help_text += f" {len(self.unseen[name])} that you don't see stay in it."

    def clean(self) -> dict[str, Any]:
        super().clean()
        values = self.cleaned_data
        named = values.get("tags") or values.get("servers")
        unseen = any(self.unseen.values())
        if values.get("all_servers") and named:
            self.add_error(
                "all_servers", "Choose all servers, or name some, but not both: the names would not count."
            )
        elif not (values.get("all_servers") or named or unseen):
            self.add_error(
                "all_servers", "Choose all servers, or name tags or servers: the rule would hold nowhere."
            )
        return values

    def _save_m2m(self) -> None:
        super()._save_m2m()  # type: ignore[misc]  # Django calls it; its stubs leave it out
        for name, unseen in self.unseen.items():
            getattr(self.instance, name).add(*unseen)


class ExplainForm(forms.Form):
    """Who, where, and perhaps what exactly."""

    user = forms.ModelChoiceField(
        queryset=get_user_model()._default_manager.none(), label="Person", empty_label="Choose a person"
    )
    server: Any = forms.ModelChoiceField(queryset=None, empty_label="Choose a server")
    action = forms.CharField(
        required=False,
        max_length=255,
        widget=AdminTextInputWidget(
            attrs={"autocapitalize": "off", "autocomplete": "off", "spellcheck": "false"}
        ),
        help_text="For example Hangup or Command. Empty: what holds for whole classes.",
    )
    headers = forms.CharField(
        required=False,
        widget=AdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="As “Name: value”, one a line. They may change the class: “Command: core stop now” does.",
    )

    def __init__(self, *args: Any, viewer: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        texts_bound(self.fields)
        users = get_user_model()._default_manager.order_by("username")
        self.fields["user"].queryset = users  # type: ignore[attr-defined]
        self.fields["server"].queryset = servers_visible(user=viewer)  # type: ignore[attr-defined]

    def clean_headers(self) -> list[tuple[str, str]]:
        pairs = []
        for number, line in enumerate(
            self.cleaned_data["headers"].replace("\r\n", "\n").split("\n"), start=1
        ):
            name, colon, value = line.partition(":")
            if line.strip() and not (colon and name.strip()):
                raise forms.ValidationError(
                    f"Line {number} is not a header: write a name, a colon and the value, as in “Exten: 100”."
                )
            if line.strip():
                pairs.append((name.strip(), value.strip(" \t")))
        return pairs
