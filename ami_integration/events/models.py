"""What is kept of a PBX's events, and of the times when nobody heard them.

Neither table has a foreign key in the database. A busy PBX brings thousands of rows a second, each of which
would lock its server's row for the check; and deleting a server would have to load millions of rows to show
what goes with it. Rows of a deleted server are shown nowhere and leave with the retention.
"""

from datetime import datetime

from django.db import models

from ami_integration.servers.models import Server


class EventQuerySet(models.QuerySet["Event"]):
    def of_servers(self, server_ids: list[int]) -> "EventQuerySet":
        return self.filter(server_id__in=server_ids)


class Event(models.Model):
    """One event as a PBX sent it."""

    id = models.BigIntegerField(
        primary_key=True, help_text="Time, listener and counter: ami_integration.events.ids"
    )
    server = models.ForeignKey(
        Server, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    at = models.DateTimeField("time", help_text="When amiweb read it.")
    # Copies of headers for look-ups, cut at their length; `headers` has them whole.
    name = models.CharField(max_length=100)
    channel = models.CharField(max_length=200, blank=True)
    uniqueid = models.CharField(max_length=150, blank=True)
    linkedid = models.CharField(max_length=150, blank=True)
    headers = models.JSONField(help_text="All of them as pairs, in the order of the wire.")

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("server", "id"), name="event_server_id"),)
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class GapQuerySet(models.QuerySet["Gap"]):
    def open(self) -> "GapQuerySet":
        return self.filter(ended_at=None)


class Gap(models.Model):
    """Time without events of one server. What lies after `after_id` and before `before_id` may be missing."""

    class Reason(models.TextChoices):
        DISCONNECTED = "disconnected", "Connection lost"
        OVERLOAD = "overload", "More events than could be taken"
        LISTENER_STOPPED = "listener_stopped", "The listener was not running"
        DISABLED = "disabled", "The server was disabled"
        RECONFIGURED = "reconfigured", "The server's settings were changed"

    id = models.BigIntegerField(
        primary_key=True, help_text="Made like an event's id, so that both have one order."
    )
    server = models.ForeignKey(
        Server, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    reason = models.CharField(max_length=20, choices=Reason.choices)
    detail = models.TextField(blank=True, help_text="The error that was seen.")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True, help_text="Empty while it lasts.")
    after_id = models.BigIntegerField(help_text="The last event before it; 0 if there was none.")
    before_id = models.BigIntegerField(
        null=True, blank=True, help_text="Every event after it has this id or a greater."
    )
    lost = models.BigIntegerField("events lost", null=True, blank=True, help_text="Empty: nobody can know.")

    objects = GapQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("server", "after_id"), name="gap_once_after_an_event"),
        )
        indexes = (models.Index(fields=("server", "id"), name="gap_server_id"),)
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.get_reason_display()} {self.started_at:%Y-%m-%d %H:%M:%S}"

    def lasts(self, *, now: datetime) -> float:
        """Seconds from start to end, or until now while it is open."""
        return ((self.ended_at or now) - self.started_at).total_seconds()
