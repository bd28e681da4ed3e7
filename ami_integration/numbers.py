"""Numbers that no row can have, in lists that a browser sent.

Forms look up what was chosen by `pk__in`. Django knows for `exact` and `gt` what a column can't hold,
but hands the list over as it is, and SQLite's driver raises OverflowError at anything beyond 64 bits: a page
500 for whoever sends one. No row has such a number, so it is left out of the list, for every model and form.
"""

from typing import Any

from django.db.models import IntegerField
from django.db.models.fields.related import ForeignObject
from django.db.models.fields.related_lookups import RelatedIn
from django.db.models.lookups import In

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


class _Holdable(In):
    """`in` for whole numbers."""

    def get_prep_lookup(self) -> Any:
        prepared = super().get_prep_lookup()
        return _holdable(prepared) if self.rhs_is_direct_value() else prepared


class _RelatedHoldable(RelatedIn):
    """The same through a relation."""

    def get_prep_lookup(self) -> Any:
        prepared = super().get_prep_lookup()
        return _holdable(prepared) if self.rhs_is_direct_value() else prepared


def _holdable(values: Any) -> list[Any]:
    return [value for value in values if not isinstance(value, int) or _LOWEST <= value <= _HIGHEST]


def register() -> None:
    """Let every query do so."""
    IntegerField.register_lookup(_Holdable)
    ForeignObject.register_lookup(_RelatedHoldable)
