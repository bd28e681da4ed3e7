"""Secrets at rest: one field type, one wrapper, one key ring.

A secret is stored as `<key id>:<Fernet token>`. The ring (`settings.AMIWEB_ENCRYPTION_KEYS`) is an ordered
map of key id to Fernet key: the first key encrypts, every key may decrypt, and the key id in the row says
which key to look for when none of them does.

Why not a packaged field: those hand back the ciphertext when the key is wrong, and the next save encrypts
that ciphertext and so destroys the secret for good. Here a value that can't be read stays a `Secret` that
holds its token: it may be carried about and saved again unchanged, and it raises `SecretUnreadable` only when
somebody asks for the text. The text exists only as the return value of `reveal()`; `repr`, `str`, pages and
logs see `<secret>`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import models
from django.db.models.query_utils import DeferredAttribute
from django.utils.crypto import salted_hmac

_TOKEN = re.compile(r"[A-Za-z0-9_.-]+:gAAAA[A-Za-z0-9_=-]+")


class SecretUnreadable(Exception):
    """No key of the ring opens this secret. The message says which key is missing and what to do."""


@lru_cache(maxsize=8)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def _ring() -> Mapping[str, str]:
    ring: Mapping[str, str] = settings.AMIWEB_ENCRYPTION_KEYS
    return ring


class Secret:
    """A text that is encrypted at rest and never shown by accident.

    `token` is what the database holds, `"<key id>:<Fernet token>"`. Two secrets are equal if their tokens
    are.
    """

    __slots__ = ("token",)

    def __init__(self, token: str) -> None:
        self.token = token

    @classmethod
    def from_plain(cls, text: str) -> "Secret":
        """Encrypt `text` with the first key of the ring. Raises `ImproperlyConfigured` if it has none."""
        ring = _ring()
        if not ring:
            raise ImproperlyConfigured(
                "AMIWEB_ENCRYPTION_KEYS holds no key, so no secret can be stored: give at least one as "
                "id:key and restart amiweb."
            )
        key_id = next(iter(ring))
        return cls(f"{key_id}:{_fernet(tuple(ring.values())).encrypt(text.encode()).decode()}")

    @property
    def key_id(self) -> str:
        """The id of the key that encrypted this secret."""
        return self.token.partition(":")[0]

    def reveal(self) -> str:
        """Return the text. Raises `SecretUnreadable` if no key of the ring opens it."""
        ring = _ring()
        try:
            if not ring:
                raise InvalidToken
            return _fernet(tuple(ring.values())).decrypt(self.token.partition(":")[2].encode()).decode()
        except (InvalidToken, UnicodeDecodeError):
            pass
        raise SecretUnreadable(f"The stored secret can't be read: {self.why_unreadable()}")

    def why_unreadable(self) -> str:
        """Why a secret that can't be read can't be, and what to do, as the end of a sentence and more."""
        if not _TOKEN.fullmatch(self.token):
            # Not a word of it: it may be a text that somebody wrote there in clear.
            return "what is stored is damaged, or was never encrypted. Enter the secret anew."
        if self.key_id in _ring():
            what = f"the key {self.key_id!r} in AMIWEB_ENCRYPTION_KEYS is not the one that encrypted it"
        else:
            what = f"its key {self.key_id!r} is not in AMIWEB_ENCRYPTION_KEYS"
        return (
            f"{what}. Put that key back into AMIWEB_ENCRYPTION_KEYS and restart amiweb, or enter the secret "
            "anew."
        )

    @property
    def mark(self) -> str:
        """Stands for the text without telling it: the same after a rotation, another for another text.

        Every process with the same SECRET_KEY finds the same. While the text can't be read, it stands for
        the token.
        """
        return _mark(self.token, tuple(_ring().items()), settings.SECRET_KEY)

    @property
    def is_newest(self) -> bool:
        """Whether the first key of the ring encrypted it, and opens it."""
        ring = _ring()
        if not ring or self.key_id != next(iter(ring)):
            return False
        try:
            Fernet(next(iter(ring.values()))).decrypt(self.token.partition(":")[2].encode())
        except InvalidToken:
            return False
        return True

    @property
    def readable(self) -> bool:
        """Whether `reveal()` would succeed."""
        try:
            self.reveal()
        except SecretUnreadable:
            return False
        return True

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.token == other.token

    def __hash__(self) -> int:
        return hash(self.token)


class _SecretAttribute(DeferredAttribute):
    """Encrypts a plain text at the moment of its assignment, so that no instance ever carries it."""

    def __set__(self, instance: models.Model, value: "Secret | str | None") -> None:
        instance.__dict__[self.field.attname] = Secret.from_plain(value) if isinstance(value, str) else value


@lru_cache(maxsize=4096)  # a listener asks for those of all servers every few seconds
def _mark(token: str, ring: tuple[tuple[str, str], ...], secret_key: str) -> str:
    secret = Secret(token)
    return text_mark(secret.reveal() if secret.readable else token, secret_key)


def text_mark(text: str, secret_key: str | None = None) -> str:
    """Stands for a text without telling it; every process with the same SECRET_KEY finds the same."""
    return salted_hmac("ami_integration.secrets.mark", text, secret_key, algorithm="sha256").hexdigest()


if TYPE_CHECKING:
    _SecretColumn = models.TextField[Secret | str, Secret]  # what may be assigned, and what is read
else:
    _SecretColumn = models.TextField


class EncryptedTextField(_SecretColumn):
    """A text column whose attribute is a `Secret` (or None). Assigning a `str` encrypts it.

    A loaded secret goes back to the database as the token that came from there, readable or not. It has no
    form field: a form that takes a secret declares its own, write-only. The only lookup is `isnull`, since
    equal texts have different tokens.
    """

    descriptor_class = _SecretAttribute

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Secret | None:
        return None if value is None else Secret(value)

    def to_python(self, value: Any) -> Secret | None:
        """Accept a `Secret`, None, a plain text, or (from a fixture) a token that `value_to_string` wrote."""
        if value is None or isinstance(value, Secret):
            return value
        text = str(value)
        return Secret(text) if _TOKEN.fullmatch(text) else Secret.from_plain(text)

    def get_prep_value(self, value: Any) -> str | None:
        if value is None:
            return None
        return (value if isinstance(value, Secret) else Secret.from_plain(str(value))).token

    def value_to_string(self, obj: models.Model) -> str:
        secret: Secret = getattr(obj, self.attname)  # None never comes here: a serializer writes it as it is
        return secret.token

    def formfield(self, **kwargs: Any) -> None:
        """A secret is never offered by an automatic form."""

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name != "isnull":
            raise FieldError(f"{self.name} is encrypted: it can't be searched, only tested with isnull")
        return super().get_lookup(lookup_name)
