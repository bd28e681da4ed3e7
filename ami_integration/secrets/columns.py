"""Every encrypted column of every model, found by itself, and what of it can't be read.

Whoever adds an `EncryptedTextField` anywhere has it looked at and rotated without another word. The look is
cheap enough for a page: the database counts the rows of each key by the beginnings of the tokens; of few
rows each is then opened, of many the oldest and the newest, since a wrong key opens none. Rotation
(`rotation.py`) opens them all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import connections
from django.db.models import Count, F, Model, QuerySet, TextField, Value
from django.db.models.functions import Cast, Left, Length, StrIndex

from ami_integration.secrets.encryption import EncryptedTextField, Secret

#: Up to so many rows of one key each is opened; of more, so many of the oldest and of the newest.
OPENED_ALL, OPENED_SOME = 200, 10
#: Characters of a token that the look opens at most: results of actions may have many millions.
OPENED_LENGTH = 65_536
#: Rows that a sentence names.
NAMED = 5
#: Different beginnings of tokens that are looked at; more than some keys there are only if rows are damaged.
_HEADS = 500
#: Characters in which a key's id and the beginning of its token stand.
_HEAD_LENGTH = 120


@dataclass(frozen=True)
class Column:
    """One encrypted field of one model."""

    model: type[Model]
    field: str

    def __str__(self) -> str:
        names = self.model._meta
        return f"{names.verbose_name} ({names.model_name}.{self.field})"

    @property
    def rows(self) -> QuerySet[Any]:
        """Its rows that hold something, with the token as an ordinary text, `stored_token`, in no order."""
        # The model's own manager may hide rows.
        rows = self.model._base_manager.filter(**{f"{self.field}__isnull": False})
        return rows.annotate(stored_token=Cast(self.field, TextField())).order_by()

    @property
    def named(self) -> bool:
        """Whether its rows have a name besides their id."""
        return any(field.name == "name" for field in self.model._meta.get_fields())


def encrypted_columns() -> list[Column]:
    """All of them, by the names of their tables."""
    return [
        Column(model, field.name)
        for model in sorted(
            apps.get_models(include_auto_created=True), key=lambda model: model._meta.db_table
        )
        if not model._meta.proxy
        for field in model._meta.local_concrete_fields
        if isinstance(field, EncryptedTextField)
    ]


@dataclass(frozen=True)
class Unreadable:
    """What can't be read of one column with one key.

    Attributes:
        why: of one such row, with what to do.
        count: how many rows; at least so many, unless `exact`.
        rows: the first of them, by id and name.
    """

    column: Column
    why: str
    count: int
    exact: bool
    rows: tuple[str, ...]

    def __str__(self) -> str:
        count = str(self.count) if self.exact else f"Up to {self.count}"
        noun = "row" if self.count == 1 else "rows"
        more = self.count - len(self.rows)
        names = ", ".join(self.rows) + (f" and {more} more" if more else "")
        return f"{count} {noun} of {self.column} can't be read: {self.why} Concerned: {names}."


def secrets_unreadable() -> list[Unreadable]:
    """What can't be read now, column by column. Raises django.db.Error.

    A column whose table isn't there yet, before the first migration, has nothing that can't be read.
    """
    tables = set(connections["default"].introspection.table_names())
    found: list[Unreadable] = []
    for column in encrypted_columns():
        if column.model._meta.db_table in tables:
            found += _unreadable(column)
    return found


def _unreadable(column: Column) -> Iterator[Unreadable]:
    start = Left("stored_token", _HEAD_LENGTH)
    colon = StrIndex(start, Value(":"))
    heads = (
        column.rows.annotate(token_head=Left(start, colon + len("gAAAA")))
        .values("token_head")
        .annotate(token_rows=Count("pk"))
        .order_by("token_head")[:_HEADS]
    )
    broken: dict[str, tuple[int, bool, list[str]]] = {}
    for head, count in heads.values_list("token_head", "token_rows"):
        rows = column.rows.annotate(
            token_head=Left(start, colon + len("gAAAA")), token_length=Length("stored_token")
        )
        rows = rows.filter(token_head=head, token_length__lte=OPENED_LENGTH).order_by("pk")
        names = (F("name"),) if column.named else (Value(""),)
        opened = rows.values_list("pk", "stored_token", *names)
        if count <= OPENED_ALL:
            seen = list(opened)
        else:
            seen = [*opened[:OPENED_SOME], *reversed(opened.reverse()[:OPENED_SOME])]
        closed = [(pk, token, name) for pk, token, name in seen if not Secret(token).readable]
        for pk, token, name in closed:
            why = Secret(token).why_unreadable()
            number, exact, labels = broken.get(why, (0, True, []))
            labels.append(f"{name} (id {pk})" if name else f"id {pk}")
            broken[why] = (number + 1, exact, labels)
        if closed and count > OPENED_ALL:
            # Where no key opens the samples, none opens what lies between; else nobody has counted.
            why = Secret(closed[0][1]).why_unreadable()
            _, _, labels = broken[why]
            broken[why] = (count, len(closed) == len(seen), labels)
    for why, (number, exact, labels) in broken.items():
        yield Unreadable(column, why, number, exact, tuple(labels[:NAMED]))
