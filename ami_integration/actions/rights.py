"""Asking for the right to a run, and telling the audit of it: at submit, and again in the worker."""

from collections.abc import Sequence
from typing import Any

from ami_integration.access.masking import headers_mask, storable, storable_headers
from ami_integration.access.services import (
    AnyUser,
    Decision,
    decide,
    servers_visible,
    user_may_run,
)
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.services import entry_make, entry_write, written
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server

#: What the audit keeps of a refused request, which may be of any size: no more than an action can have.
MOST, LONGEST = 128, 1024
#: What the audit says of a run that ended so.
OUTCOMES = {
    ActionRun.Status.SUCCEEDED: AuditEntry.Outcome.DONE,
    ActionRun.Status.UNKNOWN: AuditEntry.Outcome.UNKNOWN,
}


def run_ask(
    *,
    user: AnyUser,
    server: Server,
    action: str,
    headers: Sequence[tuple[str, str]],
    origin: str,
    address: str = "",
    verb: str = "run.submit",
) -> Decision:
    """`decide`, with an audit entry if the answer is no.

    Args:
        server: as it is stored now.
        address: the IP address that asks, if any.
        verb: what is attempted.
    """
    decision = decide(user=user, server=server, action=action, headers=headers, origin=origin)
    if not decision.allowed:
        entry_write(
            actor=user,
            origin=origin,
            address=address,
            verb=verb,
            what={
                "action": storable(action)[:LONGEST],
                "headers": [
                    (name[:LONGEST], value[:LONGEST])
                    for name, value in storable_headers(headers_mask(headers[:MOST]))
                ],
                "danger": decision.danger,
                "rule": decision.rule,
                "reason": storable(decision.reason)[:LONGEST],
            },
            object_type="server",
            object_id=server.pk,
            object_name=server.name,
            outcome=AuditEntry.Outcome.REFUSED,
        )
    return decision


def run_refusal(*, run: ActionRun) -> str:
    """Why a worker must not send this any more, or "". Things may have changed while it was queued.

    Raises:
        SecretUnreadable: what it would send can't be read, so nobody can say.
    """
    if run.server is None:
        return f"the server {run.server_name} was deleted while the run waited."
    server = Server.objects.enabled().select_related("abilities").filter(pk=run.server.pk).first()
    if server is None:
        return f"{run.server_name} was disabled while the run waited. Enable the server and run it again."
    if run.username and run.user is None:
        return f"{run.username} was deleted while the run waited."
    decision = decide(
        user=run.user,
        server=server,
        action=run.action,
        headers=run.headers_in_clear(),
        origin=run.origin,
    )
    return "" if decision.allowed else decision.reason


def run_may_be_stopped(*, user: AnyUser, run: ActionRun) -> bool:
    """Whether somebody may cancel a run or hang its call up: whoever submitted it, or may run the same.

    The switches of the server don't count: to stop something is what they are for.
    """
    if user is None or not user_may_run(user=user):
        return False
    if user.is_superuser or (run.user_id is not None and run.user_id == user.pk):
        return True
    if run.server is None or not servers_visible(user=user).filter(pk=run.server.pk).exists():
        return False
    try:
        headers = run.headers_in_clear()
    except SecretUnreadable:
        headers = [(name, value) for name, value in run.headers_masked]
    decision = decide(user=user, server=run.server, action=run.action, headers=headers)
    return decision.allowed or decision.switched_off


def run_entry(
    *,
    run: ActionRun,
    verb: str,
    outcome: str,
    actor: AnyUser = None,
    actor_name: str = "",
    origin: str = "",
    address: str = "",
    **particulars: Any,
) -> AuditEntry:
    """An audit entry about a run that is not written yet.

    Args:
        verb: as in `run.finish`.
        actor: who did it; None: amiweb itself.
        origin: by which way; the run's own by default.
    """
    return entry_make(
        actor=actor,
        actor_name=actor_name,
        origin=origin or run.origin,
        address=address,
        verb=verb,
        what={
            "action": storable(run.action),
            "server": run.server_name,
            "action_id": run.action_id,
        }
        | particulars,
        object_type="run",
        object_id=run.pk,
        object_name=f"{storable(run.action)} on {run.server_name}",
        server_id=run.server_id,
        outcome=outcome,
    )


#: As `run_entry`, and written: to be called in the transaction that changes the run.
run_note = written(run_entry)


def fanout_note(
    *,
    fanout: FanOut,
    verb: str,
    outcome: str,
    actor: AnyUser = None,
    actor_name: str = "",
    address: str = "",
    **particulars: Any,
) -> None:
    """An audit entry about a fan-out, to be called in the transaction that changes it. As `run_note`."""
    entry_write(
        actor=actor,
        actor_name=actor_name,
        origin=fanout.origin,
        address=address,
        verb=verb,
        what={"action": storable(fanout.action)} | particulars,
        object_type="fanout",
        object_id=fanout.pk,
        object_name=storable(str(fanout)),
        outcome=outcome,
    )


def run_entry_submit(*, run: ActionRun, decision: Decision) -> AuditEntry:
    """The audit entry of a run that was put into the queue, not written yet."""
    return run_entry(
        run=run,
        verb="run.submit",
        outcome=AuditEntry.Outcome.INTENT,
        actor=run.user,
        actor_name=run.username,
        address=run.address,
        headers=run.headers_masked,
        danger=decision.danger,
        rule=decision.rule,
        origin_detail=run.origin_detail,
        retry_of=run.retry_of_id,
    )


def run_note_end(*, run: ActionRun, status: str, reason: str) -> None:
    """The audit entry of how a run ended."""
    run_note(
        run=run,
        verb="run.finish",
        outcome=OUTCOMES.get(ActionRun.Status(status), AuditEntry.Outcome.FAILED),
        actor=run.user,
        actor_name=run.username,
        status=str(status),
        reason=reason,
    )
