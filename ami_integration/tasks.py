"""Every Celery task of every room, collected for Celery."""

from ami_integration.access import tasks as access_tasks
from ami_integration.actions import tasks as actions_tasks
from ami_integration.audit import tasks as audit_tasks
from ami_integration.schedules import tasks as schedules_tasks
from ami_integration.schedules.alerts import tasks as alerts_tasks

__all__ = ["access_tasks", "actions_tasks", "alerts_tasks", "audit_tasks", "schedules_tasks"]
