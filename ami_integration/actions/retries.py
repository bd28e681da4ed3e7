"""Which runs may be repeated, and what a repetition would do: of one run, or of a fan-out's failed ones.

What may have reached a PBX is repeated only where doing it twice does no harm, and nothing is repeated twice:
the second of two who try finds the first one's runs (`submission.request_submit`). A repetition is a new
request and goes the way of every other, with a preview, and a confirmation where its class wants one.
"""

from collections.abc import Container, Iterable
from typing import Any

from ami_integration.access.danger import safe_to_repeat
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.preview import Preview, request_preview
from ami_integration.actions.services import RunRefused
from ami_integration.actions.submission import servers_choosable
from ami_integration.secrets.encryption import SecretUnreadable

#: Of a fan-out: not what somebody took back.
FANOUT_RETRYABLE = (ActionRun.Status.FAILED, ActionRun.Status.EXPIRED)


def run_retryable(run: ActionRun) -> bool:
    """Whether a retry of this run is worth offering; `run_retry_preview` says why not."""
    if run.server_id is None or run.status not in (*ActionRun.RETRYABLE, ActionRun.Status.UNKNOWN):
        return False
    try:
        headers = run.headers_in_clear() if run.status == ActionRun.Status.UNKNOWN else []
    except SecretUnreadable:
        return False
    return _may_be_repeated(run, ActionRun.RETRYABLE, headers) and not run.retries.exists()


def _may_be_repeated(run: ActionRun, retryable: Container[str], headers: Iterable[tuple[str, str]]) -> bool:
    """Whether a run is known not to have been carried out, or may be twice."""
    if run.status in retryable:
        return True
    if run.status != ActionRun.Status.UNKNOWN or run.server is None:
        return False
    return safe_to_repeat(run.action, list(headers), run.server.action_privileges(run.action))


def run_retry_preview(*, user: Any, run: ActionRun) -> Preview:
    """What a retry of one run would do; it wants the same confirmation as the run itself did.

    Raises:
        RunRefused: it may have been carried out, it was repeated before, or its server is gone.
        SecretUnreadable: the stored headers can't be read.
    """
    if run.server is None:
        raise RunRefused(f"{run.server_name} was deleted; start a new run on another server.", field="server")
    if not _may_be_repeated(run, ActionRun.RETRYABLE, run.headers_in_clear()):
        raise RunRefused(
            f"A run that is {run.get_status_display().lower()} isn't repeated: it may have been carried out. "
            "Look at the PBX, then start a new run."
        )
    again = run.retries.order_by("pk").values_list("pk", flat=True).first()
    if again is not None:
        raise RunRefused(f"It was repeated before, as run {again}. Look at what became of that one.")
    return request_preview(
        user=user,
        servers=[run.server],
        action=run.action,
        headers=run.headers_in_clear(),
        timeout=run.timeout,
        repeats={run.server.pk: run.pk},
        hidden_by=run.hidden_by_id,
    )


def runs_to_retry(*, fanout: FanOut, user: Any) -> list[ActionRun]:
    """The runs of a fan-out that a retry by this person repeats: known to have failed, not repeated yet.

    Never one that may have been carried out, unless doing it twice does no harm; none that somebody took
    back; and none on a server that the person can't choose.
    """
    candidates = (
        fanout.runs.filter(status__in=(*FANOUT_RETRYABLE, ActionRun.Status.UNKNOWN), retries=None)
        .filter(server__in=servers_choosable(user=user).values("pk"))
        .select_related("server")
        .order_by("pk")
    )
    headers = fanout.headers_in_clear()
    return [run for run in candidates if _may_be_repeated(run, FANOUT_RETRYABLE, headers)]


def fanout_retry_preview(*, user: Any, fanout: FanOut) -> Preview:
    """What a retry of the failed ones would do: the same request, on those servers alone.

    Raises:
        RunRefused: there is nothing to retry.
        SecretUnreadable: the stored headers can't be read.
    """
    runs = runs_to_retry(fanout=fanout, user=user)
    if not runs:
        raise RunRefused(
            "There is nothing to retry: none failed, or they were repeated before. A run that is unknown may "
            "have been carried out; look at the PBX, then start a new run."
        )
    return request_preview(
        user=user,
        servers=[run.server for run in runs if run.server is not None],
        action=fanout.action,
        headers=fanout.headers_in_clear(),
        plan=fanout.plan,
        repeats={run.server_id: run.pk for run in runs if run.server_id is not None},
        retry_of=fanout.pk,
        timeout=runs[0].timeout,  # one for all, chosen with the request
        hidden_by=fanout.hidden_by_id,
    )
