"""Whom alerts are sent to, which ones are open, and what was sent.

A delivery is a row before it is a message: what couldn't be sent is tried again, and what became of it can be
read afterwards.
"""

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from ami_integration.access.services import user_may_view_schedules, user_sees_all_servers
from ami_integration.schedules.models import Schedule
from ami_integration.secrets.encryption import EncryptedTextField


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

    @property
    def address_list(self) -> list[str]:
        """The mail addresses, each once."""
        return list(dict.fromkeys(self.addresses.split()))


class AlertQuerySet(models.QuerySet["Alert"]):
    def open(self) -> "AlertQuerySet":
        """Those that aren't over."""
        return self.filter(closed_at=None)

    def visible_to(self, user: Any) -> "AlertQuerySet":
        """The alerts of the schedules that this person may see. Those of deleted ones: for who sees all."""
        if user_may_view_schedules(user=user) and user_sees_all_servers(user=user):
            return self
        return self.filter(schedule__in=Schedule.objects.visible_to(user).values("pk"))


class Alert(models.Model):
    """Something is wrong with a schedule, from when to when. It outlives the schedule."""

    class Kind(models.TextChoices):
        FAILING = "failing", "Failing"
        SILENT = "silent", "Nothing ran"
        LATE = "late", "Late"
        STOPPED = "stopped", "Stopped"

    schedule = models.ForeignKey(Schedule, on_delete=models.SET_NULL, null=True, related_name="alerts")
    schedule_name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    opened_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True)
    text = models.TextField(help_text="What is wrong, in sentences.")
    closing_text = models.TextField(blank=True, help_text="Why it is over.")
    planned_at = models.DateTimeField(
        null=True,
        help_text="The newest planned time it is about: the one that is late, or the last that had failed.",
    )

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ("-opened_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("schedule", "kind"), condition=Q(closed_at=None), name="alert_open_once"
            ),
        )
        indexes = (models.Index(fields=("opened_at",), name="alert_opened"),)

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.schedule_name}"


class AlertDeliveryQuerySet(models.QuerySet["AlertDelivery"]):
    def visible_to(self, user: Any) -> "AlertDeliveryQuerySet":
        """The deliveries of the alerts that this person may see."""
        return self.filter(alert__in=Alert.objects.visible_to(user).values("pk"))


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
    claim = models.CharField(
        max_length=32,
        blank=True,
        help_text="Of the last attempt, which may tell of several deliveries at once.",
    )
    last_error = models.TextField(blank=True)
    tries = models.JSONField(default=list, help_text="Of each attempt its moment and what came of it.")
    reached = models.JSONField(default=list, help_text="Mail addresses that have it already.")
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True)

    objects = AlertDeliveryQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        verbose_name = "alert delivery"
        verbose_name_plural = "alert deliveries"
        indexes = (
            models.Index(
                fields=("next_try_at",), condition=Q(status="waiting"), name="alert_delivery_waiting"
            ),
            models.Index(fields=("channel", "created_at"), name="alert_delivery_channel"),
        )
        constraints = (
            models.UniqueConstraint(fields=("alert", "closing", "channel"), name="alert_delivery_once"),
        )

    def __str__(self) -> str:
        return f"{self.channel_name}: {self.get_status_display()}"
