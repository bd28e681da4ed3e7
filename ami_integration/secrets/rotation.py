"""Encrypting everything stored anew with the first key of the ring, so that the older ones may go.

Batch by batch, each in a transaction of its own: whoever interrupts it and begins again finds what is done as
done. A row is written only if it still holds what was read, so nobody's edit is lost, and nothing else of the
row changes. What can't be read stays as it is and is told.

Every row is opened, not only looked at: a key's id may stand before what another key encrypted, and only who
opened all may say that a key isn't needed any more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models.functions import Length

from ami_integration.secrets.columns import Column, encrypted_columns
from ami_integration.secrets.encryption import Secret, SecretUnreadable

#: Rows of a batch at most, and characters of tokens: one result of an action may have millions.
BATCH_ROWS, BATCH_LENGTH = 500, 16 * 1024 * 1024


@dataclass
class Rotated:
    """What became of one column.

    Attributes:
        rotated: rows encrypted anew.
        kept: rows that the first key had encrypted before.
        edited: rows that somebody else wrote meanwhile, with the first key if his process has it.
        unreadable: rows that no key opens, by the reason.
    """

    column: Column
    rotated: int = 0
    kept: int = 0
    edited: int = 0
    unreadable: dict[str, list[object]] = field(default_factory=dict)


def secrets_rotate(*, batch_done: Callable[[Rotated], object] = lambda column: None) -> list[Rotated]:
    """Encrypt with the first key of the ring whatever it hasn't encrypted.

    Args:
        batch_done: called after each batch, with what is done of its column.
    """
    columns = []
    for column in encrypted_columns():
        done = Rotated(column)
        columns.append(done)
        for batch in _batches(column):
            with transaction.atomic():
                for pk, token in column.rows.filter(pk__in=batch).values_list("pk", "stored_token"):
                    _rotate(done, pk, token)
            batch_done(done)
    return columns


def _rotate(done: Rotated, pk: object, token: str) -> None:
    secret = Secret(token)
    if secret.is_newest:
        done.kept += 1
        return
    try:
        anew = Secret.from_plain(secret.reveal())
    except SecretUnreadable:
        done.unreadable.setdefault(secret.why_unreadable(), []).append(pk)
        return
    if done.column.rows.filter(pk=pk, stored_token=token).update(**{done.column.field: anew}):
        done.rotated += 1
    else:
        done.edited += 1


def _batches(column: Column) -> Iterator[list[object]]:
    """The ids of its rows, in order, so many at a time as a batch may have."""
    last: object = None
    while True:
        rows = column.rows.annotate(token_length=Length("stored_token")).order_by("pk")
        if last is not None:
            rows = rows.filter(pk__gt=last)
        batch: list[object] = []
        length = 0
        for pk, size in rows.values_list("pk", "token_length")[:BATCH_ROWS]:
            length += size
            if batch and length > BATCH_LENGTH:
                break
            batch.append(pk)
        if not batch:
            return
        yield batch
        last = batch[-1]
