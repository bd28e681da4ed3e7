"""The form of a server. Its secret goes in and never comes out."""

from typing import Any

from django import forms

from ami_integration.access.services import tags_visible
from ami_integration.secrets.encryption import Secret, SecretUnreadable
from ami_integration.servers.address import no_line_break
from ami_integration.servers.models import Server

# Whoever may edit a server need not know its secret. If these could change while it stays, amiweb would carry
# it to whatever they name; on another port of the same machine somebody else may listen.
BOUND_TO_SECRET = ("host", "port", "transport", "tls_ca")


class SecretField(forms.CharField):
    """A text to be stored, shown to nobody. Empty means: keep what is stored."""

    widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data)


class ServerForm(forms.ModelForm):
    """A server. `viewer`, set by the admin, picks from the tags that they see."""

    viewer: Any = None
    secret = SecretField(
        validators=[no_line_break],
        error_messages={"required": "Enter the secret. AMI knows no account without one."},
        help_text="The secret= line of that section. It is stored encrypted and never shown again.",
    )
    action_secret = SecretField(
        label="Secret for actions",
        required=False,
        validators=[no_line_break],
        help_text="The secret= line of the second account. It is stored encrypted and never shown again.",
    )

    class Meta:
        model = Server
        fields = (
            *("name", "host", "port", "transport", "tls_ca", "username", "secret", "enabled", "notes"),
            *("tags", "read_only", "maintenance"),
            *("action_username", "action_secret", "max_sessions", "rate_per_minute", "timezone"),
            *("event_keeping", "event_names"),
        )
        widgets = {
            "tags": forms.CheckboxSelectMultiple,
            "event_names": forms.Textarea(attrs={"rows": 5, "cols": 40}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "tags" in self.fields:
            self.fields["tags"].queryset = tags_visible(user=self.viewer)  # type: ignore[attr-defined]
        self._stored: Secret | None = self.instance.secret if self.instance.pk else None
        self._stored_for_actions: Secret | None = self.instance.action_secret if self.instance.pk else None
        for name, stored in (("secret", self._stored), ("action_secret", self._stored_for_actions)):
            if stored is not None and name in self.fields:
                self.fields[name].required = False
                self.fields[name].help_text = (
                    "Stored, and never shown. Leave it empty to keep it."
                    if stored.readable
                    else "Stored, but unreadable. Enter it anew, or leave it empty until its key is back."
                )

    @property
    def unreadable(self) -> str:
        """Why the stored secret can't be read and what to do; "" if it can."""
        try:
            for stored in (self._stored, self._stored_for_actions):
                if stored is not None:
                    stored.reveal()
        except SecretUnreadable as error:
            return str(error)
        return ""

    def clean_secret(self) -> Secret | None:
        """The new secret, or the stored one, as it is."""
        plain = self.cleaned_data["secret"]
        return Secret.from_plain(plain) if plain else self._stored

    def clean_action_secret(self) -> Secret | None:
        """The second account's new secret, or the stored one; none without a username."""
        plain, username = self.cleaned_data["action_secret"], self.cleaned_data.get("action_username")
        if plain and not username:
            raise forms.ValidationError("Enter the username for actions too, or leave both empty.")
        if not username:
            return None
        if not plain and self._stored_for_actions is None:
            raise forms.ValidationError(
                "Enter the second account's secret. AMI knows no account without one."
            )
        return Secret.from_plain(plain) if plain else self._stored_for_actions

    def clean(self) -> dict[str, Any] | None:
        moved = [name for name in BOUND_TO_SECRET if name in self.changed_data]
        names = " and ".join(str(self.fields[name].label or name) for name in moved)
        for field, stored in (("secret", self._stored), ("action_secret", self._stored_for_actions)):
            if stored is not None and moved and self.cleaned_data.get(field) is stored:
                self.add_error(
                    field,
                    f"{names} changed. Enter the secret again, so that nobody can have the stored one sent "
                    "elsewhere.",
                )
        chosen = self.cleaned_data.get("event_keeping") == Server.EventKeeping.CHOSEN
        if (
            chosen
            and not self.cleaned_data.get("event_names", "").strip()
            and "event_names" not in self.errors
        ):
            self.add_error(
                "event_names", "Name the events to keep, one a line, or choose “None” to keep no events."
            )
        return super().clean()
