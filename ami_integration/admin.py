"""Every admin page of every room, collected for Django."""

from ami_integration.servers import admin as servers_admin

__all__ = ["servers_admin"]
