"""What Django's check tells of secrets that can't be read.

Only where the database is asked, too (`manage.py check --database default`, and each `migrate`). It is a
warning, since an error would refuse the migration that may come with the mending; an operator sees the same
on the page Status and by `manage.py status`, which ends with an error then.
"""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import Error

from ami_integration.secrets.columns import secrets_unreadable


@register(Tags.database)
def secrets_check(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Warn of what no key of the ring opens: which rows, and which key is missing."""
    if "default" not in (databases or ()):
        return []
    try:
        return [Warning(str(found), id="ami_integration.W002") for found in secrets_unreadable()]
    except Error as error:  # between two migrations a column may be missing
        return [
            Warning(f"Whether secrets can be read isn't known: {error}", id="ami_integration.W003"),
        ]
