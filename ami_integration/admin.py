"""Every admin page of every room, collected for Django."""

from ami_integration.access import admin as access_admin
from ami_integration.access import people_admin
from ami_integration.actions import admin as actions_admin
from ami_integration.actions import fanout_admin, template_admin
from ami_integration.actions.catalogue import admin as catalogue_admin
from ami_integration.audit import entry_admin as audit_admin
from ami_integration.console import server_views
from ami_integration.events import admin as events_admin
from ami_integration.schedules import admin as schedules_admin
from ami_integration.schedules import blackout_admin
from ami_integration.schedules.alerts import admin as alerts_admin
from ami_integration.servers import admin as servers_admin
from ami_integration.servers import managerconf_views, several_views, table_views

__all__ = [
    "access_admin",
    "actions_admin",
    "alerts_admin",
    "audit_admin",
    "blackout_admin",
    "catalogue_admin",
    "events_admin",
    "fanout_admin",
    "managerconf_views",
    "people_admin",
    "schedules_admin",
    "server_views",
    "servers_admin",
    "several_views",
    "table_views",
    "template_admin",
]
