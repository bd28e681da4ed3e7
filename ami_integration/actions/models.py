"""The action log: one row for each run, which is one action on one server, once.

The row is the truth and the task queue only a doorbell, so the row alone says what may happen next. Every
change of its status is a compare-and-swap (`UPDATE … WHERE status = …`, one row or none), never a read and
a write: two workers that got the same message can't both send, and a worker that comes back late can't
overwrite what was decided meanwhile. There is no way back to an earlier status:

=========  =====================================================  =========
From       Event                                                  To
=========  =====================================================  =========
QUEUED     a worker claims it, from its start, before its expiry  RUNNING
QUEUED     somebody cancels it                                    CANCELLED
QUEUED     its expiry passes                                      EXPIRED
RUNNING    the PBX agreed                                         SUCCEEDED
RUNNING    the PBX said no, or nothing of it could be sent        FAILED
RUNNING    its call was hung up before anybody answered           CANCELLED
RUNNING    it may have been sent and no answer came, or the       UNKNOWN
           worker showed no heartbeat any more
RUNNING    a mistake of amiweb                                    ERRORED
RUNNING    somebody had its call hung up while it rang            CANCELLED
=========  =====================================================  =========

The payload is encrypted, because headers hold secrets; `headers_masked` is the copy for eyes. What came back
lies in a row of its own, `RunResult`, so that the log stays small when answers are large, and so that results
may leave earlier than the runs that they belong to.
"""

import functools
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from ami_integration.access.services import AnyUser, rows_watchable, user_may_view_runs
from ami_integration.actions.plans import StoredPlan
from ami_integration.actions.results import Result, result_pack, result_unpack
from ami_integration.actions.stored import StoredHeaders, StoredRequest
from ami_integration.secrets.encryption import EncryptedTextField, Secret
from ami_integration.servers.models import Server, Tag


class ActionRunQuerySet(models.QuerySet["ActionRun"]):
    """Every way in which the status of a run changes, save `ActionRun.finish`."""

    def waiting(self) -> "ActionRunQuerySet":
        """Queued, and its turn has come: nobody rings for, claims or expires what a fan-out holds back."""
        return self.filter(status=ActionRun.Status.QUEUED, held=False)

    def startable(self, now: datetime) -> "ActionRunQuerySet":
        """Waiting, and not meant for a later moment: what a worker may begin."""
        return self.waiting().filter(Q(start_at=None) | Q(start_at__lte=now))

    def queued(self) -> "ActionRunQuerySet":
        """Everything that no worker has begun, held back or not."""
        return self.filter(status=ActionRun.Status.QUEUED)

    def running(self) -> "ActionRunQuerySet":
        return self.filter(status=ActionRun.Status.RUNNING)

    def visible_to(self, user: AnyUser) -> "ActionRunQuerySet":
        """The runs that this person may see: the one filter of lists, pages, exports and sockets.

        Those of servers that they may read of, and what they ran themselves on servers that they see: whoever
        may start something may see what became of it, and stop it.
        """
        if not user_may_view_runs(user=user):
            return self.none()
        return cast("ActionRunQuerySet", rows_watchable(user=user, rows=self, own="user"))

    def claim(self, pk: int, worker: str, *, now: datetime | None = None) -> bool:
        """Make this worker the only one that executes the run.

        Args:
            pk: the run.
            worker: the name of the process, as in `heartbeat.worker_name()`.
            now: the moment; the clock's if not given.

        Returns:
            whether the claim won. False: somebody else has it, it is cancelled, expired or gone, or it is
            meant for a later moment.
        """
        now = now or timezone.now()
        claimed = (
            self.startable(now)
            .filter(pk=pk, expires_at__gt=now)
            .update(
                status=ActionRun.Status.RUNNING,
                worker=worker,
                started_at=now,
                heartbeat_at=now,
                waiting_for="",
                wait_until=None,
            )
        )
        return claimed == 1

    def cancel(self, pk: int, reason: str, *, now: datetime | None = None) -> bool:
        """Take a queued run back. Returns whether it was still queued."""
        return (
            self.queued()
            .filter(pk=pk)
            .update(status=ActionRun.Status.CANCELLED, reason=reason, finished_at=now or timezone.now())
            == 1
        )

    def put_off(self, pk: int, waiting_for: str, *, until: datetime | None = None) -> bool:
        """Keep, with a queued run, why a worker couldn't begin it. Returns whether that is news."""
        return (
            self.waiting()
            .filter(pk=pk)
            .exclude(waiting_for=waiting_for, wait_until=until)
            .update(waiting_for=waiting_for, wait_until=until)
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

    def ask_hangup(self, pk: int, username: str) -> bool:
        """Have the worker that follows a call hang it up. Returns whether it still runs and nobody had asked.

        The run ends by what the PBX then says of the call: it may be answered in the same moment.
        """
        return self.running().filter(pk=pk, hangup_asked_by="").update(hangup_asked_by=username) == 1

    def reap(self, pk: int, reason: str, *, lost_before: datetime, now: datetime | None = None) -> bool:
        """Give up a run whose worker was last seen alive before `lost_before`. Returns whether it did."""
        return (
            self.running()
            .filter(pk=pk, heartbeat_at__lt=lost_before)
            .update(status=ActionRun.Status.UNKNOWN, reason=reason, finished_at=now or timezone.now())
            == 1
        )


class ActionRun(StoredHeaders):
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

    class Call(models.TextChoices):
        """The steps of an Originate's call, after the run's own."""

        DIALLING = "dialling", "Dialling"
        RINGING = "ringing", "Ringing"
        ANSWERED = "answered", "Answered"
        FAILED = "failed", "Call failed"

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
    start_at = models.DateTimeField(
        null=True,
        help_text="No worker begins it before this moment; empty: at once. Its expiry counts from it.",
    )
    rung_at = models.DateTimeField(
        null=True, help_text="When the task queue last took the news; empty: it has not."
    )
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(help_text="Not sent after this moment.")
    waiting_for = models.TextField(blank=True, help_text="Why it is queued although a worker looked at it.")
    wait_until = models.DateTimeField(
        null=True, help_text="Before this moment it isn't worth another look; empty: it is rung for as usual."
    )
    worker = models.CharField(max_length=150, blank=True)
    heartbeat_at = models.DateTimeField(null=True)
    reason = models.TextField(blank=True, help_text="A sentence for people: what happened and what to do.")
    traceback = models.TextField(blank=True)
    fanout = models.ForeignKey(
        "FanOut",
        on_delete=models.SET_NULL,
        null=True,
        related_name="runs",
        help_text="Of which it is a part.",
    )
    held = models.BooleanField(
        default=False, help_text="Its fan-out holds it back until its turn comes; workers don't see it."
    )
    retry_of = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="retries")
    attempt = models.PositiveIntegerField(default=1, help_text="1, and one more for each repetition.")
    address = models.CharField(max_length=45, blank=True, help_text="The IP address that asked for it.")
    connect_seconds = models.FloatField(null=True, help_text="Spent on connecting; empty: a kept session.")
    login_seconds = models.FloatField(null=True, help_text="Spent on the login; empty: a kept session.")
    answer_seconds = models.FloatField(null=True, help_text="From sending to the end of the answer.")
    hangup_asked_by = models.CharField(
        max_length=150, blank=True, help_text="Who wants an Originate's call hung up while it rings."
    )
    call_steps = models.JSONField(
        default=list, help_text="How an Originate's call goes: [state, ISO time, channel] in order."
    )

    objects = ActionRunQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        verbose_name = "run"
        verbose_name_plural = "runs"
        indexes = (
            models.Index(fields=("status", "created_at"), name="run_status_created"),
            models.Index(fields=("created_at",), name="run_created"),
            models.Index(fields=("action",), name="run_action"),
            models.Index(fields=("username",), name="run_username"),
            models.Index(
                fields=("start_at",),
                condition=Q(status="queued", held=False, start_at__isnull=False),
                name="run_start",
            ),
        )
        permissions = (("view_result_secrets", "Can see secrets in results"),)

    def __str__(self) -> str:
        return f"Run {self.pk}: {self.action} on {self.server_name}"

    @property
    def group(self) -> str:
        """The channel layer's group of everybody who looks at this run."""
        return f"run.{self.pk}"

    @property
    def ended(self) -> bool:
        return self.status not in (self.Status.QUEUED, self.Status.RUNNING)

    @property
    def request_text(self) -> str:
        """What was asked, as lines for eyes."""
        return self.text_for_eyes(("Action", self.action), ("ActionID", self.action_id))

    @functools.cached_property
    def stored_result(self) -> Result:
        """What came back, masked; empty where there is nothing, or nothing any more."""
        row = RunResult.objects.filter(run_id=self.pk).defer("hidden").first()
        return row.masked() if row is not None else Result()

    @property
    def response(self) -> Sequence[Sequence[str]]:
        """The response's headers, masked: [name, value] each."""
        return [list(pair) for pair in self.stored_result.response]

    @property
    def items(self) -> Sequence[Sequence[Sequence[str]]]:
        """The items of a list, masked."""
        return [[list(pair) for pair in item] for item in self.stored_result.items]

    @property
    def output(self) -> str:
        """The output of a Command, masked."""
        return self.stored_result.output

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        super().refresh_from_db(*args, **kwargs)
        self.__dict__.pop("stored_result", None)

    def note_call(self, state: str, channel: str = "", *, now: datetime | None = None) -> bool:
        """Keep a step of an Originate's call, as the worker that follows it sees it.

        Args:
            state: an `ActionRun.Call`.
            channel: the channel's name, where it is known.
            now: the moment; the clock's if not given.

        Returns:
            whether the run was still RUNNING under this worker, and this step is news.
        """
        if any(step[0] == state for step in self.call_steps):
            return False
        steps = [*self.call_steps, [str(state), (now or timezone.now()).isoformat(), channel]]
        mine = type(self).objects.running().filter(pk=self.pk, worker=self.worker)
        if mine.update(call_steps=steps) != 1:
            return False
        self.call_steps = steps
        return True

    def finish(self, status: str, reason: str = "", *, result: Result | None = None, **values: Any) -> bool:
        """End the run; only the worker that claimed it can.

        Args:
            status: one of SUCCEEDED, FAILED, UNKNOWN, ERRORED.
            reason: a sentence for people.
            result: what came back, in clear, if anything did.
            **values: `traceback` and the run's other fields, as far as they are known now.

        Returns:
            whether it was still RUNNING under this worker. False: it was given up meanwhile, and stays so.
        """
        values = {"status": status, "reason": reason, "finished_at": timezone.now(), **values}
        with transaction.atomic():
            mine = type(self).objects.running().filter(pk=self.pk, worker=self.worker)
            finished = mine.update(**values) == 1
            if finished and result is not None:
                RunResult.objects.create(run_id=self.pk, **RunResult.columns(result))
        if finished:
            self.__dict__.pop("stored_result", None)
            for name, value in values.items():
                setattr(self, name, value)
        return finished


class RunResult(models.Model):
    """What came back for a run. Its columns are made by `results.result_pack`."""

    run = models.OneToOneField(ActionRun, on_delete=models.CASCADE, primary_key=True, related_name="result")
    data = models.BinaryField(help_text="The masked copy: JSON, compressed by zlib.")
    # None where masking hid nothing, which is most of the time.
    hidden = EncryptedTextField(  # type: ignore[misc]
        null=True, help_text="What masking hid, for those with the permission view_result_secrets."
    )
    size = models.PositiveBigIntegerField(help_text="Bytes before compression.")
    stored_size = models.PositiveBigIntegerField(help_text="Bytes that the row takes.")
    item_count = models.PositiveIntegerField(default=0)
    note = models.TextField(blank=True, help_text="What is missing of it; empty: it is whole.")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name = "result"

    def __str__(self) -> str:
        return f"Result of run {self.run_id}"

    @staticmethod
    def columns(result: Result) -> dict[str, Any]:
        """The columns of the row that keeps this result."""
        packed = result_pack(result, limit=settings.AMIWEB_RESULT_LIMIT)
        hidden = None if packed.hidden is None else Secret.from_plain(packed.hidden)
        return {
            "data": packed.data,
            "hidden": hidden,
            "size": packed.size,
            "stored_size": len(packed.data) + (0 if hidden is None else len(hidden.token)),
            "item_count": packed.item_count,
            "note": packed.note,
        }

    def masked(self) -> Result:
        """The result for everybody who may see the run."""
        return result_unpack(bytes(self.data))

    def in_clear(self) -> Result:
        """The result with its secrets, for those who may see them. Raises `SecretUnreadable`."""
        return result_unpack(bytes(self.data), None if self.hidden is None else self.hidden.reveal())


class FanOut(StoredHeaders, StoredPlan):
    """One request on several servers: the parent of its runs, and the rules of their order.

    All runs are written at once, held back, with the ActionIDs of the preview; `fanouts.fanout_release` lets
    them go as the mode allows, each by a compare-and-swap. What became of it is read from its runs.
    """

    class Status(models.TextChoices):
        ACTIVE = "active", "In progress"
        FINISHED = "finished", "Finished"
        STOPPED = "stopped", "Stopped"
        CANCELLED = "cancelled", "Cancelled"

    key = models.CharField(
        max_length=32, unique=True, help_text="Chosen with the preview: sent twice, it is one fan-out."
    )
    action = models.CharField(max_length=255)
    target = models.CharField(max_length=200, blank=True, help_text="The tag that was meant, if one was.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE)
    reason = models.TextField(blank=True, help_text="Why it stopped, for people.")
    origin = models.CharField(max_length=10, choices=ActionRun.Origin.choices, default=ActionRun.Origin.ADMIN)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    username = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    retry_of = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="retries")

    class Meta:
        ordering = ("-id",)
        verbose_name = "fan-out"
        verbose_name_plural = "fan-outs"
        indexes = (models.Index(fields=("status",), name="fanout_status"),)

    def __str__(self) -> str:
        return f"Fan-out {self.pk}: {self.action}"

    @property
    def request_text(self) -> str:
        """What was asked, as lines for eyes; the ActionIDs are its runs'."""
        return self.text_for_eyes(("Action", self.action))

    @property
    def group(self) -> str:
        """The channel layer's group of everybody who looks at this fan-out."""
        return f"fanout.{self.pk}"


class ActionTemplate(StoredRequest):
    """A request that is kept: an action and headers in which `{{name}}` stands for what is asked anew."""

    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True, help_text="What it is for, and when to use it.")
    servers = models.ManyToManyField(
        Server, blank=True, related_name="+", help_text="Ticked when the form opens; none: choose each time."
    )
    tag = models.ForeignKey(
        Tag, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", help_text="Or a tag."
    )

    class Meta:
        ordering = ("name",)
        verbose_name = "template"
        verbose_name_plural = "templates"

    def __str__(self) -> str:
        return self.name
