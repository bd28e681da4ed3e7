"""Whom alerts are sent to, which ones are open, and what was sent.

A delivery is a row before it is a message: what couldn't be sent is tried again, and what became of it can be
read afterwards.
"""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from ami_integration.servers.encryption import EncryptedTextField


class AlertChannel(models.Model):
    """Mail addresses, or a webhook."""

    class Kind(models.TextChoices):
        MAIL = "mail", "Mail"
        WEBHOOK = "webhook", "Webhook"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.MAIL)
    addresses = models.TextField(blank=True, help_text="Mail addresses, one a line.")
    # Whoever knows the URL of a chat's webhook may write there, so it is kept as a secret is.
    url = EncryptedTextField("URL", null=True, blank=True, help_text="Where the webhook is sent, by POST.")  # type: ignore[misc]
    url_shown = models.CharField(
        max_length=300, blank=True, editable=False, help_text="Scheme and host of it."
    )
    secret = EncryptedTextField(  # type: ignore[misc]
        null=True, blank=True, help_text="With it each webhook is signed (HMAC-SHA256). Empty: not signed."
    )
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """Something is wrong with a schedule, from when to when."""

    class Kind(models.TextChoices):
        FAILING = "failing", "Failing"
        SILENT = "silent", "Nothing ran"
        LATE = "late", "Late"
        STOPPED = "stopped", "Stopped"

    schedule = models.ForeignKey("Schedule", on_delete=models.CASCADE, related_name="alerts")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    opened_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True)
    text = models.TextField()

    class Meta:
        ordering = ("-opened_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("schedule", "kind"), condition=Q(closed_at=None), name="alert_open_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.text}"


class AlertDelivery(models.Model):
    """One alert's opening or closing, for one channel."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENT = "sent", "Sent"
        GIVEN_UP = "given_up", "Given up"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    closing = models.BooleanField(default=False, help_text="Whether it tells that all is well again.")
    channel = models.ForeignKey(AlertChannel, on_delete=models.SET_NULL, null=True, related_name="deliveries")
    channel_name = models.CharField(max_length=100)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at", "-id")
        verbose_name_plural = "alert deliveries"
        indexes = (
            models.Index(
                fields=("next_try_at",), condition=Q(status="waiting"), name="alert_delivery_waiting"
            ),
        )
        constraints = (
            models.UniqueConstraint(fields=("alert", "closing", "channel"), name="alert_delivery_once"),
        )

    def __str__(self) -> str:
        return f"{self.channel_name}: {self.get_status_display()}"
