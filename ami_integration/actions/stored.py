"""What a row keeps of a request: its headers, encrypted for the PBX, and a masked copy for eyes.

And of one that is kept to be run later, all that makes it.
"""

import json
from collections.abc import Iterable, Sequence

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from ami_integration.access.masking import headers_mask, lines_visible, storable_headers
from ami_integration.actions.plans import StoredPlan
from ami_integration.secrets.encryption import EncryptedTextField

#: Seconds that a person may have an answer waited for.
LONGEST_TIMEOUT = 600
TIMEOUT_HELP = (
    "Seconds to wait for the answer. Empty: 30. An Originate gets its Timeout and 10 more, at least."
)


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

    def keep_headers(
        self,
        headers: Sequence[tuple[str, str]],
        *,
        hidden_by: int | None,
        masked: Iterable[tuple[str, str]] | None = None,
    ) -> None:
        """Set the columns together, so that the copy for eyes is of what is kept. Saves nothing.

        Args:
            headers: pairs in order, in clear.
            hidden_by: the id of the person who wrote what is hidden of them; None: nobody knows.
            masked: the copy for eyes, where it isn't `headers_mask`'s.
        """
        self.payload = json.dumps(headers)
        self.headers_masked = storable_headers(headers_mask(headers) if masked is None else masked)
        self.hidden_by_id = hidden_by

    def text_for_eyes(self, *first: tuple[str, str]) -> str:
        """These headers and then its own, as lines: secrets hidden, what nobody sees written out."""
        return lines_visible([*first, *((name, value) for name, value in self.headers_masked)])

    def headers_in_clear(self) -> list[tuple[str, str]]:
        """The headers for the PBX, never for eyes, logs or pages. Raises `SecretUnreadable`."""
        return [(name, value) for name, value in json.loads(self.payload.reveal())]


class StoredRequest(StoredHeaders, StoredPlan):
    """For a model that keeps a request to be run later: a template, a schedule."""

    action = models.CharField(max_length=255, help_text="The AMI action, for example QueueReset.")
    timeout = models.FloatField(
        "time limit",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_TIMEOUT)],
        help_text=TIMEOUT_HELP,
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True
