"""The form of a server. Its secrets go in and never come out."""

from collections.abc import Mapping
from typing import Any

from django import forms

from ami_integration.access.services import sites_visible, tags_visible
from ami_integration.pastes import texts_bound
from ami_integration.secrets.encryption import Secret, SecretUnreadable
from ami_integration.secrets.forms import SecretField, UnreadableKept
from ami_integration.secrets.sources import Source, validate_source
from ami_integration.servers.address import ADDRESS_FIELDS, no_line_break
from ami_integration.servers.models import Server

# Whoever may edit a server need not know its secrets. If these could change while those stay, amiweb would
# carry them to whatever they name; on another port of the same machine somebody else may listen.
BOUND_TO_SECRET = ADDRESS_FIELDS
BOUND_TO_SSH = ("host", "port", "ssh_host", "ssh_port", "ssh_username", "ssh_host_key")
#: What a link may propose for somebody to save: the pins that the connection doctor shows.
PINS = ("tls_pin", "ssh_host_key")


#: Who holds it may say where secrets come from: amiweb then sends what is there to the server's address.
CHOOSE, CHOOSE_LABEL = "ami_integration.choose_secret_source", "Can choose where a server's secrets come from"

#: The fields that hold a secret.
SECRETS = ("secret", "action_secret", "ssh_key", "ssh_password")


class SecretTextarea(forms.Textarea):
    """A secret of several lines. What was typed isn't written into the page, not even beside an error."""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        return super().get_context(name, None, attrs)


class SecretTextField(SecretField):
    """A secret of several lines, such as a private key."""

    widget = SecretTextarea(  # type: ignore[assignment]
        attrs={"rows": 4, "autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}
    )

    def to_python(self, value: Any) -> str:
        # Browsers end lines by CR LF, key files by LF alone. A last line without an end is no key's, too.
        text = (super().to_python(value) or "").replace("\r\n", "\n").strip()
        return f"{text}\n" if text else ""


class ServerForm(UnreadableKept):
    """A server.

    Attributes:
        viewer: who uses it, set by the admin; picks from the tags that they see.
        proposed: pins that the page shows as if somebody had typed them; nothing of them is stored.
    """

    viewer: Any = None
    proposed: Mapping[str, str] = {}
    secret = SecretField(
        required=False,
        validators=[no_line_break],
        help_text="The secret= line of that section. It is stored encrypted and never shown again.",
    )
    action_secret = SecretField(
        label="Secret for actions",
        required=False,
        validators=[no_line_break],
        help_text="The secret= line of the second account. It is stored encrypted and never shown again.",
    )

    ssh_key = SecretTextField(
        label="SSH private key",
        required=False,
        help_text="The whole text of a key without a passphrase, from -----BEGIN to END-----: “ssh-keygen "
        "-t ed25519” makes one. It is stored encrypted and never shown again.",
    )
    ssh_password = SecretField(
        label="SSH password",
        required=False,
        help_text="For an account without a key. It is stored encrypted and never shown again.",
    )

    class Meta:
        model = Server
        fields = (
            *("name", *ADDRESS_FIELDS, "secret_source", "secret_name"),
            *("ssh_key", "ssh_password", "username", "secret", "enabled", "notes"),
            *("site", "tags", "read_only", "maintenance"),
            *("action_username", "action_secret", "max_sessions", "rate_per_minute", "timezone"),
            *("event_keeping", "event_names"),
        )
        widgets = {
            "tags": forms.CheckboxSelectMultiple,
            "event_names": forms.Textarea(attrs={"rows": 5, "cols": 40}),
            "tls_ca": forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
            "tls_pin": forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
            "ssh_host_key": forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        texts_bound(self.fields, files=("tls_ca",))
        if "tags" in self.fields:
            self.fields["tags"].queryset = tags_visible(user=self.viewer)  # type: ignore[attr-defined]
        if "site" in self.fields:
            self.fields["site"].queryset = sites_visible(user=self.viewer)  # type: ignore[attr-defined]
        if "timezone" in self.fields:
            self.fields["timezone"].required = False
            self.fields["timezone"].help_text += " Empty: that of its site, or UTC."
            if self.instance.pk is None:
                self.initial["timezone"] = self.initial.get("timezone", "")
        self._stored: dict[str, Secret | None] = {
            name: getattr(self.instance, name) if self.instance.pk else None for name in SECRETS
        }
        for name, stored in self._stored.items():
            if stored is not None and name in self.fields:
                self.fields[name].help_text = (
                    "Stored, and never shown. Leave it empty to keep it."
                    if stored.readable
                    else "Stored, but unreadable. Enter it anew, or leave it empty until its key is back."
                )
        if "secret_source" in self.fields and not self.may_choose_source:
            for name in ("secret_source", "secret_name"):
                self.fields[name].disabled = True
            self.fields["secret_source"].help_text = f"Another choice takes the permission “{CHOOSE_LABEL}”."
        if not self.is_bound:
            self.initial.update({name: self.proposed[name] for name in PINS if self.proposed.get(name)})

    @property
    def may_choose_source(self) -> bool:
        """Whether its user may say where secrets come from, and have those from elsewhere sent anywhere."""
        return self.viewer is not None and self.viewer.has_perm(CHOOSE)

    @property
    def unreadable(self) -> str:
        """Why a secret of the server can't be read and what to do; "" if all can."""
        if self.instance.pk is None:
            return ""
        try:
            for secret in self.instance.secrets:
                secret.reveal()
        except SecretUnreadable as error:
            return str(error)
        return ""

    @property
    def proposals(self) -> str:
        """What a link has filled in, in words; "" if nothing."""
        names = [
            str(self.fields[name].label) for name in PINS if name in self.fields and self.proposed.get(name)
        ]
        return "" if self.is_bound or not names else f"The {' and the '.join(names)} below came from a test."

    def clean_secret(self) -> Secret | None:
        """The new secret, or the stored one, as it is; none where it comes from elsewhere."""
        secret = self._new_or_stored("secret")
        if secret is None and not self._elsewhere:
            raise forms.ValidationError("Enter the secret. AMI knows no account without one.")
        return secret

    def clean_action_secret(self) -> Secret | None:
        """The second account's new secret, or the stored one; none without a username."""
        plain, username = self.cleaned_data["action_secret"], self.cleaned_data.get("action_username")
        if plain and not username:
            raise forms.ValidationError("Enter the username for actions too, or leave both empty.")
        if not username:
            return None
        if not plain and self._stored["action_secret"] is None and not self._elsewhere:
            raise forms.ValidationError(
                "Enter the second account's secret. AMI knows no account without one."
            )
        return self._new_or_stored("action_secret")

    def clean_timezone(self) -> str:
        """The zone that was given, else the site's, else UTC."""
        site = self.cleaned_data.get("site")
        return self.cleaned_data["timezone"] or (site.timezone if site else "UTC")

    def clean_ssh_key(self) -> Secret | None:
        """The new SSH key, or the stored one; none on another transport."""
        return self._new_or_stored("ssh_key") if self._through_ssh else None

    def clean_ssh_password(self) -> Secret | None:
        """The new SSH password, or the stored one; none on another transport."""
        return self._new_or_stored("ssh_password") if self._through_ssh else None

    @property
    def _through_ssh(self) -> bool:
        return self.cleaned_data.get("transport") == Server.Transport.SSH

    @property
    def _elsewhere(self) -> bool:
        return self.cleaned_data.get("secret_source", Source.STORED) != Source.STORED

    def _new_or_stored(self, name: str) -> Secret | None:
        plain = self.cleaned_data[name]
        if self._elsewhere:
            if plain:
                raise forms.ValidationError(
                    "Leave it empty: this server's secrets come from elsewhere. Or store them here."
                )
            return None
        return Secret.from_plain(plain) if plain else self._stored[name]

    def clean(self) -> dict[str, Any] | None:
        self._clean_ssh()
        self._clean_source()
        for field, stored in self._stored.items():
            bound = BOUND_TO_SSH if field in ("ssh_key", "ssh_password") else BOUND_TO_SECRET
            moved = [name for name in bound if name in self.changed_data]
            if stored is not None and moved and self.cleaned_data.get(field) is stored:
                names = " and ".join(str(self.fields[name].label or name) for name in moved)
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

    def _clean_source(self) -> None:
        if not self._elsewhere:
            self.cleaned_data["secret_name"] = ""
            return
        moved = [name for name in BOUND_TO_SECRET if name in self.changed_data]
        if moved and not self.may_choose_source:
            names = " and ".join(str(self.fields[name].label or name) for name in moved)
            self.add_error(
                moved[0],
                f"{names} changed. This server's secrets come from elsewhere, and only who has the "
                f"permission “{CHOOSE_LABEL}” can have them sent to another place.",
            )
        try:
            validate_source(self.cleaned_data["secret_source"], self.cleaned_data.get("secret_name", ""))
        except forms.ValidationError as error:
            self.add_error("secret_name", error)

    def _clean_ssh(self) -> None:
        if not self._through_ssh:
            return
        for name, what in (("ssh_host", "the SSH server"), ("ssh_username", "the account there")):
            if not self.cleaned_data.get(name) and name not in self.errors:
                self.add_error(name, f"Enter {what}: the tunnel goes through it.")
        if not self._elsewhere and not any(
            self.cleaned_data.get(name) for name in ("ssh_key", "ssh_password")
        ):
            self.add_error("ssh_key", "Enter a private key, or a password below.")
