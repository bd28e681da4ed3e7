"""The form that runs an action, and the field in which people write headers."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget

from ami_integration.actions.services import RunRefused, action_check, headers_complete
from ami_integration.ami import new_action_id
from ami_integration.servers.models import Server

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


def headers_text(pairs: Pairs) -> str:
    """Headers as the lines that `HeadersField` reads."""
    return "\n".join(f"{name}: {value}" for name, value in pairs)


class ActionFieldsMixin:
    """For a form with `action` and `headers`: what can't go on the wire is said beside its field."""

    def check_action(self, form: forms.BaseForm) -> None:
        """Add the errors of `action` and `headers` to the form, if both could be read."""
        cleaned = form.cleaned_data
        if "action" not in cleaned or "headers" not in cleaned:
            return
        try:
            pairs = headers_complete(action=cleaned["action"], headers=cleaned["headers"])
            action_check(action=cleaned["action"], headers=pairs)
        except RunRefused as refused:
            form.add_error(refused.field or None, str(refused))


class RunForm(ActionFieldsMixin, forms.Form):
    """One action for one server."""

    server = forms.ModelChoiceField(
        queryset=Server.objects.enabled(),
        empty_label="Choose a server",
        help_text="The action runs on this server and on no other.",
        error_messages={
            "required": "Choose the server that is meant; nothing runs without one.",
            "invalid_choice": "This server is disabled or gone. Choose another, or enable it first.",
        },
    )
    action = forms.CharField(
        max_length=255,
        widget=AdminTextInputWidget(
            attrs={"autocapitalize": "off", "autocomplete": "off", "spellcheck": "false"}
        ),
        help_text="The AMI action's name, for example Ping, CoreShowChannels, QueueStatus or Command.",
        error_messages={"required": "Name an action, for example Ping or CoreShowChannels."},
    )
    headers = HeadersField()
    # Chosen with the form: a form that is sent twice (a double click, a reload) becomes one run.
    action_id = forms.RegexField(r"\A[0-9a-f]{32}\Z", widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("action_id", new_action_id())

    def clean(self) -> dict[str, Any]:
        self.check_action(self)
        return self.cleaned_data
