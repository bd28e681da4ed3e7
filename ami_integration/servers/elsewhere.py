"""Servers whose secrets aren't stored: what of them can't be read here, and what others may read.

"Here" is the process that asks. Another one may have another environment; what a listener can't read, it says
in the server's state.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import Error

from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.secrets.sources import FileSecret, Source
from ami_integration.servers.models import Server


def secrets_missing() -> list[str]:
    """A sentence for each such secret of an enabled server that can't be read. Raises django.db.Error."""
    said = []
    for server in _servers():
        for secret in server.secrets:
            try:
                secret.reveal()
            except SecretUnreadable as error:
                said.append(f"Server {server.name}: {error}")
    return said


def files_open() -> list[str]:
    """A sentence for each file with a secret that everybody on the machine may read.

    Raises django.db.Error.
    """
    return [
        f"Server {server.name}: every user of this machine may read {secret.path}. “chmod o-r” mends it."
        for server in _servers()
        for secret in server.secrets
        if isinstance(secret, FileSecret) and secret.open_to_others
    ]


def _servers() -> Iterable[Server]:
    return Server.objects.enabled().exclude(secret_source=Source.STORED)


@register(Tags.database)
def secrets_elsewhere_check(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Warn of what can't be read, and of what too many can read."""
    if "default" not in (databases or ()):
        return []
    try:
        missing = [Warning(said, id="ami_integration.W002") for said in secrets_missing()]
        return [*missing, *(Warning(said, id="ami_integration.W004") for said in files_open())]
    except Error:  # before the first migration; `ami_integration.secrets.checks` says so
        return []
