"""Each use of a server's secrets, for the audit: one entry for each login that was tried with them.

An attempt that ended before the login, at a closed port or a wrong certificate, used nothing. A connection
test is told by the entry of who asked for it (`services.connection_test_begin`).
"""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone

from ami_integration.ami import AMIError, ConnectError, SSHFailed
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.services import LOGIN_USE, entries_write, entry_make
from ami_integration.servers.models import Server


@dataclass(frozen=True)
class Login:
    """With what somebody is about to log in, so that it can be told afterwards.

    Attributes:
        server_id, server_name: of the server.
        username: of the AMI account.
        source: a `Source`: where its secrets are.
        through_ssh: whether an SSH server wants secrets first.
        purpose: what for, in a word or two.
        origin: by which way, as of `entry_make`.
    """

    server_id: int
    server_name: str
    username: str
    source: str
    through_ssh: bool
    purpose: str
    origin: str = "worker"

    def used(self, error: AMIError | None) -> "Use | None":
        """What was used by an attempt that ended so (None: it succeeded); None if nothing was."""
        early = isinstance(error, ConnectError)
        asked_by_ssh = (
            not early
            or (isinstance(error, SSHFailed) and error.reason in ("auth", "forbidden"))
            or (isinstance(error, ConnectError) and error.phase == "banner")
        )
        inside_ssh = self.through_ssh and asked_by_ssh
        secrets = (["SSH"] if inside_ssh else []) + ([] if early else ["AMI"])
        return Use(self, tuple(secrets), "" if error is None else str(error)) if secrets else None


@dataclass(frozen=True)
class Use:
    """One use.

    Attributes:
        secrets: of which logins: SSH, AMI.
        why: it failed; "": it didn't.
        at: when.
    """

    login: Login
    secrets: tuple[str, ...]
    why: str = ""
    at: datetime = field(default_factory=timezone.now)


def login_for_actions(server: Server, purpose: str, *, origin: str = "worker") -> Login:
    """A login by the account that actions use."""
    username, through_ssh = server.action_account[0], server.transport == Server.Transport.SSH
    return Login(server.pk, server.name, username, server.secret_source, through_ssh, purpose, origin)


def uses_write(uses: Iterable[Use], *, untold: int = 0) -> None:
    """Write an entry for each, and one for those of which only the number is known.

    Raises django.db.Error.
    """
    entries = [_entry(use) for use in uses]
    if untold:
        what = {"for": "listening", "uses": untold, "why": "The database was away for long.", **_process()}
        entries.append(entry_make(actor=None, origin="listener", verb=LOGIN_USE, what=what))
    entries_write(entries)


def _process() -> dict[str, str]:
    return {"process": f"{socket.gethostname()}:{os.getpid()}"}


@contextmanager
def use_told(login: Login) -> Iterator[None]:
    """Tells how a login in the block ended. Raises django.db.Error: what can't be audited isn't done."""
    try:
        yield
    except AMIError as error:
        use = login.used(error)
        if use is not None:
            uses_write([use])
        raise
    use = login.used(None)
    assert use is not None
    uses_write([use])


def _entry(use: Use) -> AuditEntry:
    login = use.login
    what = {
        "for": login.purpose,
        "account": login.username,
        "logins": list(use.secrets),
        "secrets are": login.source,
        **_process(),
    }
    if use.why:
        what["why"] = use.why[:500]
    entry = entry_make(
        actor=None,
        origin=login.origin,
        verb=LOGIN_USE,
        what=what,
        object_type="server",
        object_id=login.server_id,
        object_name=login.server_name,
        outcome=AuditEntry.Outcome.FAILED if use.why else AuditEntry.Outcome.DONE,
    )
    entry.at = use.at
    return entry
