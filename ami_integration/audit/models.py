"""The audit: a row for each thing that somebody did, tried, or was refused.

A row tells of its object by type, id and name, and keeps the person's name and number: it outlives both, and
not even their deletion changes it. Rows are only ever added: triggers of the database refuse anything else
(`ami_integration.audit.guard`), and seals show what happened in spite of them
(`ami_integration.audit.seals`).
"""

from django.conf import settings
from django.db import models
from django.utils import timezone


class AuditEntry(models.Model):
    """One thing that somebody did, or was refused."""

    class Outcome(models.TextChoices):
        INTENT = "intent", "Intended"
        DONE = "done", "Done"
        REFUSED = "refused", "Refused"
        FAILED = "failed", "Failed"
        UNKNOWN = "unknown", "Unknown"

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        null=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    actor_name = models.CharField(max_length=150, blank=True, help_text="Empty: amiweb itself.")
    origin = models.CharField(max_length=20, help_text="By which way: admin, api, schedule, command, worker.")
    address = models.GenericIPAddressField(
        null=True, help_text="From where, as far as it came by the network."
    )
    verb = models.CharField(max_length=50, help_text="As in run.submit or server.change.")
    what = models.JSONField(default=dict, help_text="The particulars, masked.")
    object_type = models.CharField(max_length=50, blank=True)
    object_id = models.CharField(max_length=50, blank=True)
    object_name = models.CharField(max_length=200, blank=True)
    # No foreign key: the audit outlives what it tells of.
    server_id = models.BigIntegerField(
        "server", null=True, help_text="The server that it is about, whatever its object is."
    )
    outcome = models.CharField(max_length=10, choices=Outcome.choices, default=Outcome.DONE)
    seal = models.ForeignKey(
        "AuditSeal",
        on_delete=models.DO_NOTHING,
        null=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
        editable=False,
    )

    class Meta:
        ordering = ("-id",)
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=("object_type", "object_id"), name="audit_object"),
            models.Index(fields=("actor", "id"), name="audit_actor"),
            models.Index(fields=("server_id", "id"), name="audit_server"),
            # What isn't sealed yet is its end, so the sealer finds it without a look at the rest.
            models.Index(fields=("seal", "id"), name="audit_seal"),
        )

    def __str__(self) -> str:
        return (
            f"{self.at:%Y-%m-%d %H:%M:%S} UTC {self.actor_name or 'amiweb'}: {self.verb} {self.object_name}"
        )


class AuditSeal(models.Model):
    """A link of the chain: the hashes of all entries that were written since the seal before, and its own."""

    number = models.BigIntegerField(primary_key=True)
    sealed_at = models.DateTimeField()
    entries = models.PositiveIntegerField()
    first_id = models.BigIntegerField(help_text="The smallest number among its entries.")
    last_id = models.BigIntegerField(help_text="The largest.")
    hashes = models.BinaryField(help_text="For each entry, by number: 8 bytes of number, 32 of its SHA-256.")
    previous = models.CharField(max_length=64, help_text="The digest of the seal before.")
    digest = models.CharField(max_length=64)

    class Meta:
        ordering = ("-number",)
        default_permissions = ()

    def __str__(self) -> str:
        return f"seal {self.number}"


class AuditSegment(models.Model):
    """The oldest part of the audit, which the retention took away, and the hash that closed it."""

    closed_at = models.DateTimeField()
    first_seal = models.BigIntegerField()
    last_seal = models.BigIntegerField()
    entries = models.PositiveBigIntegerField()
    first_at = models.DateTimeField(help_text="When its first seal was made.")
    last_at = models.DateTimeField(help_text="When its last seal was made.")
    digest = models.CharField(
        max_length=64, help_text="The digest of its last seal, which covers all before it."
    )

    class Meta:
        ordering = ("-last_seal",)
        default_permissions = ()

    def __str__(self) -> str:
        return f"seals {self.first_seal} to {self.last_seal}"
