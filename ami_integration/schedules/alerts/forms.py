"""The form of an alert channel. A webhook's URL and its signing secret go in and never come out."""

from typing import Any

from django import forms
from django.core.validators import validate_email

from ami_integration.schedules.alerts.models import AlertChannel
from ami_integration.schedules.alerts.sending import url_problem, url_shown
from ami_integration.secrets.encryption import Secret
from ami_integration.secrets.forms import SecretField, UnreadableKept

#: Mail addresses of one channel; for more there are mailing lists.
MOST_ADDRESSES = 20


class ChannelForm(UnreadableKept):
    """Mail addresses, or a webhook. What belongs to the other kind is not kept."""

    url = SecretField(
        label="URL",
        required=False,
        max_length=2000,
        help_text="Where it is sent, by POST. It is stored encrypted; its scheme and host are shown.",
    )
    secret = SecretField(
        label="Signing secret",
        required=False,
        max_length=500,
        help_text="With it each request is signed (HMAC-SHA256), so that the receiver knows whom it is from. "
        "Empty: not signed. It is stored encrypted and never shown again.",
    )
    unsigned = forms.BooleanField(
        label="Forget the signing secret", required=False, help_text="Requests are not signed any more."
    )

    class Meta:
        model = AlertChannel
        fields = ("name", "kind", "enabled", "addresses", "url", "secret")
        widgets = {"kind": forms.RadioSelect, "addresses": forms.Textarea(attrs={"rows": 3, "cols": 40})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stored = self.instance.pk is not None
        self._url: Secret | None = self.instance.url if stored else None
        self._secret: Secret | None = self.instance.secret if stored else None
        if "url" in self.fields:
            self.fields["url"].widget.attrs["class"] = "vTextField"
        if self._url is not None and "url" in self.fields:
            shown = self.instance.url_shown
            self.fields["url"].help_text = (
                f"Stored ({shown}), and not shown whole. Leave it empty to keep it."
                if self._url.readable
                else f"Stored ({shown}), but unreadable. Enter it anew, or leave it empty until its key is "
                "back."
            )
        if self._secret is not None and "secret" in self.fields:
            self.fields["secret"].help_text = (
                "Stored, and never shown. Leave it empty to keep it."
                if self._secret.readable
                else "Stored, but unreadable. Enter it anew, or leave it empty until its key is back."
            )
        elif "unsigned" in self.fields:
            del self.fields["unsigned"]

    def clean_addresses(self) -> str:
        addresses = list(dict.fromkeys(self.cleaned_data["addresses"].replace(",", " ").split()))
        for address in addresses:
            try:
                validate_email(address)
            except forms.ValidationError as error:
                raise forms.ValidationError(
                    f"“{address}” is not a mail address. Write one on each line, without a name."
                ) from error
        if len(addresses) > MOST_ADDRESSES:
            raise forms.ValidationError(
                f"These are {len(addresses)} addresses, and {MOST_ADDRESSES} are the most: use a mailing "
                "list."
            )
        return "\n".join(addresses)

    def clean_url(self) -> Secret | None:
        plain = self.cleaned_data["url"]
        if not plain:
            return self._url
        if problem := url_problem(plain):
            raise forms.ValidationError(problem)
        self.instance.url_shown = url_shown(plain)
        return Secret.from_plain(plain)

    def clean_secret(self) -> Secret | None:
        plain = self.cleaned_data["secret"]
        return Secret.from_plain(plain) if plain else self._secret

    def clean(self) -> dict[str, Any]:
        super().clean()
        values = self.cleaned_data
        if values.get("kind") == AlertChannel.Kind.MAIL:
            if not values.get("addresses") and "addresses" not in self.errors:
                self.add_error("addresses", "Enter at least one mail address.")
            # What isn't used any more isn't kept: whoever switches back may be somebody else.
            values |= {"url": None, "secret": None}
            self.instance.url_shown = ""
            return values
        values["addresses"] = ""
        if values.get("url") is None and "url" not in self.errors:
            self.add_error("url", "Enter the URL that the receiver gave you.")
        kept = self._secret is not None and values.get("secret") is self._secret
        if values.get("unsigned"):
            if kept:
                values["secret"] = None
            else:
                self.add_error("unsigned", "Enter a new secret or forget it, not both.")
        elif kept and values.get("url") is not self._url and "url" not in self.errors:
            # Whoever may edit a channel need not know its secret, nor have amiweb sign for another receiver.
            self.add_error(
                "secret", "The URL changed. Enter the signing secret of this receiver, or tick to forget it."
            )
        return values
