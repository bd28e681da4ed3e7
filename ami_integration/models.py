"""Every model of every room, collected for Django."""

from ami_integration.access.models import AccessRule
from ami_integration.actions.catalogue.models import (
    Catalogue,
    CatalogueAction,
    CatalogueEvent,
    ServerCatalogue,
)
from ami_integration.actions.models import ActionRun, ActionTemplate, FanOut, RunResult
from ami_integration.audit.models import AuditEntry, AuditSeal, AuditSegment
from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.events.saved import SavedFilter
from ami_integration.schedules.alerts.models import Alert, AlertChannel, AlertDelivery
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.clock import Clock
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.switch import SchedulesPause
from ami_integration.servers.models import Server, ServerAbilities, ServerHealth, Site, Tag

__all__ = [
    "AccessRule",
    "ActionRun",
    "ActionTemplate",
    "Alert",
    "AlertChannel",
    "AlertDelivery",
    "AuditEntry",
    "AuditSeal",
    "AuditSegment",
    "Blackout",
    "Catalogue",
    "CatalogueAction",
    "CatalogueEvent",
    "Clock",
    "Event",
    "FanOut",
    "Gap",
    "PlannedRun",
    "RunResult",
    "SavedFilter",
    "Schedule",
    "SchedulesPause",
    "Server",
    "ServerAbilities",
    "ServerCatalogue",
    "ServerHealth",
    "Site",
    "Snapshot",
    "Tag",
]
