"""The action log: one row for each run, which is one action on one server, once.

The row is the truth and the task queue only a doorbell, so the row alone says what may happen next. Every
change of its status is a compare-and-swap (`UPDATE … WHERE status = …`, one row or none), never a read and
a write: two workers that got the same message can't both send, and a worker that comes back late can't
overwrite what was decided meanwhile. There is no way back to an earlier status:

=========  =====================================================  =========
From       Event                                                  To
=========  =====================================================  =========
QUEUED     a worker claims it, before its expiry                  RUNNING
QUEUED     somebody cancels it                                    CANCELLED
QUEUED     its expiry passes                                      EXPIRED
RUNNING    the PBX agreed                                         SUCCEEDED
RUNNING    the PBX said no, or nothing of it could be sent        FAILED
RUNNING    it may have been sent and no answer came, or the       UNKNOWN
           worker showed no heartbeat any more
RUNNING    a mistake of amiweb                                    ERRORED
=========  =====================================================  =========

The payload is encrypted, because headers hold secrets; `headers_masked` is the copy for eyes. Results are
stored masked only.
"""

import json
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from ami_integration.servers.encryption import EncryptedTextField
from ami_integration.servers.models import Server


class ActionRunQuerySet(models.QuerySet["ActionRun"]):
    """Every way in which the status of a run changes, save `ActionRun.finish`."""

    def waiting(self) -> "ActionRunQuerySet":
        return self.filter(status=ActionRun.Status.QUEUED)

    def running(self) -> "ActionRunQuerySet":
        return self.filter(status=ActionRun.Status.RUNNING)

    def claim(self, pk: int, worker: str, *, now: datetime | None = None) -> bool:
        """Make this worker the only one that executes the run.

        Args:
            pk: the run.
            worker: the name of the process, as in `heartbeat.worker_name()`.
            now: the moment; the clock's if not given.

        Returns:
            whether the claim won. False: somebody else has it, or it is cancelled, expired or gone.
        """
        now = now or timezone.now()
        claimed = (
            self.waiting()
            .filter(pk=pk, expires_at__gt=now)
            .update(status=ActionRun.Status.RUNNING, worker=worker, started_at=now, heartbeat_at=now)
        )
        return claimed == 1

    def cancel(self, pk: int, reason: str, *, now: datetime | None = None) -> bool:
        """Take a queued run back. Returns whether it was still queued."""
        return (
            self.waiting()
            .filter(pk=pk)
            .update(status=ActionRun.Status.CANCELLED, reason=reason, finished_at=now or timezone.now())
            == 1
        )

    def expire(self, pk: int, reason: str, *, now: datetime | None = None) -> bool:
        """End a queued run whose expiry has passed. Returns whether it did."""
        now = now or timezone.now()
        return (
            self.waiting()
            .filter(pk=pk, expires_at__lte=now)
            .update(status=ActionRun.Status.EXPIRED, reason=reason, finished_at=now)
            == 1
        )

    def reap(self, pk: int, reason: str, *, lost_before: datetime, now: datetime | None = None) -> bool:
        """Give up a run whose worker was last seen alive before `lost_before`. Returns whether it did."""
        return (
            self.running()
            .filter(pk=pk, heartbeat_at__lt=lost_before)
            .update(status=ActionRun.Status.UNKNOWN, reason=reason, finished_at=now or timezone.now())
            == 1
        )


class ActionRun(models.Model):
    """One action on one server, once."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        UNKNOWN = "unknown", "Unknown"
        CANCELLED = "cancelled", "Cancelled"
        EXPIRED = "expired", "Expired"
        ERRORED = "errored", "Errored"

    class Origin(models.TextChoices):
        ADMIN = "admin", "Admin"
        API = "api", "API"
        SCHEDULE = "schedule", "Schedule"
        COMMAND = "command", "Command line"

    #: Over, and known to have come to nothing: a person may run it again without doing it twice.
    RETRYABLE = (Status.FAILED, Status.CANCELLED, Status.EXPIRED)

    server = models.ForeignKey(Server, on_delete=models.SET_NULL, null=True, related_name="runs")
    server_name = models.CharField(max_length=100, help_text="Kept, so that the log outlives the server.")
    action = models.CharField(max_length=255)
    payload = EncryptedTextField(help_text="The headers as a JSON list of [name, value].")
    headers_masked = models.JSONField(default=list)
    action_id = models.CharField(
        "ActionID",
        max_length=67,
        unique=True,
        help_text="Chosen when the form was opened, so that a form sent twice is one run.",
    )
    timeout = models.FloatField(null=True, help_text="Seconds to wait for the answer; empty: the default.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    origin = models.CharField(max_length=10, choices=Origin.choices, default=Origin.ADMIN)
    origin_detail = models.CharField(
        max_length=200, blank=True, help_text="The schedule's name, for example."
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    username = models.CharField(
        max_length=150, blank=True, help_text="Kept, so that the log outlives the person."
    )
    created_at = models.DateTimeField(default=timezone.now)
    rung_at = models.DateTimeField(
        null=True, help_text="When the task queue last took the news; empty: it has not."
    )
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(help_text="Not sent after this moment.")
    worker = models.CharField(max_length=150, blank=True)
    heartbeat_at = models.DateTimeField(null=True)
    reason = models.TextField(blank=True, help_text="A sentence for people: what happened and what to do.")
    traceback = models.TextField(blank=True)
    response = models.JSONField(default=list, help_text="The response's headers, masked.")
    items = models.JSONField(default=list, help_text="The items of a list, each a list of headers, masked.")
    output = models.TextField(blank=True, help_text="The output of a Command, masked.")
    retry_of = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="retries")

    objects = ActionRunQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        verbose_name = "run"
        verbose_name_plural = "runs"
        indexes = (
            models.Index(fields=("status", "created_at"), name="run_status_created"),
            models.Index(fields=("created_at",), name="run_created"),
            models.Index(fields=("action",), name="run_action"),
        )

    def __str__(self) -> str:
        return f"Run {self.pk}: {self.action} on {self.server_name}"

    def headers_in_clear(self) -> list[tuple[str, str]]:
        """The headers for the PBX, never for eyes, logs or pages. Raises `SecretUnreadable`."""
        return [(name, value) for name, value in json.loads(self.payload.reveal())]

    @property
    def group(self) -> str:
        """The channel layer's group of everybody who looks at this run."""
        return f"run.{self.pk}"

    @property
    def ended(self) -> bool:
        return self.status not in (self.Status.QUEUED, self.Status.RUNNING)

    def finish(self, status: str, reason: str = "", **results: Any) -> bool:
        """End the run; only the worker that claimed it can.

        Args:
            status: one of SUCCEEDED, FAILED, UNKNOWN, ERRORED.
            reason: a sentence for people.
            results: `response`, `items`, `output`, `traceback`, as far as there are any.

        Returns:
            whether it was still RUNNING under this worker. False: it was given up meanwhile, and stays so.
        """
        values: dict[str, Any] = {
            "status": status,
            "reason": reason,
            "finished_at": timezone.now(),
            **results,
        }
        finished = type(self).objects.running().filter(pk=self.pk, worker=self.worker).update(**values) == 1
        if finished:
            for name, value in values.items():
                setattr(self, name, value)
        return finished
