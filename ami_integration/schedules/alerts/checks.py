"""What Django's check tells of alerts.

Only where the database is asked, too (`manage.py check --database default`, and each `migrate`): the plain
check is for places that have none. An operator sees the same on the page Status and by `manage.py status`.
"""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import connections

from ami_integration.schedules.alerts.models import AlertChannel
from ami_integration.schedules.alerts.services import mail_problem


@register(Tags.database)
def mail_check(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Warn of a channel that wants mail while no mail can leave."""
    if "default" not in (databases or ()):
        return []
    if AlertChannel._meta.db_table not in connections["default"].introspection.table_names():
        return []  # before the first migration
    problem = mail_problem()
    return [Warning(f"Alerts of schedules wait. {problem}", id="ami_integration.W001")] if problem else []
