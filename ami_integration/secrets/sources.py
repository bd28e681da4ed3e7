"""Secrets that aren't in the database: in a variable of the environment, or in a file of one folder.

For those who keep secrets in a system of their own, which hands them to processes in one of these two ways.
They read like a stored `Secret`, and fail closed like one. Every process that talks to PBXs needs them; a
file is read at each login, so what is changed there holds from the next one on, while the environment is
that of the process's start.

Whoever names a source has amiweb send what is there to a PBX of their choice. So only variables and files
that somebody put there for this can be named: those that begin with `AMIWEB_SECRET_`, save amiweb's own, and
files of the folder AMIWEB_SECRETS_DIR that lie in it themselves.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from ami_integration.secrets.encryption import SecretUnreadable, text_mark

#: Bytes of a file: the longest private key has some 13 thousand.
LONGEST = 65_536
NAME_LENGTH = 100
#: What a login by another account or key adds to the name, by the field that would hold it if it were stored.
VARIABLE_ENDS = {
    "secret": "",
    "action_secret": "_ACTIONS",
    "ssh_key": "_SSH_KEY",
    "ssh_password": "_SSH_PASSWORD",
}
FILE_ENDS = {
    "secret": "",
    "action_secret": ".actions",
    "ssh_key": ".ssh_key",
    "ssh_password": ".ssh_password",
}


class Source(models.TextChoices):
    """Where a server's secrets are."""

    STORED = "stored", "Stored here, encrypted"
    ENVIRONMENT = "environment", "In the environment"
    FILE = "file", "In files"


class ReadableSecret(Protocol):
    """What a login needs of a secret, wherever it is."""

    def reveal(self) -> str:
        """Return the text. Raises `SecretUnreadable`."""

    @property
    def readable(self) -> bool:
        """Whether `reveal()` would succeed."""

    @property
    def mark(self) -> str:
        """Stands for the text without telling it."""


class _Elsewhere:
    """A secret that is read where it is each time."""

    def _read(self) -> str:
        raise NotImplementedError

    def reveal(self) -> str:
        """Return the text. Raises `SecretUnreadable`."""
        return self._read()

    @property
    def readable(self) -> bool:
        """Whether `reveal()` would succeed."""
        try:
            self._read()
        except SecretUnreadable:
            return False
        return True

    @property
    def mark(self) -> str:
        """Stands for the text without telling it; another for another text, and one for none at all."""
        try:
            return text_mark(self._read())
        except SecretUnreadable:
            return repr(self)


@dataclass(frozen=True)
class EnvironmentSecret(_Elsewhere):
    """What a variable holds.

    Attributes:
        name: of the variable.
    """

    name: str

    def _read(self) -> str:
        if not variable_allowed(self.name):
            raise SecretUnreadable(f"{self.name} is no variable that a server's secret may come from.")
        text: str = settings.AMIWEB_ENVIRONMENT_SECRETS.get(self.name, "")
        if not text:
            raise SecretUnreadable(
                f"The variable {self.name} is not set where amiweb's processes run. Set it for each of them "
                "(web, worker, listener), and restart amiweb."
            )
        return text

    @property
    def exists(self) -> bool:
        """Whether the variable is set, and not empty."""
        return bool(settings.AMIWEB_ENVIRONMENT_SECRETS.get(self.name))


@dataclass(frozen=True)
class FileSecret(_Elsewhere):
    """What a file holds, without the line end at its end.

    Attributes:
        name: of the file in the folder AMIWEB_SECRETS_DIR.
    """

    name: str

    def _read(self) -> str:
        folder, path = self._folder, self.path
        try:
            # Kubernetes and others link names to files of the same folder.
            if not path.resolve().is_relative_to(folder.resolve()):
                raise SecretUnreadable(f"{path} leads out of {folder}. Put the file there itself.")
            with path.open("rb") as file:
                content = file.read(LONGEST + 1)
        except OSError as error:
            raise SecretUnreadable(
                f"The file {path} can't be read: {error.strerror or error}. Put it there, readable by the "
                "user that amiweb runs as."
            ) from None
        if len(content) > LONGEST:
            raise SecretUnreadable(f"The file {path} has more than {LONGEST} bytes: that is no secret.")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise SecretUnreadable(f"The file {path} isn't UTF-8.") from None
        text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            raise SecretUnreadable(f"The file {path} is empty.")
        return text

    @property
    def path(self) -> Path:
        """Raises `SecretUnreadable` where no file may be named, or not this one."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise SecretUnreadable(f"“{self.name}” is no plain name of a file.")
        return self._folder / self.name

    @property
    def exists(self) -> bool:
        """Whether there is such a file, readable or not."""
        try:
            return self.path.exists()
        except (OSError, SecretUnreadable):
            return False

    @property
    def open_to_others(self) -> bool:
        """Whether every user of the machine may read it."""
        try:
            return bool(self.path.stat().st_mode & 0o004)
        except (OSError, SecretUnreadable):
            return False

    @property
    def _folder(self) -> Path:
        if not settings.AMIWEB_SECRETS_DIR:
            raise SecretUnreadable(
                "Files of secrets are not set up: name their folder in AMIWEB_SECRETS_DIR and restart amiweb."
            )
        return Path(settings.AMIWEB_SECRETS_DIR)


def variable_allowed(name: str) -> bool:
    """Whether a server's secret may come from this variable."""
    return bool(re.fullmatch(r"AMIWEB_SECRET_[A-Z0-9_]+", name)) and name not in (
        "AMIWEB_SECRET_KEY",
        "AMIWEB_SECRET_KEY_FILE",
    )


def secret_elsewhere(source: str, name: str, field: str) -> EnvironmentSecret | FileSecret:
    """The secret that a server whose secrets aren't stored would have in this field."""
    if source == Source.ENVIRONMENT:
        return EnvironmentSecret(name + VARIABLE_ENDS[field])
    return FileSecret(name + FILE_ENDS[field])


def validate_source(source: str, name: str) -> None:
    """Refuse what can't be the name of a variable or file. Whether it is there is told where it is used.

    Raises:
        ValidationError: with what to write instead.
    """
    if source == Source.ENVIRONMENT and not variable_allowed(name):
        raise ValidationError(
            "Name a variable that begins with AMIWEB_SECRET_, of capitals, digits and _, such as "
            "AMIWEB_SECRET_BERLIN. amiweb's own ones are none."
        )
    if source == Source.FILE:
        if not settings.AMIWEB_SECRETS_DIR:
            raise ValidationError(
                "Files of secrets are not set up: name their folder in AMIWEB_SECRETS_DIR and restart amiweb."
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValidationError(
                "Give the plain name of a file in the folder AMIWEB_SECRETS_DIR: letters, digits, . _ and -, "
                "such as berlin."
            )
