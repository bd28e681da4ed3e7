"""The field and the file button by which people hand in a text."""

from typing import Any

from django import forms

from ami_integration.pastes import MOST_OF_A_FILE


class PastedOrChosen(forms.Form):
    """A text that somebody pastes, or a file of it. What the file held stays in memory."""

    text = forms.CharField(
        label="Paste it",
        required=False,
        strip=False,
        max_length=MOST_OF_A_FILE,
        widget=forms.Textarea(
            attrs={"rows": 12, "spellcheck": "false", "autocapitalize": "off", "class": "vLargeTextField"}
        ),
    )
    file = forms.FileField(label="or choose a file", required=False)

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        chosen, text = values.get("file"), values.get("text", "")
        if self.errors:
            return values
        if chosen is None and not text.strip():
            raise forms.ValidationError("Paste the text, or choose a file of at most 512 KiB.")
        if chosen is not None and text.strip():
            raise forms.ValidationError("Paste the text or choose a file, not both.")
        if chosen is not None:
            values["text"] = self._read(chosen)
        return values

    def _read(self, chosen: Any) -> str:
        if chosen.size > MOST_OF_A_FILE:
            raise forms.ValidationError(
                f"The file has {chosen.size:,} bytes. Give at most {MOST_OF_A_FILE:,}."
            )
        try:
            text: str = chosen.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise forms.ValidationError(
                f"The file is no UTF-8 text (byte {error.start + 1:,}). Save it as UTF-8 and choose it again."
            ) from None
        return text
