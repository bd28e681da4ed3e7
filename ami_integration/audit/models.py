"""The audit: a row for each thing that somebody did, tried, or was refused.

A row tells of its object by type, id and name, and keeps the person's name and number: it outlives both, and
not even their deletion changes it. Rows are only ever added.
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
    outcome = models.CharField(max_length=10, choices=Outcome.choices, default=Outcome.DONE)

    class Meta:
        ordering = ("-id",)
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        default_permissions = ("view",)
        indexes = (models.Index(fields=("object_type", "object_id"), name="audit_object"),)

    def __str__(self) -> str:
        return (
            f"{self.at:%Y-%m-%d %H:%M:%S} UTC {self.actor_name or 'amiweb'}: {self.verb} {self.object_name}"
        )
