"""What a row keeps of a request: its headers, encrypted for the PBX, and a masked copy for eyes."""

import json

from django.conf import settings
from django.db import models

from ami_integration.actions.masking import lines_visible
from ami_integration.secrets.encryption import EncryptedTextField


class StoredHeaders(models.Model):
    """For a model that keeps the headers of an action: a run, a fan-out, a template, a schedule."""

    payload = EncryptedTextField(help_text="The headers as a JSON list of [name, value].")
    headers_masked = models.JSONField(default=list, editable=False)
    # Nobody asks for rows by it, and a person who is deleted meanwhile must stop no run: neither an index
    # nor a constraint.
    hidden_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        db_index=False,
        db_constraint=False,
        related_name="+",
        help_text="Who wrote what is hidden in it; anybody else repeats the request as it is, or not at all.",
    )

    class Meta:
        abstract = True

    def text_for_eyes(self, *first: tuple[str, str]) -> str:
        """These headers and then its own, as lines: secrets hidden, what nobody sees written out."""
        return lines_visible([*first, *((name, value) for name, value in self.headers_masked)])

    def headers_in_clear(self) -> list[tuple[str, str]]:
        """The headers for the PBX, never for eyes, logs or pages. Raises `SecretUnreadable`."""
        return [(name, value) for name, value in json.loads(self.payload.reveal())]
