"""Every model of every room, collected for Django."""

from ami_integration.actions.models import ActionRun
from ami_integration.schedules.models import PlannedRun, Schedule
from ami_integration.servers.models import Server, ServerHealth

__all__ = ["ActionRun", "PlannedRun", "Schedule", "Server", "ServerHealth"]
