"""Forms of models with encrypted fields: they take secrets and never show one.

What no key opens is not lost, since its key may come back; so no form writes over it by the way. A field that
somebody filled in, an account that was taken out, another kind of channel: each asks for a tick first.
"""

from typing import Any

from django import forms
from django.db.models import Model

from ami_integration.secrets.encryption import EncryptedTextField, Secret

REPLACE = "replace_unreadable"


class SecretField(forms.CharField):
    """A text to be stored, shown to nobody. Empty means: keep what is stored."""

    widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data)


def unreadable_secrets(instance: Model) -> dict[str, Secret]:
    """The encrypted fields of a stored object that no key opens, by their names."""
    if instance.pk is None:
        return {}
    stored = {
        field.name: getattr(instance, field.name)
        for field in instance._meta.concrete_fields
        if isinstance(field, EncryptedTextField)
    }
    return {name: secret for name, secret in stored.items() if secret is not None and not secret.readable}


def fieldsets_replacing(fieldsets: Any, instance: Model | None) -> Any:
    """The fieldsets of an admin page, with the tick of `UnreadableKept` where it is needed."""
    if instance is None or not unreadable_secrets(instance):
        return fieldsets
    return (*fieldsets, ("What can't be read", {"fields": (REPLACE,)}))


class UnreadableKept(forms.ModelForm):
    """A form that writes over an unreadable secret only if somebody ticks that it shall.

    Attributes:
        rewrites: encrypted fields that each save writes anew, though no field of the form is named so.
    """

    rewrites: tuple[str, ...] = ()
    replace_unreadable = forms.BooleanField(label="Replace what can't be read", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unreadable = unreadable_secrets(self.instance)
        if not self._unreadable:
            self.fields.pop(REPLACE, None)
        elif REPLACE in self.fields:
            self.fields[REPLACE].help_text = (
                f"{self._names(self._unreadable)} can't be read: "
                f"{next(iter(self._unreadable.values())).why_unreadable()} Tick only if it won't come back: "
                "what this form writes in its place is all that is left then."
            )

    def _post_clean(self) -> None:
        # Behind every `clean`, which may have taken values out.
        if not self.cleaned_data.get(REPLACE):
            overwritten = [
                name
                for name, stored in self._unreadable.items()
                if name in self.rewrites or self.cleaned_data.get(name, stored) != stored
            ]
            if overwritten and REPLACE in self.fields:
                self.add_error(
                    REPLACE,
                    f"This would overwrite {self._names(overwritten)}, which can't be read now, but again "
                    "when its key is back. Bring the key back first, or tick to replace it for good.",
                )
        super()._post_clean()  # type: ignore[misc]

    def _names(self, names: Any) -> str:
        labels = [str(self._meta.model._meta.get_field(name).verbose_name) for name in names]
        return " and ".join(f"“{label}”" for label in labels)
