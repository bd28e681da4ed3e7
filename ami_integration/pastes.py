"""How much text a field of a form takes.

Columns of free text know no bound, and what looks at a text may take longer the longer it is. So each text
field that has no bound of its own gets one, far beyond what anybody types.
"""

from collections.abc import Mapping

from django.core.validators import MaxLengthValidator
from django.forms import CharField, Field

#: Characters of notes, lists of names, headers.
MOST = 64 * 1024
#: Of a file that somebody pastes: all certificates that a system trusts are about 220 Ki.
MOST_OF_A_FILE = 512 * 1024


def texts_bound(fields: Mapping[str, Field], *, files: tuple[str, ...] = ()) -> None:
    """Bound the texts of a form that have no bound.

    Args:
        fields: of the form, by name; changed.
        files: the names of those into which people paste whole files.
    """
    for name, field in fields.items():
        if isinstance(field, CharField) and field.max_length is None:
            field.max_length = MOST_OF_A_FILE if name in files else MOST
            field.validators = [*field.validators, MaxLengthValidator(field.max_length)]
