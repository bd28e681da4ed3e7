"""What is kept of a PBX's events, of the times when nobody heard them, and of what the PBX said after those.

None of these tables has a foreign key in the database. A busy PBX brings thousands of rows a second, each of
which would lock its server's row for the check; and deleting a server would have to load millions of rows to
show what goes with it. Rows of a deleted server are shown nowhere and leave with the retention.

The table of events is made by hand (`ami_integration.events.tables`): PostgreSQL cuts it into one partition a
day, by the time in the ids; both databases search `tokens` by an index that Django doesn't know.
"""

import json
from datetime import datetime
from typing import Any

from django.db import models

from ami_integration.servers.models import Server


class HeadersField(models.TextField):
    """Headers as a list of pairs, stored as the JSON text that the recorder has rendered.

    A text, since nobody asks the database for a part of it: as `jsonb` each row would be parsed while it is
    stored and rendered again while it is read, thousands of times a second.
    """

    # For mypy: what Python sees of it is no str.
    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def from_db_value(self, value: str | None, *args: Any) -> Any:
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> Any:
        return value if value is None or isinstance(value, str) else headers_json(value)

    def value_to_string(self, obj: models.Model) -> str:
        return headers_json(self.value_from_object(obj))


def headers_json(headers: Any) -> str:
    """The JSON of headers as it is stored and sent: as short as possible, and readable where it can be."""
    return json.dumps(headers, ensure_ascii=False, separators=(",", ":"))


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
    tokens = models.TextField(blank=True, help_text="The words to be searched: ami_integration.events.words")
    headers = HeadersField(help_text="All of them as pairs, in the order of the wire.")

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("server", "id"), name="event_server_id"),
            models.Index(fields=("name", "id"), name="event_name_id"),
            # Compared by bytes: faster, and it serves "begins with" too, whatever the database's language.
            models.Index(fields=("linkedid",), name="event_linkedid", opclasses=("varchar_pattern_ops",)),
            models.Index(fields=("uniqueid",), name="event_uniqueid", opclasses=("varchar_pattern_ops",)),
            models.Index(fields=("channel",), name="event_channel", opclasses=("varchar_pattern_ops",)),
        )
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
        CUT = "cut", "Cut by the PBX"
        OVERLOAD = "overload", "More events than could be taken"
        LOST = "lost", "Valkey lost its data"
        LISTENER_STOPPED = "listener_stopped", "The listener was not running"
        HANDED_OVER = "handed_over", "Handed over to another listener"
        DISABLED = "disabled", "The server was disabled"
        RECONFIGURED = "reconfigured", "The server's settings were changed"

    class LostKind(models.TextChoices):
        EXACT = "exact", "Counted"
        ESTIMATED = "estimated", "Estimated"
        UNKNOWN = "unknown", "Unknown"

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
    lost_kind = models.CharField(
        "how that is known", max_length=10, choices=LostKind.choices, default=LostKind.UNKNOWN
    )

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


class Snapshot(models.Model):
    """What a PBX said of its state after a gap: the answer to one action, or why there is none."""

    id = models.BigIntegerField(
        primary_key=True, help_text="Made like an event's id, so that both have one order."
    )
    server = models.ForeignKey(
        Server, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    after_id = models.BigIntegerField(help_text="The gap's: the last event before it.")
    at = models.DateTimeField("time", help_text="When amiweb asked.")
    action = models.CharField(max_length=100)
    items = HeadersField(help_text="The events of the answer, each a list of pairs.")
    error = models.TextField(blank=True, help_text="Why there is no answer.")

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("server", "after_id"), name="snapshot_server_gap"),)
        default_permissions = ()  # whoever may watch events sees them

    def __str__(self) -> str:
        return f"{self.action} {self.at:%Y-%m-%d %H:%M:%S}"
